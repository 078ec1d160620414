/** Where the settings file is, and how a file that decides what root runs is read: small, regular, nobody else's to write. */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { resolve } from 'node:path';
import { BerthError } from '../errors.js';

/** Read where it exists and no other file is named. */
export const DEFAULT_SETTINGS_FILE = '/etc/berth/berth.yaml';

/** Largest file of settings, in bytes. */
const MAX_BYTES = 1024 * 1024;

export interface FileSources {
  /** A YAML file. Absent: the one that `BERTH_SETTINGS` names, else {@link DEFAULT_SETTINGS_FILE} where it exists. */
  readonly file?: string | undefined;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** In place of {@link DEFAULT_SETTINGS_FILE}. */
  readonly defaultFile?: string;
}

/** The settings file and its text; undefined where none is read: there is none, or `BERTH_SETTINGS` is empty. */
export function readSettingsFile(sources: FileSources): { readonly file: string; readonly text: string } | undefined {
  const { file, environment = {}, defaultFile = DEFAULT_SETTINGS_FILE } = sources;
  const named = file ?? environment['BERTH_SETTINGS'];
  if (named === '' && file === undefined) return undefined;
  if (named !== undefined) return { file: resolve(named), text: readSmallFile(resolve(named)) };
  try {
    return { file: defaultFile, text: readSmallFile(defaultFile) };
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as BerthError).system?.code ?? '')) return undefined;
    throw error;
  }
}

/**
 * The text of a regular file of at most 1 MiB of UTF-8. As root, one that other users can write is refused: it names the
 * programs that root runs. A FIFO or a device is refused and never waited for.
 * @throws BERTH_SETTINGS
 */
export function readSmallFile(file: string): string {
  let fd: number | undefined;
  try {
    // O_NONBLOCK: open(2) of a FIFO without a writer would wait for ever.
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    const problem = unfit(fstatSync(fd));
    if (problem !== undefined) throw refused(file, problem);
    return new TextDecoder('utf-8', { fatal: true }).decode(readUpTo(fd, file));
  } catch (error) {
    if (error instanceof BerthError) throw error;
    if (error instanceof TypeError) throw refused(file, 'it is not text in UTF-8', error);
    throw refused(file, (error as Error).message, error);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function unfit(stats: Stats): string | undefined {
  if (!stats.isFile())
    return `it is ${stats.isDirectory() ? 'a directory' : 'a FIFO, a socket or a device'}, not a file`;
  // Of root's own group nobody is a member but root's own.
  const others = stats.mode & (stats.gid === 0 ? 0o002 : 0o022);
  if (others === 0 || process.geteuid?.() !== 0) return undefined;
  return `others can write it (mode ${(stats.mode & 0o7777).toString(8)}), and it decides what root runs; chmod go-w it`;
}

/** Read to the end whatever fstat(2) says of the size: it is 0 in /proc, and a file can grow meanwhile. */
function readUpTo(fd: number, file: string): Buffer {
  const buffer = Buffer.allocUnsafe(MAX_BYTES + 1);
  let length = 0;
  for (let read = -1; read !== 0 && length <= MAX_BYTES; length += read) {
    read = readSync(fd, buffer, length, buffer.length - length, null);
  }
  if (length > MAX_BYTES) throw refused(file, `it is larger than ${MAX_BYTES} bytes`);
  return buffer.subarray(0, length);
}

function refused(file: string, problem: string, cause?: unknown): BerthError {
  return new BerthError('BERTH_SETTINGS', `${file}: the settings cannot be read: ${problem}`, {
    step: 'settings',
    cause,
    details: { where: file },
  });
}
