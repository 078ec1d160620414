/**
 * The configuration as HAProxy's own reader (readcfgfile() in cfgparse.c, 2.2 to 3.2) takes it: files in order, lines to
 * words, conditions and environment at their place, sections. Keywords are not judged here: `haproxy -c` does that.
 */
import { hostname } from 'node:os';
import { dirname, resolve } from 'node:path';
import { BerthError } from '../errors.js';
import type { SourcePlace } from '../model/bind.js';
import { Blocks } from './config-blocks.js';
import { configError, syntaxError } from './config-errors.js';
import { DEFAULT_MAX_BYTES, expandSources, SourceReader } from './config-files.js';
import { evaluate, type Truth } from './conditions.js';
import { Environment, type Variables } from './environment.js';
import { isSpace, tokenize } from './tokenizer.js';

export interface HAProxyVersion {
  readonly major: number;
  readonly minor: number;
  /** As `haproxy -v` prints it: `2.6.12-1+deb12u4`. */
  readonly text: string;
}

export interface ReadOptions {
  /** HAProxy's `-C`; relative sources are relative to it. Default: the working directory of this process. */
  readonly workingDirectory?: string;
  /** Read everything below this directory instead (a copy of the files at their absolute paths); names and places stay. */
  readonly root?: string;
  /** The environment that HAProxy will be started with. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly version: HAProxyVersion;
  /** Names after + in the feature list of `haproxy -vv`. Not given: `feature()` is undecided. */
  readonly features?: readonly string[];
  /** HAProxy's `-L`; wins over `localpeer`. Default: the host name. */
  readonly localPeer?: string;
  /** Of all files together; default 64 MiB. */
  readonly maxBytes?: number;
}

export interface ConfigurationLine extends SourcePlace {
  /** At least one, the first not empty. An empty word (`""`) ends most of HAProxy's loops over arguments. */
  readonly words: readonly string[];
  /** Directory that relative paths of this line are relative to (`default-path`), absolute. */
  readonly base: string;
  /** The environment at this place. */
  readonly variables: Variables;
  /** Why only the haproxy binary knows whether the line counts; undefined: it counts. */
  readonly doubt: string | undefined;
}

export interface Section extends SourcePlace {
  /** The keyword: `global`, `defaults`, `frontend`, `listen`, `backend`, `peers`, … */
  readonly kind: string;
  /** First argument; empty where there is none. */
  readonly name: string;
  /** The line that opens the section, whole. */
  readonly header: ConfigurationLine;
  /** The lines after it, without the directives `.if` … `.alert`. */
  readonly lines: readonly ConfigurationLine[];
}

export interface Configuration {
  readonly sections: readonly Section[];
  /** As HAProxy prints them, in its order; relative ones are relative to `workingDirectory`. */
  readonly files: readonly string[];
  /** Absolute. */
  readonly workingDirectory: string;
  /** As in the options; empty where there is none. */
  readonly root: string;
  readonly version: HAProxyVersion;
  /** Name of the local peer: `-L`, else `localpeer`, else the host name. */
  readonly localPeer: string;
  /** The environment after the whole read. */
  readonly environment: Variables;
  readonly warnings: readonly (SourcePlace & { readonly message: string })[];
}

/** Keywords that open a section in any of HAProxy 2.2 to 3.2 (REGISTER_CONFIG_SECTION). */
const SECTION_KINDS: ReadonlySet<string> = new Set(
  `global defaults frontend listen backend peers mailers userlist namespace_list resolvers cache fcgi-app http-errors
  program ring log-forward crt-store traces log-profile acme`.split(/\s+/),
);

/**
 * Read files and directories as HAProxy's `-f` takes them.
 * Throws BERTH_CONFIG_UNREADABLE, _EMPTY, _TOO_LARGE and _SYNTAX, the last with file and line, where no HAProxy would read on.
 */
export function readConfiguration(sources: readonly string[], options: ReadOptions): Configuration {
  return new Reader(options).read(sources);
}

interface OpenSection extends Section {
  readonly lines: ConfigurationLine[];
}

class Reader {
  readonly #workingDirectory: string;
  readonly #environment: Environment;
  readonly #sections: OpenSection[] = [];
  readonly #warnings: (SourcePlace & { readonly message: string })[] = [];
  #localPeer: string;
  #defaultPath: 'current' | 'config' | 'parent' | 'origin' = 'current';
  #origin = '';
  #base = '';

  constructor(private readonly options: ReadOptions) {
    this.#workingDirectory = resolve(options.workingDirectory ?? '.');
    this.#localPeer = options.localPeer ?? hostname();
    this.#environment = new Environment(options.environment);
    this.#environment.set('HAPROXY_LOCALPEER', this.#localPeer);
    const { major, minor, text } = options.version;
    if (options.environment.HAPROXY_STARTUP_VERSION === undefined)
      this.#environment.set('HAPROXY_STARTUP_VERSION', text);
    if (major > 2 || minor >= 8) this.#environment.set('HAPROXY_BRANCH', `${major}.${minor}`);
  }

  read(sources: readonly string[]): Configuration {
    const { root = '' } = this.options;
    const files = expandSources(sources, this.#workingDirectory, root);
    const reader = new SourceReader(this.#workingDirectory, root, this.options.maxBytes ?? DEFAULT_MAX_BYTES);
    for (const file of files) this.#readFile(file, reader.read(file));
    if (this.#sections.length === 0) {
      throw new BerthError('BERTH_CONFIG_EMPTY', `${sources.join(', ')}: the configuration holds no section`, {
        step: 'read',
        details: { files },
      });
    }
    return {
      sections: this.#sections,
      files,
      workingDirectory: this.#workingDirectory,
      root,
      version: this.options.version,
      localPeer: this.#localPeer,
      environment: this.#environment.variables,
      warnings: this.#warnings,
    };
  }

  #readFile(file: string, bytes: Buffer): void {
    const text = bytes.toString('latin1');
    const nul = text.indexOf('\0');
    if (nul >= 0) {
      const line = text.slice(0, nul).split('\n').length;
      throw configError(
        'BERTH_CONFIG_UNREADABLE',
        { file, line },
        'the line holds a NUL byte: this is not a text file',
      );
    }
    this.#base = this.#basePath(file);
    const blocks = new Blocks();
    const before = this.#sections.length;
    const context = {
      file,
      line: 0,
      section: undefined as string | undefined,
      environment: this.#environment,
      unsetClosesQuote: this.options.version.major >= 3,
    };
    for (let start = 0; start < text.length;) {
      const feed = text.indexOf('\n', start);
      const end = feed < 0 ? text.length : feed;
      context.line++;
      let at = start;
      while (at < end && isSpace(text.charCodeAt(at))) at++;
      start = end + 1;
      if (at === end || text[at] === '#' || text[at] === '[') continue; // '[scope]' is for other readers of such files
      const words = tokenize(text, at, end, context);
      if (words.length === 0 || words[0] === '') continue;
      this.#take(words, { file, line: context.line }, blocks, this.#sections.length > before);
      const section = this.#sections.length > before ? this.#sections.at(-1) : undefined;
      if (section !== undefined) context.section = section.name || section.kind;
    }
    const last = { file, line: context.line };
    blocks.expectClosed(last);
    if (bytes.length > 0 && bytes.at(-1) !== 10) {
      this.#warnings.push({
        ...last,
        message: 'the last line has no line feed: HAProxy 2.3 and later refuse the file',
      });
    }
  }

  #take(words: string[], place: SourcePlace, blocks: Blocks, inSection: boolean): void {
    const keyword = words[0] ?? '';
    if (keyword.startsWith('.')) {
      const condition = (): Truth =>
        evaluate(words.slice(1).join(' '), {
          environment: this.#environment,
          version: this.options.version.text,
          features: this.options.features,
          place,
        });
      if (!blocks.take(keyword, words, place, condition)) this.#message(words, place, blocks.counts);
      return;
    }
    const counts = blocks.counts;
    if (counts === false) return;
    const read = this.#environment.takeDoubt();
    const doubt = counts === true ? read : counts;
    const line: ConfigurationLine = {
      words,
      ...place,
      base: this.#base,
      variables: this.#environment.variables,
      doubt,
    };
    if (SECTION_KINDS.has(keyword)) {
      this.#sections.push({ kind: keyword, name: words[1] ?? '', ...place, header: line, lines: [] });
      return;
    }
    const section = this.#sections.at(-1);
    if (!inSection || section === undefined)
      throw syntaxError(place, `'${keyword}' stands before the first section of the file`);
    section.lines.push(line);
    if (section.kind === 'global') this.#global(words, place, doubt ?? section.header.doubt);
  }

  /** `.alert`, `.warning`, `.notice` and `.diag`; what HAProxy does not know, it refuses itself. */
  #message(words: readonly string[], place: SourcePlace, counts: boolean | string): void {
    const [directive, text = ''] = words;
    if (directive === '.alert' && counts === true) throw syntaxError(place, `the configuration says '.alert ${text}'`);
    if (counts !== false && (directive === '.alert' || directive === '.warning')) {
      this.#warnings.push({ ...place, message: text });
    }
  }

  /** What of `global` changes how the rest is read. */
  #global(words: readonly string[], place: SourcePlace, doubt: string | undefined): void {
    const [keyword, argument = ''] = words;
    if (this.#environment.apply(words, doubt)) return;
    if (keyword === 'localpeer' && argument !== '' && this.options.localPeer === undefined) {
      this.#localPeer = argument;
      this.#environment.set('HAPROXY_LOCALPEER', argument);
    } else if (keyword === 'default-path') {
      if (argument !== 'current' && argument !== 'config' && argument !== 'parent' && argument !== 'origin') {
        throw syntaxError(place, `'default-path ${argument}': it is one of current, config, parent and origin`);
      }
      this.#defaultPath = argument;
      this.#origin = words[2] ?? '';
      this.#base = this.#basePath(place.file);
    }
  }

  /** cfg_apply_default_path() in cfgparse.c. */
  #basePath(file: string): string {
    switch (this.#defaultPath) {
      case 'current':
        return this.#workingDirectory;
      case 'config':
        return resolve(this.#workingDirectory, dirname(file));
      case 'parent':
        return resolve(this.#workingDirectory, dirname(file), '..');
      case 'origin':
        return resolve(this.#workingDirectory, this.#origin);
    }
  }
}
