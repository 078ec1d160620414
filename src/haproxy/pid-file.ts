/** HAProxy's pid file: one pid a line (more than one only with `nbproc`, gone since 2.5). */
import { readFile } from 'node:fs/promises';
import { BerthError, systemCause } from '../errors.js';

const NOT_A_PID_FILE = 64 << 10;

/**
 * The pids in it, in order; an empty list for an empty file, undefined where there is no file.
 * @throws BERTH_HAPROXY_NOT_FOUND where it is something else than a pid file or may not be read.
 */
export async function readPidFile(path: string): Promise<number[] | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const code = systemCause(error)?.code;
    if (code === 'ENOENT') return undefined;
    throw new BerthError('BERTH_HAPROXY_NOT_FOUND', `The pid file ${path} cannot be read: ${code ?? String(error)}`, {
      step: 'find',
      cause: error,
    });
  }
  const words = text.length > NOT_A_PID_FILE ? ['?'] : text.split(/\s+/).filter(Boolean);
  if (words.some((word) => !/^[1-9]\d{0,9}$/.test(word))) {
    throw new BerthError('BERTH_HAPROXY_NOT_FOUND', `${path} is not a pid file: it holds more than process ids`, {
      step: 'find',
    });
  }
  return words.map(Number);
}
