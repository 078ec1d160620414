/** HAProxy's pid file: one pid a line (more than one only with `nbproc`, gone since 2.5). */
import { constants, type Stats } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BerthError, systemCause } from '../errors.js';

const NOT_A_PID_FILE = 64 << 10;

/**
 * The pids in it, in order; an empty list for an empty file, undefined where there is no file.
 * @throws BERTH_HAPROXY_NOT_FOUND where it is something else than a pid file or may not be read.
 */
export async function readPidFile(path: string): Promise<number[] | undefined> {
  let text: string;
  try {
    text = await readSmallFile(path);
  } catch (error) {
    const code = systemCause(error)?.code;
    if (code === 'ENOENT') return undefined;
    const why = `The pid file ${path} cannot be read: ${code ?? (error instanceof Error ? error.message : String(error))}`;
    throw new BerthError('BERTH_HAPROXY_NOT_FOUND', why, { step: 'find', cause: error });
  }
  const words = text.length > NOT_A_PID_FILE ? ['?'] : text.split(/\s+/).filter(Boolean);
  if (words.some((word) => !/^[1-9]\d{0,9}$/.test(word))) {
    throw new BerthError('BERTH_HAPROXY_NOT_FOUND', `${path} is not a pid file: it holds more than process ids`, {
      step: 'find',
    });
  }
  return words.map(Number);
}

/**
 * It often stands in a directory of HAProxy's own user, who may have put anything there: a FIFO would hold Berth for ever,
 * /dev/zero has no end.
 */
async function readSmallFile(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    if (!(await file.stat()).isFile()) throw new Error('it is not a regular file');
    const buffer = Buffer.alloc(NOT_A_PID_FILE + 1);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    return buffer.toString('latin1', 0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Can somebody else than root and the user that Berth runs as change what it says: directly, or by replacing it. */
export async function isWritableByOthers(path: string): Promise<boolean> {
  const [file, directory] = await Promise.all([stat(path), stat(dirname(path))]);
  return !isOurs(file) || !(isOurs(directory) || (isRoots(directory) && (directory.mode & 0o1000) !== 0));
}

function isOurs(found: Stats): boolean {
  return isRoots(found) && (found.mode & 0o022) === 0;
}

function isRoots({ uid }: Stats): boolean {
  return uid === 0 || uid === process.geteuid?.();
}
