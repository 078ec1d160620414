/** Everything that HAProxy is going to read, copied for a generation: from the user's files, or from a generation's. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError } from '../errors.js';
import type { Joined } from './bundle.js';
import { cloneMirror } from './clone.js';
import type { StagedFiles } from './context.js';
import { removeTree } from './files.js';
import { bundlesOf, directoriesToJoin, joinDirectories, namesIn, type JoinRequest } from './join.js';
import { Mirror, type MirrorLimits } from './mirror.js';
import type { Rewrite } from './rewrite.js';

/** All paths absolute. */
export interface CopyRequest extends JoinRequest {
  readonly workingDirectory: string;
  readonly references: readonly string[];
  /** By path. */
  readonly rewritten: ReadonlyMap<string, Rewrite>;
  /** Copy these instead of the user's files. */
  readonly staged?: StagedFiles;
  /** A directory that is never copied into: the state directory. */
  readonly avoid: string;
}

export interface CopyOptions {
  readonly limits?: MirrorLimits;
  /** First wait for a configuration that is being changed to come to rest; doubles with each of the 5 tries. Default 20. */
  readonly retryMs?: number;
}

export interface Copied {
  readonly fileCount: number;
  readonly bytes: number;
  /** Files and directories of the copy, absolute. */
  readonly written: readonly string[];
  readonly directories: readonly string[];
}

export interface Copy extends Copied {
  /** By source directory. */
  readonly joined: ReadonlyMap<string, Joined>;
}

const LIMITS: MirrorLimits = { maxFiles: 65_536, maxBytes: 1024 * 1024 * 1024 };
const TRIES = 5;

/** @param root where the copy goes; does not exist yet */
export async function copyFiles(root: string, request: CopyRequest, options: CopyOptions): Promise<Copy> {
  if (request.staged !== undefined) return cloned(root, request, request.staged);
  for (let attempt = 1; ; attempt++) {
    try {
      return await mirrored(root, request, options.limits ?? LIMITS);
    } catch (error) {
      // An agent that renders its configuration while Berth copies it is waited for, a while.
      const changed = error instanceof BerthError && error.details['changed'] === true;
      if (!changed || attempt === TRIES) throw error;
    }
    await removeTree(root);
    await sleep((options.retryMs ?? 20) * 2 ** (attempt - 1));
  }
}

async function mirrored(root: string, request: CopyRequest, limits: MirrorLimits): Promise<Copy> {
  const { sources, files, references, rewritten, workingDirectory } = request;
  const read = new Set(files);
  // A .cfg file that appeared in a source directory after it was read would be loaded without having been looked at.
  const unread = (path: string): boolean => path.endsWith('.cfg') && !read.has(path) && sources.includes(dirname(path));
  await mkdir(root, { mode: 0o700 });
  const mirror = new Mirror(root, limits, request.avoid);
  await mirror.files(files);
  if (references.length > 0) await mirror.directory(workingDirectory);
  for (const reference of references) await mirror.reference(reference, unread);
  mirror.refuseUnsettled();
  const directories = directoriesToJoin(request);
  const contents = await mirror.read([...directories.values()].flat(), rewritten);
  const joined = joinDirectories(directories, contents);
  const bundles = await writeBundles(root, joined);
  await mirror.copy(rewritten, new Set(bundlesOf(joined).flatMap(namesIn)));
  const { fileCount, bytes, written, directories: made } = mirror;
  return { fileCount, bytes, written: [...written, ...bundles], directories: made, joined };
}

async function cloned(root: string, request: CopyRequest, staged: StagedFiles): Promise<Copy> {
  const directories = directoriesToJoin(request);
  const clone = await cloneMirror(staged, root, request.rewritten, [...directories.values()].flat());
  const joined = joinDirectories(directories, clone.contents);
  const bundles = await writeBundles(root, joined);
  const copied = await clone.finish(new Set(bundlesOf(joined).flatMap(namesIn)));
  return { ...copied, written: [...copied.written, ...bundles], joined };
}

async function writeBundles(root: string, joined: ReadonlyMap<string, Joined>): Promise<string[]> {
  const written: string[] = [];
  for (const { bundle, text } of [...joined.values()].flatMap(({ bundles }) => bundles)) {
    const path = join(root, bundle.path);
    await writeFile(path, text, { encoding: 'latin1', mode: 0o600, flag: 'wx' });
    written.push(path);
  }
  return written;
}
