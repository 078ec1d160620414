/**
 * Stage a generation: everything that HAProxy is going to read is copied first, and HAProxy is started on the copy. What
 * `haproxy -c` has checked is then what runs, whatever happens to the user's files meanwhile, and a rollback finds it again.
 */
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError } from '../errors.js';
import { BUNDLE_NAME, joinedNameBytes, joinFiles, JOINED_NAMES_LIMIT, type Bundle } from './bundle.js';
import { errnoOf, inParallel, removeTree, stateWriteError, syncPath, type SyncFileSystem } from './files.js';
import { generation, generationNumbers, servingNumber, type Generation, type GenerationMeta } from './generations.js';
import { type Copied, cloneMirror } from './clone.js';
import { Mirror, type MirrorLimits } from './mirror.js';
import type { StateDir } from './state-dir.js';

export interface StageRequest {
  /** The `-f` arguments as given: files and directories, absolute or relative to `workingDirectory`. */
  readonly sources: readonly string[];
  /** The user's `-C`; relative sources and references start from it, as HAProxy has it. Default: the current directory. */
  readonly workingDirectory?: string;
  /**
   * The configuration's files in HAProxy's order, named as HAProxy names them: absolute or relative to `workingDirectory`,
   * the symlinks of the sources unresolved.
   */
  readonly files: readonly string[];
  /** What the configuration names by relative path (paths as in `files`): files, directories (taken whole), sockets. */
  readonly references: readonly string[];
  /** Copy this mirror of an earlier generation (its `root`) instead of the user's files; paths stay the user's. */
  readonly root?: string;
  /** New content of files, by their path in `files`; a string is written as UTF-8. */
  readonly rewritten?: ReadonlyMap<string, string | Buffer>;
  /** Text of Berth's own second `-f`; none where absent. `directory` is the generation's final one. */
  readonly privateConfiguration?: (paths: { readonly number: number; readonly directory: string }) => string;
  readonly extraArguments?: readonly string[];
  readonly haproxyVersion: string;
  /** For the history: `reload`, `rollback to 3`. */
  readonly reason: string;
  /** Join the files of a directory where their names are too long for the master (HAProxy before 3.1); see bundle.ts. */
  readonly bundle?: boolean;
  readonly quarantined?: readonly string[];
}

export interface StageOptions {
  /** syncfs(2) of the kernel room; where absent every file is flushed on its own. */
  readonly syncFileSystem?: SyncFileSystem;
  readonly limits?: MirrorLimits;
  /** First wait for a configuration that is being changed to come to rest; doubles with each of the 5 tries. Default 20. */
  readonly retryMs?: number;
}

const LIMITS: MirrorLimits = { maxFiles: 65_536, maxBytes: 1024 * 1024 * 1024 };
const TRIES = 5;
/** Above this many files one syncfs(2) is cheaper than an fsync(2) each. */
const SYNC_ALL_ABOVE = 32;

/**
 * Copy the configuration into a new generation, in state `staged`; durable when it returns, absent when it throws.
 * Errors: BERTH_CONFIG_UNREADABLE (with `details.changed` where the files changed or vanished under the copy and reading
 * the configuration anew may help), BERTH_CONFIG_TOO_LARGE, BERTH_CONFIG_SYNTAX (bundle), BERTH_STATE_WRITE.
 */
export async function stage(state: StateDir, asked: StageRequest, options: StageOptions = {}): Promise<Generation> {
  const workingDirectory = resolve(asked.workingDirectory ?? '.');
  const request = withAbsolutePaths(asked, workingDirectory);
  const { number, staging } = await claimNumber(state);
  const directory = join(state.generations, String(number));
  try {
    const root = join(staging, 'root');
    const mirror =
      request.root === undefined
        ? await copyAtRest(root, workingDirectory, request, state, options)
        : await cloneMirror(request.root, root, request.rewritten ?? new Map());
    const bundles = request.bundle ? await bundle(root, directory, workingDirectory, request) : [];
    const command = commandOf(join(directory, 'root'), workingDirectory, request, bundles);
    const serving = await servingNumber(state);
    const meta: GenerationMeta = {
      number,
      created: new Date().toISOString(),
      reason: request.reason,
      sources: [...request.sources],
      ...(request.workingDirectory === undefined ? {} : { workingDirectory }),
      haproxyVersion: request.haproxyVersion,
      state: 'staged',
      good: false,
      ...(serving === undefined ? {} : { parent: serving }),
      listeners: 0,
      quarantined: [...(request.quarantined ?? [])],
      command,
      fileCount: mirror.fileCount,
      bytes: mirror.bytes,
    };
    if (request.privateConfiguration !== undefined) {
      const path = join(staging, 'private.cfg');
      await writeFile(path, request.privateConfiguration({ number, directory }), { mode: 0o600, flag: 'wx' });
      command.files.push(join(directory, 'private.cfg'));
    }
    const manifest = { files: [...request.files], references: [...request.references], bundles };
    await writeFile(join(staging, 'manifest.json'), JSON.stringify(manifest), { mode: 0o600, flag: 'wx' });
    await writeFile(join(staging, 'meta.json'), `${JSON.stringify(meta, undefined, 1)}\n`, { mode: 0o600, flag: 'wx' });
    await flush(staging, mirror, bundles, options.syncFileSystem);
    await rename(staging, directory);
    await syncPath(state.generations);
    return generation(directory, meta, manifest);
  } catch (error) {
    await removeTree(staging).catch(() => undefined);
    throw stateWriteError(error, `stage generation ${number}`, staging);
  }
}

function withAbsolutePaths(request: StageRequest, workingDirectory: string): StageRequest {
  const absolute = (path: string): string => resolve(workingDirectory, path);
  return {
    ...request,
    files: request.files.map(absolute),
    references: request.references.map(absolute),
    rewritten: new Map([...(request.rewritten ?? [])].map(([file, content]) => [absolute(file), content])),
  };
}

/** Take the next number: mkdir(2) of its staging directory settles it where two stage at once. */
async function claimNumber(state: StateDir): Promise<{ number: number; staging: string }> {
  const last = join(state.generations, 'last');
  try {
    const given = Number.parseInt(await readFile(last, 'utf8').catch(() => '0'), 10) || 0;
    let number = Math.max(given, (await generationNumbers(state)).at(-1) ?? 0) + 1;
    for (; ; number++) {
      const staging = join(state.generations, `.${number}.staging`);
      try {
        await mkdir(staging, { mode: 0o700 });
      } catch (error) {
        if (errnoOf(error) === 'EEXIST') continue;
        throw error;
      }
      await writeFile(last, `${number}\n`, { mode: 0o600 });
      return { number, staging };
    }
  } catch (error) {
    throw stateWriteError(error, 'begin a generation', state.generations);
  }
}

/** An agent that renders its configuration while Berth copies it is waited for, a while. */
async function copyAtRest(
  root: string,
  workingDirectory: string,
  request: StageRequest,
  state: StateDir,
  options: StageOptions,
): Promise<Mirror> {
  const sources = request.sources.map((source) => resolve(workingDirectory, source));
  const read = new Set(request.files);
  // A .cfg file that appeared in a source directory after it was read would be loaded without having been looked at.
  const unread = (path: string): boolean => path.endsWith('.cfg') && !read.has(path) && sources.includes(dirname(path));
  for (let attempt = 1; ; attempt++) {
    await mkdir(root, { mode: 0o700 });
    const mirror = new Mirror(root, options.limits ?? LIMITS, state.path);
    try {
      await inParallel(request.files, 16, (file) => mirror.file(file));
      if (request.references.length > 0) await mirror.directory(workingDirectory);
      for (const reference of request.references) await mirror.reference(reference, unread);
      mirror.refuseUnsettled();
      await mirror.copy(request.rewritten ?? new Map());
      return mirror;
    } catch (error) {
      const changed = error instanceof BerthError && error.details['changed'] === true;
      if (!changed || attempt === TRIES) throw error;
    }
    await removeTree(root);
    await sleep((options.retryMs ?? 20) * 2 ** (attempt - 1));
  }
}

/**
 * What HAProxy is started with. Its working directory is the mirror's where anything is named by relative path, else the
 * user's own.
 */
function commandOf(
  root: string,
  workingDirectory: string,
  request: StageRequest,
  bundles: readonly Bundle[],
): GenerationMeta['command'] {
  const files = request.sources.map((source) => {
    const path = resolve(workingDirectory, source);
    return join(root, bundles.find(({ directory }) => directory === path)?.path ?? path);
  });
  const mirrored = request.references.length > 0 ? join(root, workingDirectory) : undefined;
  const own = request.workingDirectory === undefined ? undefined : workingDirectory;
  const chosen = mirrored ?? own;
  return {
    files,
    ...(chosen === undefined ? {} : { workingDirectory: chosen }),
    extraArguments: [...(request.extraArguments ?? [])],
  };
}

/** @param root the mirror as it stands now @param directory where the generation is going to stand */
async function bundle(
  root: string,
  directory: string,
  workingDirectory: string,
  request: StageRequest,
): Promise<Bundle[]> {
  const final = request.files.map((file) => join(directory, 'root', file));
  if (joinedNameBytes(final) <= JOINED_NAMES_LIMIT) return [];
  const bundles: Bundle[] = [];
  const left = new Set(request.files);
  for (const source of new Set(request.sources.map((each) => resolve(workingDirectory, each)))) {
    const inside = request.files.filter((file) => dirname(file) === source);
    if (inside.length === 0 || left.has(source)) continue;
    // HAProxy works on bytes; latin1 keeps each as it is.
    const parts = inside.map(async (file) => ({ file, text: await readFile(join(root, file), 'latin1') }));
    const joined = joinFiles(source, join(source, BUNDLE_NAME), await Promise.all(parts));
    await writeFile(join(root, joined.bundle.path), joined.text, { encoding: 'latin1', mode: 0o600, flag: 'wx' });
    bundles.push(joined.bundle);
    for (const file of inside) left.delete(file);
  }
  if (joinedNameBytes([...left].map((file) => join(directory, 'root', file))) <= JOINED_NAMES_LIMIT) return bundles;
  throw new BerthError(
    'BERTH_HAPROXY_UNSUITABLE',
    `The master of this HAProxy cannot be given ${left.size} file names: joined they exceed 128 KiB`,
    { step: 'stage', advice: 'Put the files into a directory and give that, or use HAProxy 3.1 or later' },
  );
}

async function flush(
  staging: string,
  mirror: Copied,
  bundles: readonly Bundle[],
  syncFileSystem: SyncFileSystem | undefined,
): Promise<void> {
  if (syncFileSystem !== undefined && mirror.fileCount > SYNC_ALL_ABOVE) return syncFileSystem(staging);
  const own = (await readdir(staging)).map((name) => join(staging, name));
  const joined = bundles.map(({ path }) => join(staging, 'root', path));
  await inParallel([...mirror.written, ...joined, ...mirror.directories, ...own, staging], 16, syncPath);
}
