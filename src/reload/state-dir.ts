/**
 * Berth's state directory, `/var/lib/berth` unless told otherwise; mode 0700, of root (or of who runs Berth):
 *
 * ```
 * lock                      flock(2)ed by the Berth that works here; three lines: pid, what it does, since when (ISO)
 * journal                   one record a line, each with its checksum; see journal.ts
 * ledger.json               the reserved ports that are ours; see kernel/ledger.ts
 * current -> generations/N  the generation that serves; replaced by rename(2) of a new symlink, see publish.ts
 * generations/
 *   last                    the last number given out; numbers are never used twice
 *   N/                      one generation; see generations.ts
 *     meta.json             number, when, from what, state
 *     manifest.json         the files of the mirror, in HAProxy's order
 *     listeners.json        the listeners that it serves
 *     private.cfg           Berth's own second -f
 *     root/                 mirror of the configuration: root/etc/haproxy/haproxy.cfg is /etc/haproxy/haproxy.cfg,
 *                           the files of a directory of many joined in .berth-bundle-N.cfg (bundle.ts)
 *   .N.staging, .N.removing being written, being removed; a crash leaves them behind and the next run removes them
 * run/                      sockets and pid files, at short paths
 * ```
 */
import { closeSync, constants, ftruncateSync, readFileSync, writeSync, type Stats } from 'node:fs';
import { access, lstat, mkdir, realpath } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { BerthError } from '../errors.js';
import { errnoOf, stateWriteError } from './files.js';
import { strangeInside } from './state-inside.js';

/**
 * Takes flock(2) on `path` (created 0600), waiting up to `waitMs`. The descriptor holds the lock until it is closed.
 * Given by the kernel room.
 */
export type LockFile = (
  path: string,
  waitMs: number,
) => Promise<{ readonly fd: number } | { readonly busyPid: number | undefined }>;

/** Who has the lock, as written in the lock file. */
export interface LockHolder {
  readonly pid: number;
  readonly doing: string;
  /** ISO time. */
  readonly since: string;
}

export interface StateLock {
  /** Closes the descriptor; safe to call twice. */
  release(): void;
}

export interface StateDir {
  /** Absolute. */
  readonly path: string;
  readonly journal: string;
  readonly ledger: string;
  readonly current: string;
  readonly generations: string;
  readonly run: string;
  /**
   * Path of a socket in `run/`. Throws BERTH_STATE_DIR where a unix socket cannot have so long a path.
   * @param name file name, `7.stats`
   */
  socket(name: string): string;
  /** Throws BERTH_LOCKED, naming the holder's pid and what it does, where the lock is not free within `waitMs`. */
  lock(doing: string, waitMs: number): Promise<StateLock>;
  /** The holder as written in the lock file; undefined where nobody works here. It may have died since: flock is the truth. */
  holder(): LockHolder | undefined;
}

/**
 * sun_path holds 107 bytes and a NUL (unix(7)), and HAProxy binds at `PATH.PID.tmp` before it renames (sock_unix.c), with
 * pids of up to seven digits.
 */
export const SOCKET_PATH_LIMIT = 107 - '.4194304.tmp'.length;

/**
 * Open the state directory, and make it (0700, and the directories in it) where `create`.
 * @param create false: nothing is made or checked for writing; a directory that does not exist reads as empty.
 * Errors: BERTH_STATE_DIR for a place that cannot be trusted, BERTH_STATE_WRITE for one that cannot be written.
 */
export async function openStateDir(
  path: string,
  options: { readonly create: boolean; readonly lockFile: LockFile },
): Promise<StateDir> {
  const absolute = await resolvedPath(resolve(path));
  await refuseUntrustedAbove(absolute);
  if (options.create) await make(absolute);
  const exists = await refuseUntrusted(absolute);
  if (options.create && !exists) throw untrusted(absolute, 'a part of its path leads nowhere');
  const strange = exists ? await strangeInside(absolute) : undefined;
  if (strange) throw untrusted(absolute, `${strange.path} ${strange.why}`);
  if (options.create) for (const name of ['generations', 'run']) await makeInside(join(absolute, name));
  return stateDir(absolute, options.lockFile);
}

async function make(path: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return;
    if (errnoOf(error) === 'ENOTDIR') throw untrusted(path, 'a part of its path is not a directory', error);
    throw stateWriteError(error, 'make the state directory', path);
  }
}

async function makeInside(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw stateWriteError(error, 'make a part of the state directory', path);
    const found = await lstat(path);
    if (!found.isDirectory()) throw untrusted(path, 'it is not a directory');
  }
  // A read-only file system is told here, before anything is begun; access(2) reports EROFS even to root.
  await access(path, constants.W_OK).catch((error: unknown) => {
    throw stateWriteError(error, 'write to the state directory', path);
  });
}

/**
 * Whoever can write here can make Berth start HAProxy with a configuration of theirs, as root.
 * @returns false where it does not exist
 */
async function refuseUntrusted(path: string): Promise<boolean> {
  let found: Stats;
  try {
    found = await lstat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw untrusted(path, `it cannot be looked at (${errnoOf(error) ?? 'unknown error'})`, error);
  }
  if (found.isSymbolicLink()) throw untrusted(path, 'it is a symbolic link');
  if (!found.isDirectory()) throw untrusted(path, 'it is not a directory');
  const us = process.geteuid?.() ?? 0;
  if (found.uid !== us) throw untrusted(path, `it belongs to uid ${found.uid}, not to uid ${us}`);
  if ((found.mode & 0o022) !== 0) throw untrusted(path, `its mode ${octal(found.mode)} lets others write to it`);
  return true;
}

async function refuseUntrustedAbove(path: string): Promise<void> {
  const us = process.geteuid?.() ?? 0;
  const ourGroup = process.getegid?.() ?? 0;
  for (let parent = dirname(path); ; parent = dirname(parent)) {
    const above = await lstat(parent).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw untrusted(path, `${parent} above it cannot be looked at`, error);
    });
    if (above === undefined) continue;
    if (above.uid !== 0 && above.uid !== us) throw untrusted(path, `${parent} above it belongs to uid ${above.uid}`);
    const groupWrites = (above.mode & 0o020) !== 0 && above.gid !== 0 && above.gid !== ourGroup;
    const sticky = (above.mode & 0o1000) !== 0;
    if (!sticky && (groupWrites || (above.mode & 0o002) !== 0)) {
      throw untrusted(path, `${parent} above it has mode ${octal(above.mode)}, so that others can replace it`);
    }
    if (parent === dirname(parent)) return;
  }
}

/** With symlinks above it resolved: who owns the place of such a link could lead Berth elsewhere later. */
async function resolvedPath(path: string): Promise<string> {
  for (let parent = dirname(path); ; parent = dirname(parent)) {
    try {
      return join(await realpath(parent), relative(parent, path));
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw untrusted(path, `${parent} above it cannot be looked at`, error);
    }
  }
}

function untrusted(path: string, why: string, cause?: unknown): BerthError {
  return new BerthError('BERTH_STATE_DIR', `The state directory ${path} cannot be used: ${why}`, {
    step: 'state',
    ...(cause === undefined ? {} : { cause }),
    details: { path },
  });
}

const octal = (mode: number): string => (mode & 0o7777).toString(8).padStart(4, '0');

function stateDir(path: string, lockFile: LockFile): StateDir {
  const lockPath = join(path, 'lock');
  const run = join(path, 'run');
  return {
    path,
    journal: join(path, 'journal'),
    ledger: join(path, 'ledger.json'),
    current: join(path, 'current'),
    generations: join(path, 'generations'),
    run,
    socket(name) {
      const socket = join(run, name);
      const length = Buffer.byteLength(socket);
      if (length <= SOCKET_PATH_LIMIT) return socket;
      throw new BerthError(
        'BERTH_STATE_DIR',
        `The state directory's path is too long for a unix socket: ${socket} has ${length} bytes, the limit is ${SOCKET_PATH_LIMIT}`,
        { step: 'state', advice: 'Give a shorter --state-dir', details: { path: socket, bytes: length } },
      );
    },
    holder: () => readHolder(lockPath),
    async lock(doing, waitMs) {
      const taken = await lockFile(lockPath, waitMs).catch((error: unknown) => {
        throw stateWriteError(error, 'lock the state directory', lockPath);
      });
      if (!('fd' in taken)) throw locked(path, readHolder(lockPath), taken.busyPid);
      return held(taken.fd, lockPath, doing);
    },
  };
}

function held(fd: number, path: string, doing: string): StateLock {
  let open = true;
  const release = (): void => {
    if (!open) return;
    open = false;
    try {
      ftruncateSync(fd, 0);
    } catch {
      // The lock ends with the descriptor; what stands in the file is for people, and must not hide why the work failed.
    }
    closeSync(fd);
  };
  try {
    ftruncateSync(fd, 0);
    writeSync(fd, `${process.pid}\n${doing}\n${new Date().toISOString()}\n`, 0);
  } catch (error) {
    open = false;
    closeSync(fd);
    throw stateWriteError(error, 'write the lock file', path);
  }
  return { release };
}

function readHolder(path: string): LockHolder | undefined {
  try {
    const [pid = '', doing = '', since = ''] = readFileSync(path, 'utf8').split('\n');
    return /^\d+$/.test(pid) ? { pid: Number(pid), doing, since } : undefined;
  } catch {
    return undefined;
  }
}

function locked(path: string, holder: LockHolder | undefined, busyPid: number | undefined): BerthError {
  const pid = holder?.pid ?? busyPid;
  const who = pid === undefined ? 'another Berth' : `Berth with pid ${pid}`;
  const what = holder ? `, which does "${holder.doing}" since ${holder.since}` : '';
  return new BerthError('BERTH_LOCKED', `The state directory ${path} is in use by ${who}${what}`, {
    step: 'lock',
    details: { path, ...(pid === undefined ? {} : { pid }), ...(holder ?? {}) },
  });
}
