/**
 * lbagent.conf of Cloudpods' lbagent: what Berth needs to know of the host that it is embedded in. lbagent takes the file
 * for YAML where it is YAML, and else for `name = value` lines; the first value of a name counts, unknown names are for
 * others to read (lbagent pkg/lbagent/options.go, structarg).
 */
import { realpathSync } from 'node:fs';
import { basename, join } from 'node:path';
import { BerthError } from '../errors.js';
import { readSmallFile } from './file.js';
import { isTree, type KeyPath, type Source, type Tree } from './read.js';
import { parseYaml } from './yaml.js';

/** lbagent's options with its defaults; durations in the units of their names, heartbeats in seconds. */
const DEFAULTS = {
  BaseDataDir: '/opt/cloud/workspace/lbagent',
  HaproxyBin: 'haproxy',
  ApiSyncIntervalSeconds: 10,
  ApiRunDelayMilliseconds: 10,
  ApiListBatchSize: 1024,
  ApiLbagentHbInterval: 10,
  ApiLbagentHbTimeoutRelaxation: 120,
  DataPreserveN: 8,
};

type Option = keyof typeof DEFAULTS;

/** Every option that Berth reads, with lbagent's default where the file does not set it. */
export interface LbagentConf extends Readonly<typeof DEFAULTS> {
  readonly file: string;
  /** Line of each option that the file sets, from 1. */
  readonly lines: ReadonlyMap<string, number>;
}

interface Entry {
  readonly name: string;
  readonly value: unknown;
  readonly line: number;
}

/** `base_data_dir`, `base-data-dir`, `BaseDataDir` → the same. */
const bare = (name: string) => name.replace(/[_-]/g, '').toLowerCase();

const OPTIONS = new Map(Object.keys(DEFAULTS).map((name) => [bare(name), name as Option]));

/** @throws BERTH_SETTINGS naming file, line and option, where a value of ours is wrong or the file cannot be read */
export function readLbagentConf(file: string): LbagentConf {
  const text = readSmallFile(file);
  // No line of YAML begins with `word =`.
  const entries = /^[ \t]*[\w-]+[ \t]*=/m.test(text) ? linesOf(text) : keysOf(text, file);
  const values: Record<Option, string | number> = { ...DEFAULTS };
  const lines = new Map<string, number>();
  for (const { name, value, line } of entries) {
    const option = OPTIONS.get(bare(name));
    if (option === undefined || lines.has(option)) continue;
    values[option] = valueOf(option, value, (problem) => {
      const where = `${file} line ${line}`;
      const message = `${where}: ${name} = ${JSON.stringify(value).slice(0, 60)}: ${problem}`;
      return new BerthError('BERTH_SETTINGS', message, { step: 'settings', details: { key: option, where } });
    });
    lines.set(option, line);
  }
  return { ...(values as typeof DEFAULTS), file, lines };
}

/** The settings that lbagent's options stand for, nested as in the settings file. */
export function settingsOfLbagent(conf: LbagentConf): Tree {
  const configuration = join(conf.BaseDataDir, 'configs', 'haproxy.conf.d');
  return {
    sources: [configuration],
    haproxy: {
      ...(isBerth(conf.HaproxyBin) ? {} : { binary: conf.HaproxyBin }),
      pidFile: join(conf.BaseDataDir, 'run', 'haproxy.pid'),
      workingDirectory: configuration,
    },
    reconcile: {
      intervalMs: conf.ApiSyncIntervalSeconds * 1000,
      delayMs: conf.ApiRunDelayMilliseconds,
      heartbeatMs: conf.ApiLbagentHbInterval * 1000,
      toleranceMs: conf.ApiLbagentHbTimeoutRelaxation * 1000,
    },
    dataPreserveN: conf.DataPreserveN,
    batchSize: conf.ApiListBatchSize,
  };
}

/** The option that a setting comes from. */
const OPTION_OF: Readonly<Record<string, Option>> = {
  sources: 'BaseDataDir',
  'haproxy.binary': 'HaproxyBin',
  'haproxy.pidFile': 'BaseDataDir',
  'haproxy.workingDirectory': 'BaseDataDir',
  'reconcile.intervalMs': 'ApiSyncIntervalSeconds',
  'reconcile.delayMs': 'ApiRunDelayMilliseconds',
  'reconcile.heartbeatMs': 'ApiLbagentHbInterval',
  'reconcile.toleranceMs': 'ApiLbagentHbTimeoutRelaxation',
  dataPreserveN: 'DataPreserveN',
  batchSize: 'ApiListBatchSize',
};

export function lbagentSource({ file, lines }: LbagentConf): Source {
  const where = (path: KeyPath) => {
    const option = OPTION_OF[path.join('.')];
    if (option === undefined) return file;
    const line = lines.get(option);
    return line === undefined ? `${file}, lbagent's default of ${option}` : `${file} line ${line}, ${option}`;
  };
  return { origin: 'lbagent.conf', where };
}

/** `name = value`, `name = 'value'`; sections, comments and anything else are not ours to judge. */
function linesOf(text: string): Entry[] {
  return text.split('\n').flatMap((raw, index) => {
    const [, name, rest = ''] = /^\s*([\w-]+)\s*=(.*)$/s.exec(raw) ?? [];
    return name === undefined ? [] : [{ name, value: valueIn(rest.trim()), line: index + 1 }];
  });
}

function valueIn(rest: string): string {
  const [, double, single] = /^(?:"([^"]*)"|'([^']*)')\s*(?:[#;]|$)/.exec(rest) ?? [];
  return double ?? single ?? rest.split('#', 1)[0]?.trim() ?? '';
}

function keysOf(text: string, file: string): Entry[] {
  const { value, lineOf } = parseYaml(text, file);
  if (!isTree(value)) return [];
  return Object.entries(value).map(([name, inner]) => ({ name, value: inner, line: lineOf([name]) }));
}

function valueOf(option: Option, value: unknown, refused: (problem: string) => BerthError): string | number {
  const text = typeof value === 'string' || typeof value === 'number' ? String(value) : '';
  if (option === 'BaseDataDir' && !/^\/[^\0]*$/.test(text)) throw refused('must be an absolute path');
  if (option === 'HaproxyBin' && !/^[^\0]+$/.test(text)) throw refused('must be a path, or a name in PATH');
  if (typeof DEFAULTS[option] === 'string') return text;
  if (!/^\d{1,9}$/.test(text)) throw refused('must be a whole number, 0 or larger');
  return Number(text);
}

/** The drop-in itself, also by another name: lbagent runs it as its haproxy, and Berth must not run itself. */
function isBerth(binary: string): boolean {
  const named = (path: string) => basename(path) === 'berth-haproxy';
  if (named(binary)) return true;
  try {
    return binary.includes('/') && named(realpathSync(binary));
  } catch {
    return false;
  }
}
