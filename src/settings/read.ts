/** One source of settings held against the schema, key by key, so that a refusal names the source, the key and the value. */
import { z } from 'zod';
import { BerthError } from '../errors.js';
import { nearest } from './nearest.js';
import { settingsSchema } from './schema.js';

export type Tree = Record<string, unknown>;
export type KeyPath = readonly string[];
export type Shape = Readonly<Record<string, z.core.$ZodType>>;

/** Where a value came from. */
export type Origin = 'default' | 'lbagent.conf' | 'file' | 'environment' | 'option';

export interface Source {
  readonly origin: Origin;
  /** For messages: `/etc/berth/berth.yaml line 3`, `environment BERTH_NETNS`, `options`. */
  readonly where: (path: KeyPath) => string;
}

export interface GivenValue {
  readonly value: unknown;
  readonly origin: Origin;
  readonly where: string;
}

/** What the sources gave, the strongest value of each: by the key with dots, `conflicts.wait.deadlineMs`. */
export type Given = Map<string, GivenValue>;

/** As much of a key as an error repeats for programs; any real one is a third of it. */
const LONGEST_KEY = 200;

/** Every key path that holds a value, with its schema: `['conflicts', 'wait', 'deadlineMs']`. */
export function leaves(shape: Shape = settingsSchema.shape, above: KeyPath = []): [KeyPath, z.core.$ZodType][] {
  return Object.entries(shape).flatMap(([key, schema]) => {
    const path = [...above, key];
    return schema instanceof z.ZodObject ? leaves(schema.shape, path) : [[path, schema] as [KeyPath, z.core.$ZodType]];
  });
}

/**
 * Take over into `target` what `tree` sets. A value of undefined is not set.
 * @param above where `tree` stands in its source: `['instances', 'web']`
 * @throws BERTH_SETTINGS on an unknown key (with the nearest known one) or a wrong value
 */
export function takeOver(
  target: Given,
  tree: unknown,
  source: Source,
  { shape = settingsSchema.shape, above = [] }: { readonly shape?: Shape; readonly above?: KeyPath } = {},
): void {
  const takeGroup = (group: unknown, known: Shape, path: KeyPath): void => {
    const place = [...above, ...path];
    if (!isTree(group)) throw wrongValue(source.where(place), place, group, 'must hold keys and values');
    for (const [key, value] of Object.entries(group)) {
      if (value === undefined) continue;
      const [inner, innerPlace] = [
        [...path, key],
        [...place, key],
      ];
      const schema = Object.hasOwn(known, key) ? known[key] : undefined;
      const where = source.where(innerPlace);
      if (schema === undefined) throw unknownKey(where, inner, above, shape, known);
      if (schema instanceof z.ZodObject) {
        takeGroup(value, schema.shape, inner);
        continue;
      }
      const problem = wrongWith(schema, value);
      if (problem !== undefined) throw wrongValue(where, innerPlace, value, problem);
      target.set(inner.join('.'), { value, origin: source.origin, where });
    }
  };
  takeGroup(tree, shape, []);
}

/** Values by their keys with dots as a tree, with every group there, also an empty one. */
export function treeOf(given: ReadonlyMap<string, { readonly value: unknown }>): Tree {
  const tree: Tree = {};
  for (const [path] of leaves()) {
    let place = tree;
    for (const key of path.slice(0, -1)) place = (place[key] ??= {}) as Tree;
    const found = given.get(path.join('.'));
    if (found !== undefined) place[path.at(-1) ?? ''] = found.value;
  }
  return tree;
}

/** What is wrong with a value; undefined where it is right. */
export function wrongWith(schema: z.core.$ZodType, value: unknown): string | undefined {
  const issues = z.safeParse(schema, value).error?.issues;
  const first = issues?.slice(0, 3).map(({ message }) => message);
  return first?.join('; ');
}

/** @throws nothing: the error is for the caller to throw */
export function wrongValue(where: string, path: KeyPath, value: unknown, problem: string): BerthError {
  const key = path.join('.');
  const message = `${where}: ${key === '' ? 'the settings' : clip(key)} = ${clip(shown(value))}: ${problem}`;
  return new BerthError('BERTH_SETTINGS', message, {
    step: 'settings',
    details: { key: key.slice(0, LONGEST_KEY), where },
  });
}

function unknownKey(where: string, path: KeyPath, above: KeyPath, shape: Shape, known: Shape): BerthError {
  const names = [...Object.keys(known), ...(path.length === 1 && above.length === 0 ? ['instances'] : [])];
  const near = nearest(path.at(-1) ?? '', names);
  // A right name in the wrong group: the whole path is the better hint.
  const elsewhere = leaves(shape).find(([leaf]) => leaf.at(-1) === path.at(-1))?.[0];
  const hint = [...above, ...(elsewhere ?? [...path.slice(0, -1), near])].join('.');
  const advice = (elsewhere ?? near) ? `did you mean ${hint}?` : `known here: ${names.join(', ')}`;
  const key = [...above, ...path].join('.');
  return new BerthError('BERTH_SETTINGS', `${where}: there is no setting ${clip(key)}; ${advice}`, {
    step: 'settings',
    details: { key: key.slice(0, LONGEST_KEY), where },
  });
}

export function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A value of YAML can hold itself, by an alias. */
function shown(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch {
    return 'a value that holds itself';
  }
}

function clip(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
