/** One source of settings held against the schema, key by key, so that a refusal names the source, the key and the value. */
import { z } from 'zod';
import { BerthError } from '../errors.js';
import { nearest } from './nearest.js';
import { settingsSchema } from './schema.js';

export type Tree = Record<string, unknown>;
export type KeyPath = readonly string[];

/** Where a value came from, for messages: `/etc/berth.yaml line 3`, `environment BERTH_NETNS`, `option --set`. */
export type Origin = (path: KeyPath) => string;

type Shape = Readonly<Record<string, z.core.$ZodType>>;

/** Every key path that holds a value, with its schema: `['conflicts', 'wait', 'deadlineMs']`. */
export function leaves(shape: Shape = settingsSchema.shape, above: KeyPath = []): [KeyPath, z.core.$ZodType][] {
  return Object.entries(shape).flatMap(([key, schema]) => {
    const path = [...above, key];
    return schema instanceof z.ZodObject ? leaves(schema.shape, path) : [[path, schema] as [KeyPath, z.core.$ZodType]];
  });
}

/**
 * Take over into `target` what `source` sets. A value of undefined is not set.
 * @throws BERTH_SETTINGS on an unknown key (with the nearest known one) or a wrong value
 */
export function takeOver(target: Tree, source: unknown, origin: Origin): void {
  takeGroup(target, source, settingsSchema.shape, [], origin);
}

function takeGroup(target: Tree, source: unknown, shape: Shape, above: KeyPath, origin: Origin): void {
  if (!isTree(source)) refuse(origin(above), above, source, 'must hold keys and values');
  for (const [key, value] of Object.entries(source)) {
    if (value === undefined) continue;
    const path = [...above, key];
    const schema = Object.hasOwn(shape, key) ? shape[key] : undefined;
    if (schema === undefined) throw unknownKey(origin(path), path, Object.keys(shape));
    if (schema instanceof z.ZodObject) {
      const group = (target[key] ??= {}) as Tree;
      takeGroup(group, value, schema.shape, path, origin);
    } else {
      const problem = wrongWith(schema, value);
      if (problem !== undefined) refuse(origin(path), path, value, problem);
      target[key] = value;
    }
  }
}

/** What is wrong with a value; undefined where it is right. */
export function wrongWith(schema: z.core.$ZodType, value: unknown): string | undefined {
  return z
    .safeParse(schema, value)
    .error?.issues.map(({ message }) => message)
    .join('; ');
}

function refuse(where: string, path: KeyPath, value: unknown, problem: string): never {
  const key = path.join('.');
  const shown = JSON.stringify(value) as string | undefined;
  throw new BerthError(
    'BERTH_SETTINGS',
    `${where}: ${key === '' ? 'the settings' : key} = ${clip(shown)}: ${problem}`,
    {
      step: 'settings',
      details: { key, where },
    },
  );
}

function unknownKey(where: string, path: KeyPath, known: readonly string[]): BerthError {
  const above = path.slice(0, -1);
  const near = nearest(path.at(-1) ?? '', known);
  const everywhere = leaves().map(([leaf]) => leaf);
  // A right name in the wrong group: the whole path is the better hint.
  const elsewhere = everywhere.find((leaf) => leaf.at(-1) === path.at(-1));
  const hint = (elsewhere ?? [...above, near]).join('.');
  const advice = (elsewhere ?? near) ? `did you mean ${hint}?` : `known here: ${known.join(', ')}`;
  return new BerthError('BERTH_SETTINGS', `${where}: there is no setting ${clip(path.join('.'))}; ${advice}`, {
    step: 'settings',
    details: { key: path.join('.'), where },
  });
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function clip(text = 'undefined'): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
