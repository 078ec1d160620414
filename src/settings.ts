/**
 * Berth's own settings: defaults, then a YAML file, then the environment (`BERTH_CONFLICTS_WAIT_DEADLINE_MS`), then flags;
 * the later one wins. A key that does not exist is refused by name, wherever it stands.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Node } from 'yaml';
import { BerthError } from './errors.js';
import { nearest } from './settings/nearest.js';
import { leaves, takeOver, wrongWith, type KeyPath, type Origin, type Tree } from './settings/read.js';
import { settingsSchema, type Settings } from './settings/schema.js';

export { settingsJsonSchema, type Settings } from './settings/schema.js';

/** Loaded where there is YAML to read: a quarter of all modules are its, and most commands have no settings file. */
const yaml = () => createRequire(import.meta.url)('yaml') as typeof import('yaml');

export interface SettingsSources {
  /** A YAML file; absent: none is read. */
  readonly file?: string | undefined;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Nested as in the file; undefined values count as not given. */
  readonly flags?: Readonly<Record<string, unknown>>;
}

/**
 * All settings, each with its value from the strongest source that has one.
 * @throws BERTH_SETTINGS naming the source (file and line), the key and the value
 */
export function loadSettings({ file, environment = {}, flags = {} }: SettingsSources = {}): Settings {
  const merged: Tree = emptyGroups();
  if (file !== undefined) takeFile(merged, file);
  takeEnvironment(merged, environment);
  takeOver(merged, flags, () => 'options');
  return settingsSchema.parse(merged);
}

/** `conflicts.wait.deadlineMs` → `BERTH_CONFLICTS_WAIT_DEADLINE_MS`. */
export function environmentName(path: KeyPath): string {
  return `BERTH_${path.map((key) => key.replace(/[A-Z]+/g, '_$&').toUpperCase()).join('_')}`;
}

function emptyGroups(): Tree {
  const tree: Tree = {};
  for (const [path] of leaves()) {
    let place = tree;
    for (const key of path.slice(0, -1)) place = (place[key] ??= {}) as Tree;
  }
  return tree;
}

function takeFile(target: Tree, file: string): void {
  const { LineCounter, parseDocument } = yaml();
  const lines = new LineCounter();
  const document = parseDocument(readText(file), { lineCounter: lines });
  const [error] = document.errors;
  if (error !== undefined) {
    throw new BerthError('BERTH_SETTINGS', `${file}: not YAML: ${error.message.split('\n')[0] ?? ''}`, {
      step: 'settings',
      cause: error,
    });
  }
  const origin: Origin = (path) => {
    const node = path.length === 0 ? undefined : (document.getIn(path, true) as Node | undefined);
    const start = node?.range?.[0];
    return start === undefined ? file : `${file} line ${lines.linePos(start).line}`;
  };
  takeOver(target, document.toJS() ?? {}, origin);
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new BerthError('BERTH_SETTINGS', `${file}: the settings cannot be read: ${(error as Error).message}`, {
      step: 'settings',
      cause: error,
    });
  }
}

function takeEnvironment(target: Tree, environment: Readonly<Record<string, string | undefined>>): void {
  const known = new Map(leaves().map((leaf) => [environmentName(leaf[0]), leaf]));
  for (const [name, text] of Object.entries(environment)) {
    if (!name.startsWith('BERTH_') || text === undefined) continue;
    const leaf = known.get(name);
    if (leaf === undefined) {
      refuseNearMiss(name, [...known.keys()]);
      continue;
    }
    const [path, schema] = leaf;
    // Text where text is right (paths, names), else the number, truth value or list that it spells.
    const value = wrongWith(schema, text) === undefined ? text : spelled(text);
    takeOver(target, nested(path, value), () => `environment ${name}`);
  }
}

/** Other programs may have BERTH_… variables of their own; one or two letters beside a setting is a slip. */
function refuseNearMiss(name: string, known: readonly string[]): void {
  const near = nearest(name, known, 2);
  if (near === undefined) return;
  throw new BerthError('BERTH_SETTINGS', `environment: there is no setting ${name}; did you mean ${near}?`, {
    step: 'settings',
    details: { key: name, where: 'environment' },
  });
}

function spelled(text: string): unknown {
  try {
    return yaml().parse(text) as unknown;
  } catch {
    return text;
  }
}

function nested(path: KeyPath, value: unknown): unknown {
  return path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value);
}
