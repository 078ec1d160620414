/**
 * The configuration as HAProxy's own reader (readcfgfile() in cfgparse.c, 2.2 to 3.2) takes it: files in order, lines to
 * words, conditions and environment at their place, sections. Keywords are not judged here: `haproxy -c` does that.
 */
import { hostname } from 'node:os';
import { dirname, resolve } from 'node:path';
import { BerthError } from '../errors.js';
import type { SourcePlace } from '../model/bind.js';
import { Blocks } from './config-blocks.js';
import { TakenLine } from './config-line.js';
import type { Configuration, ConfigurationLine, ReadOptions, Section } from './config-model.js';
import { configError, syntaxError } from './config-errors.js';
import { DEFAULT_MAX_BYTES, expandSources, SourceReader } from './config-files.js';
import { evaluate, type Truth } from './conditions.js';
import { Environment } from './environment.js';
import { isSpace, plainKeyword, tokenize } from './tokenizer.js';

export type * from './config-model.js';

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
  const first = new Reader(options);
  const configuration = first.read(sources);
  return first.readsAgain ? new Reader(options, first).read(sources) : configuration;
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
  #globalsCount = false;
  #defaultPath: 'current' | 'config' | 'parent' | 'origin' = 'current';
  #origin = '';
  #base = '';

  constructor(
    private readonly options: ReadOptions,
    /** The first of two readings. */
    private readonly before?: Reader,
  ) {
    this.#workingDirectory = resolve(options.workingDirectory ?? '.');
    this.#localPeer = before === undefined ? (options.localPeer ?? hostname()) : before.#localPeer;
    // A worker gets the environment that its master was started with.
    this.#environment =
      before === undefined || before.#isMaster() ? new Environment(options.environment) : before.#environment;
    this.#environment.set('HAPROXY_LOCALPEER', this.#localPeer);
    const { major, minor, text } = options.version;
    if (options.environment.HAPROXY_STARTUP_VERSION === undefined)
      this.#environment.set('HAPROXY_STARTUP_VERSION', text);
    if (major > 2 || minor >= 8) this.#environment.set('HAPROXY_BRANCH', `${major}.${minor}`);
  }

  /**
   * HAProxy 3.1 and later read everything twice, the first time for `global` alone (MODE_DISCOVERY in haproxy.c): a `setenv`
   * at the very end holds from the beginning, in a standalone process.
   */
  get readsAgain(): boolean {
    return this.#discovers && this.#globalsCount;
  }

  get #discovers(): boolean {
    const { major, minor } = this.options.version;
    return this.before === undefined && (major > 3 || (major === 3 && minor >= 1));
  }

  #isMaster(): boolean {
    const inGlobal = this.#sections.filter(({ kind }) => kind === 'global').flatMap(({ lines }) => lines);
    return inGlobal.some(({ keyword }) => keyword === 'master-worker');
  }

  read(sources: readonly string[]): Configuration {
    const { root = '', joined = new Map<string, Buffer>() } = this.options;
    const files = expandSources(sources, this.#workingDirectory, { root, joined });
    const maxBytes = this.options.maxBytes ?? DEFAULT_MAX_BYTES;
    const reader = new SourceReader(this.#workingDirectory, { root, joined }, maxBytes);
    const contents: Buffer[] = [];
    for (const file of files) {
      const bytes = reader.read(file);
      contents.push(bytes);
      this.#readFile(file, bytes);
    }
    if (this.#sections.length === 0) {
      throw new BerthError('BERTH_CONFIG_EMPTY', `${sources.join(', ')}: the configuration holds no section`, {
        step: 'read',
        details: { files },
      });
    }
    return {
      sections: this.#sections,
      files,
      contents,
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
      const stop = text[end - 1] === '\r' ? end - 1 : end; // a carriage return ends a line as well
      const plain = plainKeyword(text, at, stop);
      const words = plain > 0 ? text : tokenize(text, at, stop, context);
      const keyword = plain > 0 ? text.slice(at, plain) : (words[0] ?? '');
      if (keyword === '') continue;
      const line = new TakenLine(keyword, file, context.line, words, at, stop);
      this.#take(line, blocks, this.#sections.length > before);
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

  #take(line: TakenLine, blocks: Blocks, inSection: boolean): void {
    const { keyword } = line;
    if (keyword.startsWith('.')) {
      this.#directive(line.words, line, blocks);
      return;
    }
    const counts = blocks.counts;
    if (counts === false) return;
    const read = this.#environment.takeDoubt();
    line.doubt = counts === true ? read : counts;
    line.base = this.#base;
    line.variables = this.#environment.variables;
    if (SECTION_KINDS.has(keyword)) {
      const name = line.words[1] ?? '';
      this.#sections.push({ kind: keyword, name, file: line.file, line: line.line, header: line, lines: [] });
      return;
    }
    const section = this.#sections.at(-1);
    if (!inSection || section === undefined) {
      if (line.doubt !== undefined) return;
      throw syntaxError(line, `'${keyword}' stands before the first section of the file`);
    }
    section.lines.push(line);
    if (section.kind === 'global') this.#global(line.words, line, line.doubt ?? section.header.doubt);
  }

  #directive(words: readonly string[], { file, line }: SourcePlace, blocks: Blocks): void {
    const place = { file, line };
    const condition = (): Truth =>
      evaluate(words.slice(1).join(' '), {
        environment: this.#environment,
        version: this.options.version.text,
        features: this.options.features,
        place,
      });
    if (!blocks.take(words[0] ?? '', words, place, condition)) this.#message(words, place, blocks.counts);
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
    if (this.#environment.apply(words, doubt)) {
      this.#globalsCount = true;
      return;
    }
    if (keyword === 'localpeer' && argument !== '' && this.options.localPeer === undefined) {
      // HAProxy warns that it is too late behind a section of peers, and goes on with the name that it has.
      if (!this.#discovers && this.#sections.some(({ kind }) => kind === 'peers')) return;
      this.#globalsCount = true;
      this.#localPeer = argument;
      this.#environment.set('HAPROXY_LOCALPEER', argument);
    } else if (keyword === 'default-path') {
      if (argument !== 'current' && argument !== 'config' && argument !== 'parent' && argument !== 'origin') {
        if (doubt !== undefined) return;
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
