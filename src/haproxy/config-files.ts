/**
 * The files behind `-f`: a file as it is, a directory as cfgfiles_expand_directories() in haproxy.c takes it (regular
 * files and links to them, `*.cfg`, not hidden, byte order, not recursive).
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync, statSync, type Stats } from 'node:fs';
import { resolve } from 'node:path';
import { BerthError, systemCause } from '../errors.js';
import { asText } from './tokenizer.js';

export const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;

/** Names as HAProxy prints them (`DIR/NAME`, relative ones relative to `workingDirectory`), in its order; read below `root`. */
export function expandSources(sources: readonly string[], workingDirectory: string, root: string): string[] {
  if (sources.length === 0) {
    throw new BerthError('BERTH_USAGE', 'no configuration was named: give at least one file or directory', {
      step: 'read',
    });
  }
  const names = sources.flatMap((source) => {
    const path = root + resolve(workingDirectory, source);
    return attempt(source, () => statSync(path)).isDirectory() ? directory(source, path) : [source];
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

function directory(source: string, path: string): string[] {
  const names: string[] = [];
  // latin1: one character a byte, so that the plain sort is the byte order of alphasort() in the C locale
  const entries = attempt(source, () => readdirSync(path, { withFileTypes: true, encoding: 'latin1' }));
  entries.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  for (const entry of entries) {
    // HAProxy looks for the first `.cfg` of the name: `a.cfg.cfg` is none
    if (entry.name.startsWith('.') || entry.name.indexOf('.cfg') !== entry.name.length - 4) continue;
    const name = `${source}/${asText(entry.name)}`;
    const regular = entry.isSymbolicLink()
      ? attempt(name, () => statSync(`${path}/${asText(entry.name)}`)).isFile()
      : entry.isFile();
    if (regular) names.push(name);
  }
  return names;
}

/** A budget of bytes over all files, so that none of them is read when they are too large together. */
export class SourceReader {
  #left: number;

  constructor(
    private readonly workingDirectory: string,
    private readonly root: string,
    private readonly maxBytes: number,
  ) {
    this.#left = maxBytes;
  }

  /** The whole file. Throws BERTH_CONFIG_UNREADABLE, BERTH_CONFIG_TOO_LARGE. */
  read(name: string): Buffer {
    // Not waiting: a pipe that nobody writes to would hold Berth for ever, deaf to Ctrl-C.
    const path = this.root + resolve(this.workingDirectory, name);
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
