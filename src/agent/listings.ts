/** What stands in directories, read anew only where they have changed. */
import { type BigIntStats, readdirSync } from 'node:fs';

interface Listing {
  readonly mark: string;
  readonly names: readonly string[];
}

/**
 * The kernel stamps a directory with the time of its last tick, some file systems with whole seconds: of one that has
 * changed just now, what comes next may bear the same time.
 */
const SETTLED_NS = 3_000_000_000n;

/**
 * A directory of 2000 files takes a millisecond to list, an agent does that twice at every look, and nothing has changed.
 * One walk over directories after the other; what a walk did not come to is forgotten with the next.
 */
export class Listings {
  readonly #encoding: 'utf8' | 'latin1';
  #before = new Map<string, Listing>();
  #now = new Map<string, Listing>();

  /** @param encoding of paths and names; `latin1`: one character a byte */
  constructor(encoding: 'utf8' | 'latin1') {
    this.#encoding = encoding;
  }

  begin(): void {
    this.#before = this.#now;
    this.#now = new Map();
  }

  /**
   * Names of all that is no regular file. @param found lstat(2) of the directory, taken before
   * @throws what readdir(3) throws
   */
  notFiles(path: string, { dev, ino, mtimeNs, ctimeNs }: BigIntStats): readonly string[] {
    const mark = `${dev} ${ino} ${mtimeNs} ${ctimeNs}`;
    const settled = BigInt(Date.now()) * 1_000_000n - ctimeNs > SETTLED_NS;
    const known = this.#before.get(path);
    const listing = known?.mark === mark ? known : { mark, names: this.#read(path) };
    if (settled) this.#now.set(path, listing);
    return listing.names;
  }

  #read(path: string): readonly string[] {
    const entries = readdirSync(Buffer.from(path, this.#encoding), { withFileTypes: true, encoding: this.#encoding });
    return entries.flatMap((entry) => (entry.isFile() ? [] : [entry.name]));
  }
}
