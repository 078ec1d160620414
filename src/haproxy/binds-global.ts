/** What of `global` matters to Berth, whatever the order of the sections is. */
import { resolve } from 'node:path';
import type { GlobalFacts, SourcePlace, StatsSocket } from '../model/bind.js';
import { parseAddress } from './address.js';
import { readBindOptions } from './binds-options.js';
import type { Configuration, ConfigurationLine } from './config.js';
import { expandVariables } from './environment.js';

export interface Global {
  readonly facts: GlobalFacts;
  /** `tune.listener.default-shards`; HAProxy 2.8 and later go by group, which is 1 where there is one group. */
  readonly defaultShards: string;
  readonly threadGroups: number;
  /** `no-quic`: QUIC binds are accepted and not bound. */
  readonly noQuic: boolean;
  readonly warnings: readonly (SourcePlace & { readonly message: string })[];
}

const TEXTS: ReadonlySet<string> = new Set(['user', 'group', 'chroot', 'pidfile', 'hard-stop-after']);
const NUMBERS: ReadonlySet<string> = new Set(['nbthread', 'maxconn', 'uid', 'gid', 'thread-groups']);
const SWITCHES: ReadonlySet<string> = new Set(['master-worker', 'noreuseport', 'no-quic']);
const SHARDS = 'tune.listener.default-shards';

export function readGlobal(configuration: Configuration): Global {
  const values = new Map<string, string>();
  const statsSockets: StatsSocket[] = [];
  const warnings: (SourcePlace & { readonly message: string })[] = [];
  for (const section of configuration.sections) {
    if (section.kind !== 'global') continue;
    for (const line of section.lines) {
      const [keyword = '', argument = ''] = line.words;
      if (keyword === 'stats' && argument === 'socket') {
        if (line.doubt === undefined) statsSockets.push(statsSocket(line, configuration));
        continue;
      }
      if (!TEXTS.has(keyword) && !NUMBERS.has(keyword) && !SWITCHES.has(keyword) && keyword !== SHARDS) continue;
      const doubt = line.doubt ?? section.header.doubt;
      if (doubt !== undefined) {
        warnings.push({ file: line.file, line: line.line, message: `'${keyword}' taken as set, though ${doubt}` });
      }
      values.set(keyword, argument);
    }
  }
  const number = (keyword: string): number | undefined => {
    const value = parseInt(values.get(keyword) ?? '', 10); // as atol(3): a number ends where its digits end
    return Number.isNaN(value) ? undefined : value;
  };
  const facts: Record<keyof GlobalFacts, unknown> = {
    nbthread: number('nbthread'),
    maxconn: number('maxconn'),
    user: values.get('user'),
    group: values.get('group'),
    uid: number('uid'),
    gid: number('gid'),
    chroot: values.get('chroot'),
    pidfile: values.get('pidfile'),
    masterWorker: values.has('master-worker'),
    noReusePort: values.has('noreuseport'),
    hardStopAfter: values.get('hard-stop-after'),
    statsSockets,
  };
  const { major, minor } = configuration.version;
  return {
    facts: Object.fromEntries(
      Object.entries(facts).filter(([, value]) => value !== undefined),
    ) as unknown as GlobalFacts,
    defaultShards: values.get(SHARDS) ?? (major > 2 || minor >= 8 ? 'by-group' : 'by-process'),
    threadGroups: number('thread-groups') ?? 1,
    noQuic: values.has('no-quic'),
    warnings,
  };
}

function statsSocket(line: ConfigurationLine, configuration: Configuration): StatsSocket {
  const text = expandVariables(line.words[2] ?? '', line.variables);
  const address = parseAddress(text, { wants: 'stream', prefix: '', version: configuration.version });
  const options = readBindOptions(line.words, 3);
  return {
    address:
      address.kind === 'unix' && !address.abstract ? resolve(configuration.workingDirectory, address.path) : text,
    exposeFdListeners: options.exposeFdListeners,
    level: options.level,
    place: { file: line.file, line: line.line },
  };
}
