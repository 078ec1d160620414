/**
 * A copy of files at their own absolute paths below another root, symlinks between directories included, so that every
 * relative path means there what it means here, `..` through a symlink too. The copy is one consistent moment: all files
 * are looked at before and after all of them were copied, and nothing may differ.
 */
import type { BigIntStats, Dirent } from 'node:fs';
import { constants, lstatSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { access, chmod, copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { BerthError } from '../errors.js';
import { errnoOf, inParallel, inSlices, readRegularFile, stateWriteError } from './files.js';
import { rewriteBytes, type Rewrite } from './rewrite.js';
import { failureOf, fromSource, OURS, unreadable } from './source-errors.js';

export interface MirrorLimits {
  readonly maxFiles: number;
  readonly maxBytes: number;
}

interface Source {
  /** As it was asked for. */
  readonly path: string;
  /** The same with symlinked directories resolved: where it goes below the root. */
  readonly real: string;
  readonly kind: 'file' | 'socket';
  readonly stats: BigIntStats;
  /** Something refers to it by path: it has to stand by itself. */
  referred: boolean;
}

/** libuv's pool has 4 threads; more in flight only keeps them fed. */
const WIDTH = 16;

/** A file system's clock ticks every 4 to 10 ms: a write so soon after the last one may leave the time as it was. */
const SETTLED_MS = 20;

export class Mirror {
  readonly #directories = new Map<string, Promise<string>>();
  readonly #made = new Set<string>();
  readonly #sources = new Map<string, Source>();
  readonly #written: string[] = [];
  #bytes = 0n;

  /**
   * @param root where the copy goes; exists and is empty
   * @param avoid a directory that is never copied into (the state directory)
   */
  constructor(
    private readonly root: string,
    private readonly limits: MirrorLimits,
    private readonly avoid: string,
  ) {}

  get fileCount(): number {
    return this.#sources.size;
  }

  get bytes(): number {
    return Number(this.#bytes);
  }

  /** Files written by {@link copy}, absolute. */
  get written(): readonly string[] {
    return this.#written;
  }

  /** Directories made below the root, absolute. */
  get directories(): readonly string[] {
    return [...this.#made].map((path) => join(this.root, path));
  }

  /** Make this directory of the user's (absolute) below the root. @returns its path with symlinks resolved. */
  directory(path: string): Promise<string> {
    let known = this.#directories.get(path);
    if (known === undefined) {
      known = this.#makeDirectory(path);
      this.#directories.set(path, known);
    }
    return known;
  }

  async #makeDirectory(path: string): Promise<string> {
    if (path === dirname(path)) return path;
    const here = join(await this.directory(dirname(path)), basename(path));
    if (here !== path) return this.directory(here);
    const found = fromSource(path, () => lstatSync(path));
    if (!found.isSymbolicLink()) {
      if (!found.isDirectory()) throw unreadable(path, 'is not a directory');
      await mkdir(join(this.root, path), { mode: 0o700 }).catch(ignoring('EEXIST'));
      this.#made.add(path);
      return path;
    }
    const target = fromSource(path, () => realpathSync(path));
    await this.directory(target);
    // Relative, and computed from resolved paths: it cannot lead out of the root.
    const link = join(this.root, path);
    await symlink(relative(dirname(link), join(this.root, target)), link).catch(ignoring('EEXIST'));
    return target;
  }

  /** Take these files. A file's own symlink is followed: the copy is a regular file. */
  async files(paths: readonly string[]): Promise<void> {
    const directories = new Map<string, string>();
    for (const directory of new Set(paths.map((path) => dirname(path))))
      directories.set(directory, await this.directory(directory));
    await inSlices(paths, (path) => {
      const stats = look(path);
      if (!stats.isFile()) throw unreadable(path, stats.isDirectory() ? 'is a directory' : 'is not a regular file');
      this.#take(path, directories.get(dirname(path)) ?? dirname(path), 'file', stats);
    });
  }

  /**
   * Take what a relative path of the configuration names: a file, a directory with all that is in it, or a socket, which
   * becomes a symlink to the socket itself. Other special files are refused where they are named, left out in a directory.
   * @param skip paths that are not taken when a directory is
   */
  async reference(path: string, skip: (path: string) => boolean): Promise<void> {
    const stats = look(path);
    if (stats.isDirectory()) await this.#tree(path, skip, new Set());
    else if (stats.isSocket()) await this.#refer(path, 'socket', stats);
    else if (stats.isFile()) await this.#refer(path, 'file', stats);
    else throw unreadable(path, 'is neither a file nor a directory nor a socket');
  }

  async #tree(path: string, skip: (path: string) => boolean, seen: Set<string>): Promise<void> {
    const real = await this.directory(path);
    if (seen.has(real) || real === this.avoid) return;
    seen.add(real);
    for (const entry of fromSource(path, () => readdirSync(real, { withFileTypes: true }))) {
      const inside = join(real, entry.name);
      if (skip(join(path, entry.name))) continue;
      const stats = lookAtEntry(inside, entry);
      if (stats?.isDirectory()) await this.#tree(inside, skip, seen);
      else if (stats?.isFile()) await this.#refer(inside, 'file', stats);
    }
  }

  async #refer(path: string, kind: Source['kind'], stats: BigIntStats): Promise<void> {
    this.#take(path, await this.directory(dirname(path)), kind, stats).referred = true;
  }

  #take(path: string, directory: string, kind: Source['kind'], stats: BigIntStats): Source {
    const real = join(directory, basename(path));
    const known = this.#sources.get(real);
    if (known) return known;
    const source = { path, real, kind, stats, referred: false };
    this.#sources.set(real, source);
    if (kind === 'file') this.#bytes += stats.size;
    const { maxFiles, maxBytes } = this.limits;
    if (this.#sources.size <= maxFiles && this.#bytes <= BigInt(maxBytes)) return source;
    throw new BerthError(
      'BERTH_CONFIG_TOO_LARGE',
      `The configuration and what it names by relative path is more than ${maxFiles} files or ${maxBytes} bytes; ${path} is one too many`,
      { step: 'stage', advice: 'Keep in the directories that the configuration names only what HAProxy needs' },
    );
  }

  /**
   * Throws BERTH_CONFIG_UNREADABLE with `details.changed` where a file was written so lately that the next change might
   * not show in its times.
   */
  refuseUnsettled(now = Date.now()): void {
    for (const { path, kind, stats } of this.#sources.values()) {
      if (kind === 'socket') continue;
      const age = now - Number(stats.mtimeMs);
      // A file from the future (a clock set back, a network file system) tells nothing.
      if (age >= 0 && age < SETTLED_MS) throw unreadable(path, 'is being written', undefined, true);
    }
  }

  /** The bytes of files that were taken, as rewritten, by path; {@link copy} looks whether they have changed since. */
  async read(paths: Iterable<string>, rewritten: ReadonlyMap<string, Rewrite>): Promise<Map<string, Buffer>> {
    const contents = new Map<string, Buffer>();
    await inSlices(paths, (path) => contents.set(path, contentOf(path, rewritten.get(path))));
    return contents;
  }

  /**
   * Copy all that was taken, sharing blocks where the file system can (FICLONE). Permissions stay, without set-id bits
   * and without write permission for others. Throws BERTH_CONFIG_UNREADABLE with `details.changed` where something was
   * changed meanwhile.
   * @param rewritten by path as taken
   * @param joined paths of files that stand in a bundle: these are copied only where something refers to them
   */
  async copy(rewritten: ReadonlyMap<string, Rewrite>, joined: ReadonlySet<string> = new Set()): Promise<void> {
    const single = [...this.#sources.values()].filter(({ path, referred }) => referred || !joined.has(path));
    await inParallel(single, WIDTH, async ({ path, real, kind, stats }) => {
      const target = join(this.root, real);
      if (kind === 'socket') return symlink(path, target);
      const rewrite = rewritten.get(path);
      const mode = Number(stats.mode) & 0o755;
      if (rewrite === undefined) await copyOne(path, target, Number(stats.mode) & 0o7777, mode);
      else await writeFile(target, contentOf(path, rewrite), { mode, flag: 'wx' });
      this.#written.push(target);
    });
    await inSlices(this.#sources.values(), ({ path, kind, stats }) => {
      if (kind === 'socket') return;
      if (identity(look(path)) !== identity(stats))
        throw unreadable(path, 'was changed while it was read', undefined, true);
    });
  }
}

function look(path: string): BigIntStats {
  return fromSource(path, () => statSync(path, { bigint: true }));
}

/** undefined for what leads nowhere: HAProxy, too, passes over such entries of a directory. */
function lookAtEntry(path: string, entry: Dirent): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true });
  } catch (error) {
    if (errnoOf(error) === 'ELOOP' || (errnoOf(error) === 'ENOENT' && entry.isSymbolicLink())) return undefined;
    throw failureOf(path, error);
  }
}

function contentOf(path: string, rewrite: Rewrite | undefined): Buffer {
  const content = fromSource(path, () => readRegularFile(path));
  if (content === undefined) throw unreadable(path, 'was changed while it was read', undefined, true);
  return rewrite === undefined ? content : rewriteBytes(content, rewrite);
}

/** @param from the source's permissions, which copyfile keeps */
async function copyOne(source: string, target: string, from: number, mode: number): Promise<void> {
  try {
    await copyFile(source, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  } catch (error) {
    // copyfile names both paths; only the errno, and a look at the source, tell whose fault it was.
    if (errnoOf(error) === 'ENOENT') throw unreadable(source, 'disappeared', error, true);
    const readable = await access(source, constants.R_OK).then(
      () => true,
      () => false,
    );
    throw readable || OURS.has(errnoOf(error) ?? '')
      ? stateWriteError(error, 'copy the configuration', target)
      : unreadable(source, undefined, error);
  }
  if (from !== mode) await chmod(target, mode);
}

const identity = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  [dev, ino, size, mtimeNs, ctimeNs].join(':');

const ignoring = (code: string) => (error: unknown) => {
  if (errnoOf(error) !== code) throw error;
};
