/** What the files of a configuration are, without reading them: two equal fingerprints mean that nothing was written. */
import { createHash, type Hash } from 'node:crypto';
import { type BigIntStats, lstatSync, readdirSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { BerthError, systemCause } from '../errors.js';
import { Listings } from './listings.js';

/** The fingerprint of sources of which one does not exist. */
export const ABSENT = 'absent';

const MAX_FILES = 100_000;
const MAX_DEPTH = 16;
/** lstat(2) takes a few microseconds, and thirty as a promise of Node's; so many are made before others get a turn. */
const AT_ONCE = 256;

/** Names as bytes, one character each: they need not be UTF-8. */
const BYTES = 'latin1';

/**
 * A digest over all files at or below the sources, whatever their names: what HAProxy includes by relative path counts as
 * well. Of each its name, device, inode, size and times of modification and change; of a symlink where it points and the same
 * of what is there, which is not descended into. The source itself may be a symlink and is followed. Nothing is opened but
 * directories, so that a FIFO does no harm. Takes 10 µs a file.
 * @returns `absent` where a source does not exist
 * @throws BERTH_CONFIG_TOO_LARGE for more than 100000 files or 16 levels, BERTH_CONFIG_UNREADABLE where a source may not be
 *   looked at
 */
export function fingerprint(sources: readonly string[]): Promise<string> {
  return digestOf(sources, new Walk());
}

/**
 * As {@link fingerprint}, without a look at each regular file: whatever comes, goes or is replaced shows, since its directory
 * changes with it; what is written in place does not. Takes next to no time.
 * @param listings of the last outline of these sources
 */
export function outline(sources: readonly string[], listings = new Listings(BYTES)): Promise<string> {
  listings.begin();
  return digestOf(sources, new Walk(listings));
}

async function digestOf(sources: readonly string[], walk: Walk): Promise<string> {
  for (const source of sources) {
    const root = realRoot(source);
    if (root === undefined) return ABSENT;
    await walk.add(root, source);
  }
  return walk.digest();
}

function realRoot(source: string): Buffer | undefined {
  try {
    return realpathSync(source, 'buffer');
  } catch (error) {
    const code = systemCause(error)?.code;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return undefined;
    throw new BerthError('BERTH_CONFIG_UNREADABLE', `${source} cannot be looked at: ${code ?? String(error)}`, {
      step: 'read',
      cause: error,
    });
  }
}

class Walk {
  readonly #hash: Hash = createHash('sha256');
  readonly #listings: Listings | undefined;
  #files = 0;

  /** @param listings where only those that are no regular files are looked at */
  constructor(listings?: Listings) {
    this.#listings = listings;
  }

  async add(root: Buffer, source: string): Promise<void> {
    this.#write('source', root.toString(BYTES));
    const pending: { readonly path: string; readonly name: string; readonly depth: number }[] = [
      { path: root.toString(BYTES), name: '', depth: 0 },
    ];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const { path, name, depth } = next;
      if (++this.#files > MAX_FILES) throw tooLarge(source, `holds more than ${MAX_FILES} files`);
      if (this.#files % AT_ONCE === 0) await nextTurn();
      const directory = this.#entry(path, name);
      if (directory === undefined) continue;
      if (depth === MAX_DEPTH) throw tooLarge(source, `is more than ${MAX_DEPTH} directories deep`);
      for (const child of this.#children(path, directory)) {
        pending.push({ path: `${path}/${child}`, name: `${name}/${child}`, depth: depth + 1 });
      }
    }
  }

  digest(): string {
    return this.#hash.digest('hex');
  }

  /** @returns what it is, where it is a directory */
  #entry(path: string, name: string): BigIntStats | undefined {
    const found = attempt(() => lstatSync(bytes(path), { bigint: true }));
    if (typeof found === 'string') {
      this.#write('unseen', name, found);
      return undefined;
    }
    if (found.isSymbolicLink()) {
      const target = attempt(() => readlinkSync(bytes(path), BYTES));
      const there = attempt(() => statSync(bytes(path), { bigint: true }));
      this.#write('link', name, target, typeof there === 'string' ? there : identity(there));
      return undefined;
    }
    this.#write('file', name, identity(found));
    return found.isDirectory() ? found : undefined;
  }

  /** Where only some are looked at, that the others are there is told by their directory's times. */
  #children(path: string, found: BigIntStats): readonly string[] {
    const names = attempt(() => this.#listings?.notFiles(path, found) ?? readdirSync(bytes(path), BYTES));
    if (typeof names !== 'string') return names.toSorted();
    this.#write('unlisted', names);
    return [];
  }

  /** No field holds a NUL, and each kind of entry has a number of fields of its own. */
  #write(...fields: readonly string[]): void {
    this.#hash.update(`${fields.join('\0')}\0\0`, BYTES);
  }
}

function identity({ dev, ino, mode, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev} ${ino} ${mode} ${size} ${mtimeNs} ${ctimeNs}`;
}

/** The value, or errno's name: what vanishes between two looks, or may not be looked at, is a fact like any other. */
function attempt<T>(look: () => T): T | string {
  try {
    return look();
  } catch (error) {
    return systemCause(error)?.code ?? 'error';
  }
}

function bytes(path: string): Buffer {
  return Buffer.from(path, BYTES);
}

function tooLarge(source: string, why: string): BerthError {
  return new BerthError('BERTH_CONFIG_TOO_LARGE', `${source} ${why}`, {
    step: 'read',
    advice: 'Name the directory that HAProxy reads, not one above it',
    details: { source },
  });
}
