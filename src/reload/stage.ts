/**
 * Stage a generation: everything that HAProxy is going to read is copied first, and HAProxy is started on the copy. What
 * `haproxy -c` has checked is then what runs, whatever happens to the user's files meanwhile, and a rollback finds it again.
 */
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Joined } from './bundle.js';
import type { StagedFiles } from './context.js';
import { copyFiles, type Copied, type CopyOptions, type CopyRequest } from './copy.js';
import { errnoOf, inParallel, removeTree, stateWriteError, syncPath, type SyncFileSystem } from './files.js';
import { generation, generationNumbers, servingNumber, type Generation, type GenerationMeta } from './generations.js';
import { bundlesOf, filesToGive } from './join.js';
import type { Rewrite } from './rewrite.js';
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
  /** Copy these files of an earlier generation instead of the user's; paths stay the user's. */
  readonly staged?: StagedFiles;
  /** What to change in the copy of files, by their path in `files`. */
  readonly rewritten?: ReadonlyMap<string, Rewrite>;
  /** Text of Berth's own second `-f`; none where absent. `directory` is the generation's final one. */
  readonly privateConfiguration?: (paths: { readonly number: number; readonly directory: string }) => string;
  readonly extraArguments?: readonly string[];
  readonly haproxyVersion: string;
  /** For the history: `reload`, `rollback to 3`. */
  readonly reason: string;
  /** The master is given all file names in one string (HAProxy before 3.1); see bundle.ts. */
  readonly namesInOneString?: boolean;
  readonly quarantined?: readonly string[];
}

export interface StageOptions extends CopyOptions {
  /** syncfs(2) of the kernel room; where absent every file is flushed on its own. */
  readonly syncFileSystem?: SyncFileSystem;
}

/** Above this many files one syncfs(2) is cheaper than an fsync(2) each. */
const SYNC_ALL_ABOVE = 32;

/**
 * Copy the configuration into a new generation, in state `staged`; durable when it returns, absent when it throws.
 * Errors: BERTH_CONFIG_UNREADABLE (with `details.changed` where the files changed or vanished under the copy and reading
 * the configuration anew may help), BERTH_CONFIG_TOO_LARGE, BERTH_CONFIG_SYNTAX (bundle), BERTH_STATE_WRITE.
 */
export async function stage(state: StateDir, request: StageRequest, options: StageOptions = {}): Promise<Generation> {
  const { number, staging } = await claimNumber(state);
  const directory = join(state.generations, String(number));
  try {
    const copying = withAbsolutePaths(request, join(directory, 'root'), state.path);
    const copy = await copyFiles(join(staging, 'root'), copying, options);
    const command = commandOf(request, copying, copy.joined);
    const serving = await servingNumber(state);
    const meta: GenerationMeta = {
      number,
      created: new Date().toISOString(),
      reason: request.reason,
      sources: [...request.sources],
      ...(request.workingDirectory === undefined ? {} : { workingDirectory: copying.workingDirectory }),
      haproxyVersion: request.haproxyVersion,
      state: 'staged',
      good: false,
      ...(serving === undefined ? {} : { parent: serving }),
      listeners: 0,
      quarantined: [...(request.quarantined ?? [])],
      command,
      fileCount: copy.fileCount,
      bytes: copy.bytes,
    };
    if (request.privateConfiguration !== undefined) {
      const path = join(staging, 'private.cfg');
      await writeFile(path, request.privateConfiguration({ number, directory }), { mode: 0o600, flag: 'wx' });
      command.files.push(join(directory, 'private.cfg'));
    }
    const { files, references } = copying;
    const manifest = { files: [...files], references: [...references], bundles: bundlesOf(copy.joined) };
    await writeFile(join(staging, 'manifest.json'), JSON.stringify(manifest), { mode: 0o600, flag: 'wx' });
    await writeFile(join(staging, 'meta.json'), `${JSON.stringify(meta, undefined, 1)}\n`, { mode: 0o600, flag: 'wx' });
    await flush(staging, copy, options.syncFileSystem);
    await rename(staging, directory);
    await syncPath(state.generations);
    return generation(directory, meta, manifest);
  } catch (error) {
    await removeTree(staging).catch(() => undefined);
    throw stateWriteError(error, `stage generation ${number}`, staging);
  }
}

function withAbsolutePaths(request: StageRequest, root: string, avoid: string): CopyRequest {
  const workingDirectory = resolve(request.workingDirectory ?? '.');
  const absolute = (path: string): string => resolve(workingDirectory, path);
  const rewritten = [...(request.rewritten ?? [])].map(([file, rewrite]) => [absolute(file), rewrite] as const);
  return {
    workingDirectory,
    sources: request.sources.map(absolute),
    files: request.files.map(absolute),
    references: request.references.map(absolute),
    rewritten: new Map(rewritten),
    namesInOneString: request.namesInOneString ?? false,
    root,
    avoid,
    ...(request.staged === undefined ? {} : { staged: request.staged }),
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

/**
 * What HAProxy is started with. Its working directory is the mirror's where anything is named by relative path, else the
 * user's own.
 */
function commandOf(
  { workingDirectory: own, extraArguments = [] }: StageRequest,
  copying: CopyRequest,
  joined: ReadonlyMap<string, Joined>,
): GenerationMeta['command'] {
  const { workingDirectory, references, root } = copying;
  const mirrored = references.length > 0 ? join(root, workingDirectory) : undefined;
  const chosen = mirrored ?? (own === undefined ? undefined : workingDirectory);
  return {
    files: filesToGive(copying, joined),
    ...(chosen === undefined ? {} : { workingDirectory: chosen }),
    extraArguments: [...extraArguments],
  };
}

async function flush(staging: string, mirror: Copied, syncFileSystem: SyncFileSystem | undefined): Promise<void> {
  if (syncFileSystem !== undefined && mirror.written.length > SYNC_ALL_ABOVE) return syncFileSystem(staging);
  const own = (await readdir(staging)).map((name) => join(staging, name));
  await inParallel([...mirror.written, ...mirror.directories, ...own, staging], 16, syncPath);
}
