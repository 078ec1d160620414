/** Files that must survive a crash: written aside, flushed, renamed. Errors name the path and the errno. */
import { closeSync, constants, fstatSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { BerthError, systemCause } from '../errors.js';
import type { StagedFiles } from './context.js';

/** Flushes the whole file system that holds `path` (syncfs(2)); given by the kernel room. */
export type SyncFileSystem = (path: string) => Promise<void>;

/**
 * BERTH_STATE_WRITE for a failed write below the state directory.
 * @param doing what was being done, `write the generation's meta.json`
 */
export function stateWriteError(error: unknown, doing: string, path: string): BerthError {
  if (error instanceof BerthError) return error;
  const cause = systemCause(error);
  const why = cause ? `${cause.code} (${cause.syscall})` : error instanceof Error ? error.message : 'unknown error';
  const noDescriptor = cause?.code === 'EMFILE' || cause?.code === 'ENFILE';
  return new BerthError('BERTH_STATE_WRITE', `Cannot ${doing}: ${why} on ${cause?.path ?? path}; nothing was changed`, {
    step: 'state',
    cause: error,
    ...(noDescriptor ? { advice: 'Raise LimitNOFILE (ulimit -n)' } : {}),
    details: { path: cause?.path ?? path, ...(cause ? { errno: cause.code } : {}) },
  });
}

/** errno's name (`ENOENT`), undefined where the error carries none. */
export function errnoOf(error: unknown): string | undefined {
  return systemCause(error)?.code;
}

/** Flush a file, or a directory's entries after a rename or an unlink in it: fsync(2), section on directories. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Replace a file so that a crash leaves either the old or the new content, whole: written aside as `PATH.new`, fsync,
 * rename, fsync of the directory. Errors are the system's own.
 */
export async function replaceFile(path: string, data: string | Buffer, mode = 0o600): Promise<void> {
  const aside = `${path}.new`;
  await rm(aside, { force: true });
  try {
    const handle = await open(aside, 'wx', mode);
    try {
      await handle.writeFile(data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(aside, path);
  } catch (error) {
    await rm(aside, { force: true }).catch(() => undefined);
    throw error;
  }
  await syncPath(dirname(path));
}

/**
 * Run `work` on every item, at most `width` at once. On the first failure no further item is begun; rejects with it only
 * when all that were begun have ended, so that a caller can remove what they wrote without racing with them.
 */
export async function inParallel<T>(
  items: Iterable<T>,
  width: number,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const queue = items[Symbol.iterator]();
  let failed = false;
  const worker = async (): Promise<void> => {
    for (let next = queue.next(); !next.done && !failed; next = queue.next()) {
      try {
        await work(next.value);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: width }, worker));
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason as Error;
}

/** How long a slice of synchronous work may keep the event loop from others, in milliseconds. */
const SLICE_MS = 8;

/**
 * Run `work` on every item, one after the other, and let others run in between. For calls of a few microseconds each, of
 * which there are thousands: through libuv's pool they take ten times as long.
 */
export async function inSlices<T>(items: Iterable<T>, work: (item: T) => unknown): Promise<void> {
  let begun = performance.now();
  for (const item of items) {
    if (performance.now() - begun > SLICE_MS) {
      await nextTurn();
      begun = performance.now();
    }
    work(item);
  }
}

/**
 * A regular file of at most `mostBytes`; undefined where something else, or more, stands there. It is not waited for: a FIFO
 * that took the file's place would hold Berth for ever. Errors are the system's own.
 */
export function readRegularFile(path: string, mostBytes = Infinity): Buffer | undefined {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const found = fstatSync(fd);
    return found.isFile() && found.size <= mostBytes ? readFileSync(fd) : undefined;
  } finally {
    closeSync(fd);
  }
}

/** A file as it is, or as a generation has it. Errors are the system's own. */
export function readStaged(staged: StagedFiles | undefined, file: string): Buffer {
  return staged?.joined.get(file) ?? readFileSync(join(staged?.root ?? '/', file));
}

/** Remove a directory and all in it; one that does not exist is fine. */
export async function removeTree(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}

/** Like {@link replaceFile}, whole or not at all, but not flushed: for what may be lost with a crash of the machine. */
export function replaceHint(path: string, data: string): void {
  const aside = `${path}.new`;
  try {
    rmSync(aside, { force: true });
    writeFileSync(aside, data, { mode: 0o600, flag: 'wx' });
    renameSync(aside, path);
  } catch (error) {
    removeQuietly(aside);
    throw stateWriteError(error, 'write a note', path);
  }
}

/** After a failure that is told: what cannot be removed either is found by the next run's recovery. */
export function removeQuietly(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    return;
  }
}
