/** Where a change of a source would show: the few directories that must be watched, each without what is below it. */
import { type BigIntStats, lstatSync, readlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Listings } from './listings.js';

/** A directory to watch. */
export interface Place {
  readonly path: string;
  /** Which directory it is: another one may come to the same path, even with the same inode number. */
  readonly identity: string;
  /** Names in it that matter; undefined: all. */
  readonly names: ReadonlySet<string> | undefined;
}

export interface Places {
  /** By {@link Place.identity}. */
  readonly places: ReadonlyMap<string, Place>;
  /** source → the real path of what it is; undefined where it does not exist, or is a loop of symlinks. */
  readonly targets: ReadonlyMap<string, string | undefined>;
  /** A source has more directories than are watched. */
  readonly cut: boolean;
}

/** As many as the kernel follows in one path (path_resolution(7)). */
const MAX_LINKS = 40;
const MAX_DEPTH = 16;
const MAX_DIRECTORIES = 4096;

/**
 * Of each source the directory that its name stands in and that of every symlink on the way, for these names alone; where a
 * part of the path is missing, the last directory that exists, for that name. A source that is a directory is watched itself
 * with all directories below it; symlinks in it are not followed. Opens nothing but directories.
 * @param listings of the last look at these sources
 */
export function placesOf(sources: readonly string[], listings = new Listings('utf8')): Places {
  listings.begin();
  const found = new Collection(listings);
  const targets = new Map(sources.map((source) => [source, resolveSource(source, found)]));
  return { places: found.places(), targets, cut: found.cut };
}

class Collection {
  cut = false;
  readonly #listings: Listings;
  readonly #places = new Map<string, { readonly path: string; names: Set<string> | undefined }>();

  constructor(listings: Listings) {
    this.#listings = listings;
  }

  places(): Map<string, Place> {
    return new Map([...this.#places].map(([identity, { path, names }]) => [identity, { path, identity, names }]));
  }

  name(directory: string, name: string): void {
    const stat = lookAt(directory);
    if (!stat?.isDirectory()) return;
    const place = this.#places.get(identityOf(directory, stat));
    if (place === undefined) this.#places.set(identityOf(directory, stat), { path: directory, names: new Set([name]) });
    else place.names?.add(name);
  }

  tree(directory: string, stat: BigIntStats, depth = 0): void {
    if (this.#places.size >= MAX_DIRECTORIES || depth > MAX_DEPTH) {
      this.cut = true;
      return;
    }
    this.#places.set(identityOf(directory, stat), { path: directory, names: undefined });
    for (const name of this.#below(directory, stat)) {
      const path = join(directory, name);
      const below = lookAt(path);
      if (below?.isDirectory()) this.tree(path, below, depth + 1);
    }
  }

  #below(directory: string, stat: BigIntStats): readonly string[] {
    try {
      return this.#listings.notFiles(directory, stat);
    } catch {
      return [];
    }
  }
}

/** Walks the path as the kernel does, part by part. */
function resolveSource(source: string, found: Collection): string | undefined {
  const left = source.split('/');
  let at = '/';
  let links = 0;
  for (let part = left.shift(); part !== undefined; part = left.shift()) {
    if (part === '' || part === '.') continue;
    if (part === '..') {
      at = dirname(at);
      continue;
    }
    const path = join(at, part);
    const stat = lookAt(path);
    if (stat?.isSymbolicLink()) {
      found.name(at, part);
      const target = readLink(path);
      if (target === undefined || ++links > MAX_LINKS) return undefined;
      left.unshift(...target.split('/'));
      if (target.startsWith('/')) at = '/';
      continue;
    }
    const isLast = left.every((rest) => rest === '' || rest === '.');
    if (isLast || !stat?.isDirectory()) found.name(at, part);
    if (!stat || (!isLast && !stat.isDirectory())) return undefined;
    at = path;
    if (isLast && stat.isDirectory()) found.tree(path, stat);
  }
  return at;
}

/** Inode numbers are given out again at once (ext4, tmpfs); the time of birth tells the two apart. */
function identityOf(path: string, { dev, ino, birthtimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${birthtimeNs} ${path}`;
}

function lookAt(path: string): BigIntStats | undefined {
  try {
    return lstatSync(path, { bigint: true });
  } catch {
    return undefined;
  }
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
