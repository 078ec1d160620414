/** From sections to sockets: every address that HAProxy will bind, with the line that asks for it. */
import { resolve } from 'node:path';
import type { Bind, Listeners, SourcePlace, UnknownBind } from '../model/bind.js';
import { v4Mapped, type Endpoint } from '../model/endpoint.js';
import { parseAddress, type InetAddress } from './address.js';
import { readGlobal, type Global } from './binds-global.js';
import { countShards, readBindOptions, type BindOptions } from './binds-options.js';
import type { Configuration, ConfigurationLine, Section } from './config.js';
import { configError, syntaxError } from './config-errors.js';
import { expandVariables } from './environment.js';

/**
 * All binds, in the order of the configuration. Throws BERTH_CONFIG_SYNTAX with file and line for an address or port that
 * HAProxy refuses. `v6only` is what HAProxy asks the kernel for; the kernel itself shows 1 on any specific IPv6 address,
 * and `net.ipv6.bindv6only=1` turns `:::80` into v6only where the line has no `v4v6`.
 */
export function readListeners(configuration: Configuration): Listeners {
  const global = readGlobal(configuration);
  const reader = new BindReader(configuration, global);
  for (const section of configuration.sections) reader.take(section);
  return {
    binds: reader.binds,
    unknown: reader.unknown,
    global: global.facts,
    files: configuration.files,
    warnings: [...configuration.warnings, ...global.warnings, ...reader.warnings],
  };
}

/** fs.nr_open, where nobody has raised it: a line of ranges must not cost all memory before anybody counts. */
const MOST_BINDS = 1_048_576;

/** What stands on a `bind` or `dgram-bind` line of a proxy, with its words behind the address. */
const LINES_OF_BINDS: ReadonlySet<Bind['origin']> = new Set(['bind', 'dgram-bind', 'log-forward']);

/** Whether a proxy is disabled; a text says why only the binary knows. */
type Disabled = boolean | string;

class BindReader {
  readonly binds: Bind[] = [];
  readonly unknown: UnknownBind[] = [];
  readonly warnings: (SourcePlace & { readonly message: string })[] = [];
  #prefix = '';
  #defaults: Disabled = false;
  readonly #namedDefaults = new Map<string, Disabled>();

  constructor(
    private readonly configuration: Configuration,
    private readonly global: Global,
  ) {}

  take(section: Section): void {
    switch (section.kind) {
      case 'global':
        this.#takeGlobal(section);
        break;
      case 'defaults':
        this.#defaults = isDisabled(section, this.#inherited(section, false));
        if (section.name !== '' && section.name !== 'from') this.#namedDefaults.set(section.name, this.#defaults);
        break;
      case 'frontend':
      case 'listen':
      case 'backend': // HAProxy warns of a `bind` there, and binds
        this.#takeProxy(section, isDisabled(section, this.#inherited(section, this.#defaults)));
        break;
      case 'log-forward':
        this.#takeProxy(section, false);
        break;
      case 'peers':
        this.#takePeers(section);
        break;
    }
  }

  #inherited(section: Section, otherwise: Disabled): Disabled {
    const from = section.header.words.indexOf('from', 1);
    return from < 0 ? otherwise : (this.#namedDefaults.get(section.header.words[from + 1] ?? '') ?? otherwise);
  }

  #takeGlobal(section: Section): void {
    for (const line of section.lines) {
      const { words } = line;
      const [keyword, what, address = ''] = words;
      if (keyword === 'stats' && what === 'socket') {
        this.#bind(section, line, address, readBindOptions(words, 3), 'stats-socket');
      } else if (keyword === 'unix-bind' && this.#prefix === '') {
        const at = words.indexOf('prefix');
        if (at > 0) this.#prefix = words[at + 1] ?? '';
      }
    }
  }

  #takeProxy(section: Section, disabled: Disabled): void {
    if (disabled === true) return;
    const doubt = disabled === false ? undefined : disabled;
    for (const line of section.lines) {
      const { keyword } = line;
      if (keyword !== 'bind' && (keyword !== 'dgram-bind' || section.kind !== 'log-forward')) continue;
      const origin = keyword === 'dgram-bind' ? keyword : section.kind === 'log-forward' ? 'log-forward' : keyword;
      const { words } = line;
      this.#bind(section, line, words[1] ?? '', readBindOptions(words, 2), origin, doubt);
    }
  }

  /** A section of peers listens only where it names the local peer: on its `bind`, else on the local `peer`'s address. */
  #takePeers(section: Section): void {
    const disabled = isDisabled(section, false);
    if (disabled === true) return;
    const isLocal = ({ keyword, words }: ConfigurationLine): boolean =>
      (keyword === 'peer' || keyword === 'server') && words[1] === this.configuration.localPeer;
    const local = section.lines.find(isLocal);
    if (local === undefined) return;
    const bind = section.lines.find(({ keyword }) => keyword === 'bind');
    const line = bind ?? local;
    if (line.keyword === 'server') return;
    const address = line.words[bind === undefined ? 2 : 1] ?? '';
    const own = bind?.words.slice(2) ?? [];
    const options = readBindOptions([...this.#defaultBind(section, line), ...own], 0);
    this.#bind(section, line, address, options, 'peer', local.doubt ?? (disabled === false ? undefined : disabled));
  }

  /** HAProxy 2.2 gives a `default-bind` only to the listener that stands before it. */
  #defaultBind(section: Section, bind: ConfigurationLine): readonly string[] {
    const { major, minor } = this.configuration.version;
    const after = major === 2 && minor < 3 ? section.lines.indexOf(bind) : 0;
    const lines = section.lines.slice(after).filter(({ keyword }) => keyword === 'default-bind');
    return lines.flatMap(({ words }) => words.slice(1));
  }

  #bind(
    section: Section,
    line: ConfigurationLine,
    list: string,
    options: BindOptions,
    origin: Bind['origin'],
    doubt?: string,
  ): void {
    const place = { file: line.file, line: line.line };
    const name = section.name === '' ? section.kind : `${section.kind} ${section.name}`;
    const why = line.doubt ?? section.header.doubt ?? doubt;
    if (why !== undefined) {
      this.unknown.push({ text: list, section: name, place, reason: why });
      return;
    }
    if (list === '') {
      const message = `'${line.keyword}' names no address`;
      // Only a proxy's line is looked at for one; str2listener() walks over a list without any (HAProxy 2.2 to 3.2)
      if (origin === 'bind' || origin === 'stats-socket' || line.keyword === 'peer') throw syntaxError(place, message);
      this.warnings.push({ ...place, message: `${message}, and HAProxy listens on nothing for it` });
      return;
    }
    const { version } = this.configuration;
    const prefix = origin === 'stats-socket' ? '' : this.#prefix;
    const wants = origin === 'dgram-bind' ? 'dgram' : 'stream';
    const [first, unknown] = [this.binds.length, this.unknown.length];
    for (const text of splitList(list)) {
      const address = parseAddress(expandVariables(text, line.variables), { wants, prefix, version });
      if (address.kind === 'error') {
        const error = syntaxError(place, address.message);
        if (origin !== 'log-forward' || version.major >= 3) throw error;
        // 2.x says the same as an ALERT, and goes on without it
        this.warnings.push({ ...place, message: address.message });
        return;
      }
      if (address.kind === 'unknown') {
        this.unknown.push({ text, section: name, place, reason: address.reason });
        continue;
      }
      const reusePort = !this.global.facts.noReusePort;
      if (address.kind === 'unix') {
        const { abstract } = address;
        const path = abstract ? address.path : resolve(this.configuration.workingDirectory, address.path);
        const endpoint: Endpoint = { kind: 'unix', path, abstract };
        // 3.x makes one whatever it is told; before, each shard binds its own and renames it over the last
        const sockets = version.major < 3 ? this.#shards(options, place) : 1;
        this.binds.push({ endpoint, origin, section: name, place, text, sockets, reusePort });
        continue;
      }
      if (address.quic && this.global.noQuic) continue;
      const sockets = this.#shards(options, place);
      const ports = address.last - address.first + 1;
      if (this.binds.length + ports > MOST_BINDS) {
        const message = `the configuration asks for more than ${MOST_BINDS} listeners, more than a process can have open`;
        throw configError('BERTH_CONFIG_TOO_LARGE', place, message, 'Narrow the ranges of ports');
      }
      for (let port = address.first; port <= address.last; port++) {
        const endpoint = inetEndpoint(address, port, options);
        const asked = address.quic ? 'quic' : origin;
        const bind: Bind = { endpoint, origin: asked, section: name, place, text, sockets, reusePort };
        this.binds.push(options.v4v6 ? { ...bind, v4v6: true } : bind);
      }
    }
    if (LINES_OF_BINDS.has(origin) && line.plain && this.unknown.length === unknown) this.#markV6onlyFits(first);
  }

  /** From HAProxy 2.3 on the word makes a difference, and only a specific IPv6 address means the same with it. */
  #markV6onlyFits(from: number): void {
    const { major, minor } = this.configuration.version;
    if (major === 2 && minor < 3) return;
    const ofLine = this.binds.slice(from);
    if (!ofLine.every(({ endpoint }) => lacksV6only(endpoint))) return;
    for (const [i, bind] of ofLine.entries()) this.binds[from + i] = { ...bind, v6onlyFits: true };
  }

  #shards(options: BindOptions, place: SourcePlace): number {
    const { facts, threadGroups, defaultShards } = this.global;
    const { sockets, unknown } = countShards(options, {
      nbthread: facts.nbthread,
      threadGroups,
      defaultShards,
      sharding: !facts.noReusePort || this.configuration.version.major < 3,
    });
    if (unknown !== undefined) this.warnings.push({ ...place, message: unknown });
    return sockets;
  }
}

function lacksV6only(endpoint: Endpoint): boolean {
  if (endpoint.kind === 'unix' || endpoint.family === 4 || endpoint.v6only) return false;
  return endpoint.address !== '::' && v4Mapped(endpoint.address) === undefined;
}

/** At each comma, before variables are expanded; nothing stands behind a last comma. */
function splitList(list: string): string[] {
  if (!list.includes(',')) return [list];
  const parts = list.split(',');
  if (parts.at(-1) === '') parts.pop();
  return parts;
}

function inetEndpoint(address: InetAddress, port: number, options: BindOptions): Endpoint {
  const { transport, family } = address;
  const { transparent, device, namespace } = options;
  const v6only = family === 6 && options.v6only;
  const endpoint = { kind: 'inet', transport, family, address: address.address, port, v6only, transparent } as const;
  if (device === undefined && namespace === undefined) return endpoint;
  return {
    ...endpoint,
    ...(device === undefined ? {} : { device }),
    ...(namespace === undefined ? {} : { namespace }),
  };
}

/** `disabled` and `enabled`, the last one counts. */
function isDisabled(section: Section, inherited: Disabled): Disabled {
  let disabled = inherited;
  for (const line of section.lines) {
    const { keyword } = line;
    if (keyword === 'disabled' || keyword === 'enabled') disabled = line.doubt ?? keyword === 'disabled';
  }
  return disabled;
}
