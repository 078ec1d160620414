/**
 * Generations: numbered, complete copies of what HAProxy is started with, each in a directory of its own (state-dir.ts
 * shows the layout). A generation's files never change once it has its number; its meta.json does.
 * Which one serves is told by the symlink `current` alone, one atomic fact; `state` in meta.json is its history.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { BerthError } from '../errors.js';
import { bundleSchema, inUsersPaths, splitBundle, type Bundle } from './bundle.js';
import type { StagedFiles } from './context.js';
import type { HAProxyCommand } from './env.js';
import { errnoOf, replaceFile, stateWriteError } from './files.js';
import type { StateDir } from './state-dir.js';

const number = z.int().positive();

const metaSchema = z.object({
  number,
  /** ISO time. */
  created: z.iso.datetime(),
  /** Why it was made: `reload`, `rollback to 3`, … */
  reason: z.string(),
  /** The `-f` arguments as the user gave them. */
  sources: z.array(z.string()),
  /** Where relative paths start from, absolute: the user's `-C`, else the directory that Berth ran in. */
  workingDirectory: z.string().optional(),
  haproxyVersion: z.string(),
  state: z.enum(['staged', 'serving', 'served', 'failed', 'rolled-back']),
  /** It was verified and committed once. */
  good: z.boolean(),
  /** ISO time of the last commit. */
  goodSince: z.iso.datetime().optional(),
  /** The generation that served when this one was made. */
  parent: number.optional(),
  /** How many listeners it serves, and which were left out. */
  listeners: z.int().nonnegative(),
  quarantined: z.array(z.string()),
  /** Why it failed or was rolled back. */
  failure: z.string().optional(),
  /** What HAProxy is started with: paths into the mirror. */
  command: z.object({
    files: z.array(z.string()),
    workingDirectory: z.string().optional(),
    extraArguments: z.array(z.string()),
  }),
  /** Of the mirror. */
  fileCount: z.int().nonnegative(),
  bytes: z.int().nonnegative(),
});

const manifestSchema = z.object({
  /** The configuration's files, absolute as the user sees them, in HAProxy's order. */
  files: z.array(z.string()),
  /** What was copied with them because it is named by relative path. */
  references: z.array(z.string()),
  bundles: z.array(bundleSchema),
});

const listenersSchema = z.array(
  z.object({
    endpoint: z.string(),
    section: z.string(),
    file: z.string(),
    line: z.int().nonnegative(),
    /** It was left out. */
    quarantined: z.literal(true).optional(),
  }),
);

export type GenerationMeta = z.infer<typeof metaSchema>;
export type Manifest = z.infer<typeof manifestSchema>;
/** A listener as the history keeps it: endpoint as text, and where it stands in the user's files. */
export type ListenerRecord = z.infer<typeof listenersSchema>[number];

export interface Generation {
  readonly number: number;
  /** Absolute path of `generations/N`. */
  readonly directory: string;
  readonly meta: GenerationMeta;
  readonly manifest: Manifest;
  readonly command: HAProxyCommand;
  /** A path, or any text with paths in it (a message of HAProxy's), as the user knows them: file, and line in bundles. */
  readonly toOriginal: (text: string) => string;
  /** Where the mirror has this file of the user's (absolute path). */
  readonly staged: (original: string) => string;
}

export interface ListedGeneration extends GenerationMeta {
  readonly serving: boolean;
  /** The one committed last. */
  readonly lastGood: boolean;
}

/** The generation that `current` points to; undefined where there is none. BERTH_STATE_DIR where it is something else. */
export async function servingNumber(state: StateDir): Promise<number | undefined> {
  let target: string;
  try {
    target = await readlink(state.current);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw notOurs(state.current, 'is not a symbolic link', error);
  }
  const match = /^generations\/([1-9]\d*)$/.exec(target);
  if (!match) throw notOurs(state.current, `points to ${target}, not to a generation`);
  return Number(match[1]);
}

/** The numbers of all complete generations, ascending, whether their meta.json can be read or not. */
export async function generationNumbers(state: StateDir): Promise<number[]> {
  let names: string[];
  try {
    names = await readdir(state.generations);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw notOurs(state.generations, 'cannot be listed', error);
  }
  return names
    .filter((name) => /^[1-9]\d*$/.test(name))
    .map(Number)
    .sort((a, b) => a - b);
}

/** All generations, newest first, with the state that they are in now. One whose meta.json is damaged is left out. */
export async function listGenerations(state: StateDir): Promise<ListedGeneration[]> {
  const [numbers, serving] = await Promise.all([generationNumbers(state), servingNumber(state)]);
  const metas = await Promise.all(numbers.reverse().map((each) => readMeta(state, each).catch(() => undefined)));
  const good = lastGood(metas.filter((meta) => meta !== undefined));
  return metas.flatMap((meta): ListedGeneration[] => {
    if (meta === undefined) return [];
    const serves = meta.number === serving;
    const now = serves ? 'serving' : meta.state === 'serving' ? 'served' : meta.state;
    return [{ ...meta, state: now, serving: serves, lastGood: meta.number === good?.number }];
  });
}

/**
 * The generation committed last; undefined where none ever was. By number, which is given out anew for each commit, a
 * rollback's too: the clock may have been set back since.
 * @param before only those below this number, for a rollback
 */
export function lastGood<T extends GenerationMeta>(metas: readonly T[], before = Infinity): T | undefined {
  return metas
    .filter((meta) => meta.good && meta.number < before)
    .reduce<T | undefined>((best, meta) => (best === undefined || meta.number > best.number ? meta : best), undefined);
}

/** Throws BERTH_GENERATION_UNKNOWN where there is none of this number, BERTH_STATE_DIR where its files are damaged. */
export async function openGeneration(state: StateDir, wanted: number): Promise<Generation> {
  const numbers = await generationNumbers(state);
  if (!numbers.includes(wanted)) {
    const kept = numbers.length > 0 ? `kept are ${numbers.join(', ')}` : 'none is kept yet';
    throw new BerthError('BERTH_GENERATION_UNKNOWN', `There is no generation ${wanted}; ${kept}`, {
      step: 'state',
      details: { wanted, kept: numbers },
    });
  }
  const directory = join(state.generations, String(wanted));
  const [meta, manifest] = await Promise.all([
    readMeta(state, wanted),
    readJson(join(directory, 'manifest.json'), manifestSchema),
  ]);
  return generation(directory, meta, manifest);
}

/** The value for a generation whose files stand in `directory`. */
export function generation(directory: string, meta: GenerationMeta, manifest: Manifest): Generation {
  const root = join(directory, 'root');
  const { files, workingDirectory, extraArguments } = meta.command;
  return {
    number: meta.number,
    directory,
    meta,
    manifest,
    command: { files, workingDirectory, extraArguments },
    toOriginal: (text) => toOriginal(text, root, manifest.bundles),
    staged: (original) => join(root, original),
  };
}

function toOriginal(text: string, root: string, bundles: readonly Bundle[]): string {
  let mapped = text;
  for (const bundle of bundles)
    for (const path of [root + bundle.path, bundle.path]) mapped = inUsersPaths(mapped, path, bundle);
  return mapped.replaceAll(`${root}/`, '/');
}

/** The files of a generation, as a reader takes them in place of the user's. Errors: BERTH_STATE_DIR. */
export async function stagedFiles({ directory, manifest }: Generation): Promise<StagedFiles> {
  const root = join(directory, 'root');
  const joined = new Map<string, Buffer>();
  for (const bundle of manifest.bundles) {
    const path = root + bundle.path;
    const content = await readFile(path).catch((error: unknown) => {
      throw notOurs(path, 'cannot be read', error);
    });
    const files = splitBundle(bundle, content);
    if (files === undefined) throw notOurs(path, 'does not hold what Berth writes there');
    for (const [file, bytes] of files) joined.set(file, bytes);
  }
  return { root, joined };
}

/**
 * Change what a generation's meta.json says (state, good, listeners, …); durable when it returns.
 * @returns the generation with its new meta
 */
export async function updateMeta(
  of: Generation,
  change: Partial<Omit<GenerationMeta, 'number' | 'command'>>,
): Promise<Generation> {
  const path = join(of.directory, 'meta.json');
  const meta = { ...(await readJson(path, metaSchema)), ...change };
  await writeState(path, meta);
  return generation(of.directory, meta, of.manifest);
}

/** Record the listeners that a generation serves, for `history` and `diff`. */
export async function recordListeners(of: Generation, listeners: readonly ListenerRecord[]): Promise<void> {
  await writeState(join(of.directory, 'listeners.json'), listeners);
}

/** The recorded listeners that it serves; empty where none were recorded. */
export async function readListeners(of: Generation): Promise<ListenerRecord[]> {
  return (await readRecords(of)).filter(({ quarantined }) => quarantined !== true);
}

/** Those that were left out, too. */
export async function readRecords(of: Generation): Promise<ListenerRecord[]> {
  try {
    return await readJson(join(of.directory, 'listeners.json'), listenersSchema);
  } catch (error) {
    if (error instanceof BerthError && errnoOf(error.cause) === 'ENOENT') return [];
    throw error;
  }
}

const readMeta = async (state: StateDir, of: number): Promise<GenerationMeta> => {
  const path = join(state.generations, String(of), 'meta.json');
  const meta = await readJson(path, metaSchema);
  if (meta.number !== of) throw notOurs(path, `says that it is generation ${meta.number}`);
  return meta;
};

async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  try {
    return schema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    throw notOurs(
      path,
      errnoOf(error) === undefined ? 'does not hold what Berth writes there' : 'cannot be read',
      error,
    );
  }
}

async function writeState(path: string, value: unknown): Promise<void> {
  await replaceFile(path, `${JSON.stringify(value, undefined, 1)}\n`).catch((error: unknown) => {
    throw stateWriteError(error, 'write a generation', path);
  });
}

function notOurs(path: string, what: string, cause?: unknown): BerthError {
  return new BerthError('BERTH_STATE_DIR', `${path} ${what}`, {
    step: 'state',
    advice: 'Something else wrote to the state directory; move what it wrote away, berth reload makes a new generation',
    ...(cause === undefined ? {} : { cause }),
    details: { path },
  });
}
