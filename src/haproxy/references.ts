/**
 * What a configuration names by relative path: certificates, maps, lists of ACLs, error files, Lua. HAProxy has hundreds of
 * places for a path, so every word, and every piece of a word, that is the relative path of something that exists is taken
 * for one. A copy too many does no harm; directories, which might, are only taken where the keyword is one for directories.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import type { Configuration } from './config.js';

/** Keywords whose argument may be a directory. */
const DIRECTORY_KEYWORDS: ReadonlySet<string> = new Set(
  `crt ca-file ca-verify-file crl-file crt-base ca-base key-base server-state-base issuers-chain-path
  jwt-base`.split(/\s+/),
);
/** Keywords whose file has others beside it that are loaded with it: `x.pem.key`, `.ocsp`, `.issuer`, `.rsa`, … */
const CERTIFICATE_KEYWORDS: ReadonlySet<string> = new Set(['crt', 'default-crt', 'load']);
const BETWEEN_PIECES = /[\s(),"'[\]{}%]+/;

/** Absolute paths of files and directories (to be taken whole), sorted; those named by absolute path are not among them. */
export function references(configuration: Configuration): string[] {
  const search = new Search(configuration.root);
  for (const section of configuration.sections) {
    for (const line of section.lines) {
      const { words, base } = line;
      for (let i = 1; i < words.length; i++) search.word(base, words[i] ?? '', words[i - 1] ?? '');
    }
  }
  return [...search.found].sort();
}

class Search {
  readonly found = new Set<string>();
  readonly #names = new Map<string, ReadonlySet<string>>();
  readonly #lists = new Set<string>();

  /** @param root where the files are really read, see ReadOptions.root */
  constructor(private readonly root: string) {}

  word(base: string, word: string, keyword: string): void {
    if (keyword === 'crt-list') this.#crtList(base, word);
    if (keyword === 'lua-prepend-path') this.#luaPath(base, word);
    this.#candidate(base, word, keyword);
    if (!/[(,@:\s]/.test(word)) return;
    for (const piece of word.split(BETWEEN_PIECES)) {
      this.#candidate(base, piece, '');
      for (const sign of ['@', ':']) {
        const at = piece.indexOf(sign);
        if (at >= 0) this.#candidate(base, piece.slice(at + 1), keyword);
      }
    }
  }

  #candidate(base: string, path: string, keyword: string): void {
    if (path === '' || path.startsWith('/') || path.length > 4096) return;
    const slash = path.indexOf('/');
    const first = slash < 0 ? path : path.slice(0, slash);
    const certificate = CERTIFICATE_KEYWORDS.has(keyword);
    if (certificate) this.#beside(resolve(base, path));
    // one look into the directory saves a stat(2) for each of a hundred thousand words
    if (first !== '.' && first !== '..' && !this.#listing(base).has(first)) return;
    const absolute = resolve(base, path);
    const found = statSync(this.root + absolute, { throwIfNoEntry: false });
    if (found === undefined) return;
    if (!found.isDirectory()) this.found.add(absolute);
    else if (certificate || DIRECTORY_KEYWORDS.has(keyword)) this.#directory(base, absolute, () => true);
  }

  /** Whole; of one that holds the base itself only its own files, so that `crt .` does not take the whole disk. */
  #directory(base: string, path: string, wanted: (name: string) => boolean): void {
    const inside = relative(path, base);
    if (inside.startsWith('..')) {
      this.found.add(path);
      return;
    }
    for (const name of this.#listing(path)) {
      const file = join(path, name);
      if (wanted(name) && statSync(this.root + file, { throwIfNoEntry: false })?.isFile() === true)
        this.found.add(file);
    }
  }

  #beside(path: string): void {
    const directory = dirname(path);
    const name = path.slice(directory.length + 1);
    const stem = name.replace(/\.(?:pem|crt|cer)$/, '');
    for (const other of this.#listing(directory)) {
      if (other.startsWith(`${stem}.`)) this.found.add(join(directory, other));
    }
  }

  /** `PATH [ssl-options] [names]` a line, the paths relative as those of `crt` are (crtlist_parse_file() in ssl_crtlist.c). */
  #crtList(base: string, path: string): void {
    const file = resolve(base, path);
    if (this.#lists.has(file)) return;
    this.#lists.add(file);
    let text: string;
    try {
      text = readFileSync(this.root + file, 'utf8');
    } catch {
      return; // missing: `haproxy -c` says so
    }
    for (const line of text.split('\n')) {
      const words = line.split(BETWEEN_PIECES).filter((word) => word !== '');
      if (words[0]?.startsWith('#') === true) continue;
      for (const [i, word] of words.entries()) this.#candidate(base, word, words[i - 1] ?? 'crt');
    }
  }

  /** `./lua/?.lua`: all Lua below what stands before the question mark. */
  #luaPath(base: string, pattern: string): void {
    if (pattern.startsWith('/')) return;
    const path = resolve(base, dirname(`${pattern.split('?', 1)[0] ?? ''}x`));
    if (statSync(this.root + path, { throwIfNoEntry: false })?.isDirectory() !== true) return;
    this.#directory(base, path, (name) => name.endsWith('.lua'));
  }

  #listing(directory: string): ReadonlySet<string> {
    let names = this.#names.get(directory);
    if (names === undefined) {
      try {
        names = new Set(readdirSync(this.root + directory));
      } catch {
        names = new Set();
      }
      this.#names.set(directory, names);
    }
    return names;
  }
}
