/**
 * The files behind `-f`: a file as it is, a directory as cfgfiles_expand_directories() in haproxy.c takes it (regular
 * files and links to them, `*.cfg`, not hidden, byte order, not recursive).
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync, statSync, type Stats } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { BerthError, systemCause } from '../errors.js';
import type { Configuration, ReadOptions } from './config-model.js';
import { asText } from './tokenizer.js';

export const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;

/** Where the files are read: below `root`, but for those in `joined`, by absolute path. */
export type Place = Required<Pick<ReadOptions, 'root' | 'joined'>>;

/** Names as HAProxy prints them (`DIR/NAME`, relative ones relative to `workingDirectory`), in its order. */
export function expandSources(sources: readonly string[], workingDirectory: string, place: Place): string[] {
  if (sources.length === 0) {
    throw new BerthError('BERTH_USAGE', 'no configuration was named: give at least one file or directory', {
      step: 'read',
    });
  }
  const names = sources.flatMap((source) => {
    const absolute = resolve(workingDirectory, source);
    const path = place.root + absolute;
    if (place.joined.has(absolute) || !attempt(source, () => statSync(path)).isDirectory()) return [source];
    return directory(source, path, joinedIn(absolute, place.joined));
  });
  if (names.length === 0) {
    throw new BerthError(
      'BERTH_CONFIG_EMPTY',
      `${sources.join(', ')}: no file to read; of a directory HAProxy takes *.cfg only`,
      { step: 'read', details: { sources } },
    );
  }
  return names;
}

/** @param joined names of files that are in no directory */
function directory(source: string, path: string, joined: readonly string[]): string[] {
  const names = new Set(joined);
  const entries = attempt(source, () => readdirSync(path, { withFileTypes: true, encoding: 'latin1' }));
  for (const entry of entries) {
    // HAProxy looks for the first `.cfg` of the name: `a.cfg.cfg` is none
    if (entry.name.startsWith('.') || entry.name.indexOf('.cfg') !== entry.name.length - 4) continue;
    const regular = entry.isSymbolicLink()
      ? attempt(`${source}/${asText(entry.name)}`, () => statSync(`${path}/${asText(entry.name)}`)).isFile()
      : entry.isFile();
    if (regular) names.add(entry.name);
  }
  // one character a byte, so that the plain sort is the byte order of alphasort() in the C locale
  return [...names].sort().map((name) => `${source}/${asText(name)}`);
}

function joinedIn(directory: string, joined: Place['joined']): string[] {
  const inside = [...joined.keys()].filter((file) => dirname(file) === directory);
  return inside.map((file) => Buffer.from(basename(file), 'utf8').toString('latin1'));
}

/** A budget of bytes over all files, so that none of them is read when they are too large together. */
export class SourceReader {
  #left: number;

  constructor(
    private readonly workingDirectory: string,
    private readonly place: Place,
    private readonly maxBytes: number,
  ) {
    this.#left = maxBytes;
  }

  /** The whole file. Throws BERTH_CONFIG_UNREADABLE, BERTH_CONFIG_TOO_LARGE. */
  read(name: string): Buffer {
    const absolute = resolve(this.workingDirectory, name);
    const joined = this.place.joined.get(absolute);
    if (joined !== undefined) {
      this.#spend(name, joined.length);
      return joined;
    }
    // Not waiting: a pipe that nobody writes to would hold Berth for ever, deaf to Ctrl-C.
    const path = this.place.root + absolute;
    const fd = attempt(name, () => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
    try {
      const found: Stats = attempt(name, () => fstatSync(fd));
      if (!found.isFile()) throw unreadable(name, 'it is not a regular file');
      this.#spend(name, found.size);
      return attempt(name, () => readFileSync(fd));
    } finally {
      closeSync(fd);
    }
  }

  #spend(name: string, size: number): void {
    this.#left -= size;
    if (this.#left >= 0) return;
    throw new BerthError(
      'BERTH_CONFIG_TOO_LARGE',
      `${name}: the configuration is larger than ${this.maxBytes} bytes; nothing of this file was read`,
      { step: 'read', details: { file: name, bytes: size, maxBytes: this.maxBytes } },
    );
  }
}

/** Are the files at this place those that were read, byte for byte? */
export function isCopy(
  { files, contents, workingDirectory }: Pick<Configuration, 'files' | 'contents' | 'workingDirectory'>,
  sources: readonly string[],
  place: Place,
): boolean {
  const copies = expandSources(sources, workingDirectory, place);
  if (!isDeepStrictEqual(copies, files)) return false;
  const reader = new SourceReader(workingDirectory, place, Infinity);
  return copies.every((copy, at) => contents[at]?.equals(reader.read(copy)) === true);
}

function attempt<T>(name: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof BerthError) throw error;
    throw unreadable(name, systemCause(error)?.code ?? String(error), error);
  }
}

export function unreadable(name: string, why: string, cause?: unknown): BerthError {
  return new BerthError('BERTH_CONFIG_UNREADABLE', `${name}: the configuration cannot be read: ${why}`, {
    step: 'read',
    details: { file: name },
    ...(cause === undefined ? {} : { cause }),
  });
}
