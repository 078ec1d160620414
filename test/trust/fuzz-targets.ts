/**
 * Everything that reads text which Berth did not write, or wrote long ago: samples of what it expects, how it is read, and
 * what may come of it.
 */
import { z } from 'zod';
import { lastApplied } from '../../src/agent/applied.js';
import { groupId } from '../../src/agent/server/access.js';
import { parseBareEndpoint } from '../../src/haproxy/address.js';
import { parseBuild } from '../../src/haproxy/check.js';
import { reloadAnswer } from '../../src/haproxy/master.js';
import { bindFailures, parseMessages, summary } from '../../src/haproxy/messages.js';
import { readPidFile } from '../../src/haproxy/pid-file.js';
import { parseShowProc } from '../../src/haproxy/show-proc.js';
import { openLedger } from '../../src/kernel/ledger.js';
import { parseCgroup, parseStat } from '../../src/kernel/process.js';
import { parseActiveOpens, parsePortRange } from '../../src/kernel/reserved-ports.js';
import { watchdogIntervalMs } from '../../src/kernel/store.js';
import { parseCommandLine } from '../../src/lbagent/command-line.js';
import { eventsOf } from '../../src/client/event-stream.js';
import { parseEndpoint } from '../../src/model/endpoint.js';
import { parsePorts, type PortSet } from '../../src/model/ports.js';
import { openGeneration, readRecords } from '../../src/reload/generations.js';
import { stopTimes } from '../../src/reload/stop-times.js';
import { readLbagentConf } from '../../src/settings/lbagent-conf.js';
import { loadInstances, loadSettings } from '../../src/settings.js';
import {
  SHOW_PROC_22,
  SHOW_PROC_26,
  ALERTS,
  BUILD,
  SETTINGS,
  INSTANCES,
  LBAGENT,
  META,
  MANIFEST,
  RECORDS,
  STAT,
} from './fuzz-samples.js';
import { directory, file, generation, generationShape, readGeneration } from './fuzz-files.js';

export interface Target {
  readonly name: string;
  /** One character a byte. */
  readonly samples: readonly string[];
  /** Its own words, put in somewhere else. */
  readonly tokens?: readonly string[];
  readonly read: (bytes: Buffer) => unknown;
  /** What it may give, where it gives anything. */
  readonly shape: z.ZodType;
  /** Characters of the longest answer, where few bytes can stand for many values. */
  readonly most?: number;
}

/** As a program reads a pipe or /proc. */
const text = (bytes: Buffer): string => bytes.toString('utf8');

const count = z.int().nonnegative();
const row = z.object({ pid: count, reloads: count, version: z.string() });
const place = { file: z.string().optional(), line: count.optional() };
const ports = z.object({
  ranges: z.array(z.tuple([z.int().min(0).max(65535), z.int().min(0).max(65535)])),
}) satisfies z.ZodType<PortSet>;
const endpoint = z.union([
  z.object({ kind: z.literal('unix'), path: z.string(), abstract: z.boolean() }),
  z.object({ kind: z.literal('inet'), port: z.int().min(0).max(99_999), address: z.string() }),
]);

async function collect(bytes: Buffer): Promise<unknown[]> {
  const events: unknown[] = [];
  const cut = bytes.length >> 1;
  async function* chunks() {
    yield* await Promise.resolve([bytes.subarray(0, cut), bytes.subarray(cut)]);
  }
  for await (const event of eventsOf(chunks())) events.push(event);
  return events;
}

export const TARGETS: readonly Target[] = [
  {
    name: 'show proc',
    samples: [SHOW_PROC_22, SHOW_PROC_26],
    read: (bytes) => parseShowProc(text(bytes)),
    shape: z.object({ master: row, workers: z.array(row), oldWorkers: z.array(row) }),
  },
  {
    name: "the master's answer to reload",
    samples: ['Success=1\n--\n[NOTICE]   (84) : New worker (85) forked\n', `Success=0\n--\n${ALERTS}`, 'Success=1\n'],
    tokens: ['Success=2', '\n--\n', 'Success=1'],
    read: (bytes) => reloadAnswer(text(bytes)),
    shape: z.object({ success: z.boolean(), log: z.string() }),
  },
  {
    name: 'messages of haproxy',
    samples: [ALERTS],
    tokens: [
      '[ALERT]    (1) : ',
      'cannot bind socket (',
      ') for [',
      '[a:1]',
      '[::1:80]',
      'found in configuration file : ',
    ],
    read: (bytes) => {
      const messages = parseMessages(text(bytes));
      return { messages, failures: bindFailures(messages), summary: summary(messages) };
    },
    shape: z.object({
      messages: z.array(z.object({ level: z.enum(['ALERT', 'WARNING', 'NOTICE']), text: z.string(), ...place })),
      failures: z.array(z.object({ address: z.string(), reason: z.string().optional(), ...place })),
      summary: z.string(),
    }),
  },
  {
    name: 'haproxy -vv',
    samples: [BUILD, BUILD.replace('HAProxy', 'HA-Proxy')],
    read: (bytes) => parseBuild('/usr/sbin/haproxy', text(bytes)),
    shape: z.object({ major: count, minor: count, version: z.string(), features: z.array(z.string()) }),
  },
  {
    name: '/proc/PID/stat',
    samples: [STAT],
    tokens: [') S 1', '(', ')'],
    read: (bytes) => parseStat(text(bytes)),
    shape: z.object({ comm: z.string(), ppid: count, startTicks: z.string().regex(/^\d+$/) }),
  },
  {
    name: '/proc/PID/cgroup',
    samples: [
      '0::/system.slice/haproxy.service\n',
      '12:pids:/docker/' + 'ab'.repeat(32) + '\n1:name=systemd:/x.scope\n',
    ],
    read: (bytes) => parseCgroup(text(bytes)),
    shape: z.string(),
  },
  {
    name: '/proc/net/snmp',
    samples: ['Ip: A B\nIp: 1 2\nTcp: RtoAlgorithm ActiveOpens PassiveOpens\nTcp: 1 4711 9\nUdp: X\nUdp: 1\n'],
    read: (bytes) => parseActiveOpens(text(bytes)),
    shape: z.number(),
  },
  {
    name: 'ip_local_reserved_ports',
    samples: ['', '80,443,8000-8010\n', '58824,59000-59010,65535'],
    tokens: ['0', '65535', '-', ',,', '8000-7000', '+1', '1e3', '0x10'],
    read: (bytes) => parsePorts(text(bytes)),
    shape: ports,
  },
  {
    name: 'ip_local_port_range',
    samples: ['32768\t60999', '1024 65535\n'],
    tokens: ['0', '65536', '-1', '1e3', '0x10', 'NaN', 'Infinity'],
    read: (bytes) => parsePortRange(text(bytes).trim()),
    shape: z.object({ first: z.int().min(0).max(65535), last: z.int().min(0).max(65535) }),
  },
  {
    name: 'LISTEN_FDS and WATCHDOG_USEC',
    samples: ['30000000', '1'],
    read: (bytes) => watchdogIntervalMs({ WATCHDOG_USEC: text(bytes) }),
    shape: z.number().positive(),
  },
  {
    name: '/etc/group',
    samples: ['root:x:0:\nberth:x:998:alice,bob\n'],
    read: (bytes) => groupId('berth', file('group', bytes)),
    shape: count,
  },
  {
    name: 'pid file',
    samples: ['3243981\n', '1\n22\n333\n', ''],
    read: (bytes) => readPidFile(file('pid', bytes)),
    shape: z.array(z.int().positive()),
  },
  {
    name: 'settings file',
    samples: [SETTINGS, INSTANCES],
    tokens: [
      '&a ',
      '*a',
      '<<: *a',
      '!!js/function ',
      '? ',
      '- ',
      '{',
      '[',
      '---\n',
      '%YAML 1.1\n',
      '__proto__: 1\n',
      '|\n',
    ],
    read: (bytes) => [...loadInstances({ file: file('berth.yaml', bytes) }).entries()],
    shape: z.array(z.tuple([z.string(), z.object({ stateDir: z.string() })])),
  },
  {
    name: 'settings of the environment',
    samples: [
      'BERTH_CONFLICTS_WAIT_DEADLINE_MS=2000\nBERTH_SOURCES=[/a, /b]',
      'BERTH_AGENT_LOG_LEVEL=debug\nBERTH_NETNS=/x',
    ],
    tokens: ['BERTH_', '=', '{', '[', '__proto__', 'BERTH_AGENT', 'toString=1\n'],
    read: (bytes) => {
      const pairs = text(bytes)
        .split('\n')
        .map((line) => line.split(/=(.*)/s).slice(0, 2));
      return loadSettings({
        environment: { BERTH_SETTINGS: '', ...(Object.fromEntries(pairs) as Record<string, string>) },
      });
    },
    shape: z.object({ stateDir: z.string() }),
  },
  {
    name: 'lbagent.conf',
    samples: [LBAGENT, 'BaseDataDir: /opt/x\nDataPreserveN: 3\nHaproxyBin: /usr/sbin/haproxy\n'],
    tokens: ['=', '"', "'", '#', ';', '\r', '\u00a0', ' '.repeat(4000), 'a = ', '_'.repeat(4000)],
    read: (bytes) => ({ ...readLbagentConf(file('lbagent.conf', bytes)), lines: undefined }),
    shape: z.object({ BaseDataDir: z.string().startsWith('/'), DataPreserveN: count, ApiSyncIntervalSeconds: count }),
  },
  {
    name: 'ledger of reservations',
    samples: [JSON.stringify({ version: 1, reserved: { 'b:4026531840': '80,443', 'b:2': '8000-8010' } }, null, 2)],
    tokens: ['"__proto__": "1",', '"1-2"', '{}', '[]', 'null'],
    read: async (bytes) => {
      const ledger = await openLedger(file('ledger.json', bytes));
      return { ours: ledger.ours('b:4026531840'), proto: ledger.ours('__proto__'), warning: ledger.warning };
    },
    shape: z.object({ ours: ports, proto: ports, warning: z.string().max(2000).optional() }),
  },
  {
    name: 'meta.json',
    samples: [META],
    read: (bytes) => readGeneration(generation('meta.json', bytes)),
    shape: generationShape,
  },
  {
    name: 'manifest.json',
    samples: [MANIFEST],
    read: (bytes) => readGeneration(generation('manifest.json', bytes)),
    shape: generationShape,
  },
  {
    name: 'listeners.json',
    samples: [RECORDS],
    read: async (bytes) => readRecords(await openGeneration(generation('listeners.json', bytes), 7)),
    shape: z.array(z.object({ endpoint: z.string(), line: count })),
  },
  {
    name: 'applied.json',
    samples: ['{"sources":["/a"],"fingerprint":"ab","generation":7}'],
    read: (bytes) => (file('applied.json', bytes), lastApplied({ path: directory })),
    shape: z.object({ sources: z.array(z.string()), fingerprint: z.string(), generation: z.number() }),
  },
  {
    name: 'stopped.json',
    samples: ['[[7,"2026-08-07T14:02:31.000Z"],[8,"2026-08-07T14:02:31.000Z"]]'],
    read: (bytes) => (file('stopped.json', bytes), [...stopTimes({ path: directory })]),
    shape: z.array(z.tuple([z.number(), z.string()])),
  },
  {
    name: 'command line of the drop-in',
    samples: ['-D\0-p\0/run/h.pid\0-C\0/c\0-f\0/c\0-sf\x001234\x005678\0-x\0/run/s', '-D\0-p\0p\0--\0a.cfg\0b.cfg'],
    tokens: ['\0', '\0-sf\0', '\0-f', '\0--\0', '-', '\0-W\0', '\0-dM\0', '99999999999'],
    read: (bytes) => parseCommandLine(text(bytes).split('\0'), '/work'),
    shape: z.object({
      pidFile: z.string().startsWith('/'),
      workingDirectory: z.string().startsWith('/'),
      sources: z.array(z.string().startsWith('/')).min(1),
      finish: z.array(count),
      extraArguments: z.array(z.string().startsWith('-').or(z.string())),
    }),
  },
  {
    name: 'events of the agent',
    samples: [
      ':\n\nevent: progress\ndata: {"step":"plan"}\n\nevent: result\ndata: {"outcome":"served","n":[1,2]}\n\n',
      'data: 1\n\n:\n\n',
    ],
    tokens: ['\n\n', 'data: ', 'event: ', '\r\n', 'data: {"__proto__":{"polluted":1}}\n\n', '\ndata: '],
    read: collect,
    shape: z.array(z.object({ event: z.string(), data: z.unknown() })),
  },
  {
    name: 'endpoints by name',
    samples: ['169.254.0.101:58824/tcp', '[::1]:80/tcp v6only', '10.0.0.1%eth0:53/udp in namespace x', 'unix@/run/x'],
    read: (bytes) => parseEndpoint(text(bytes)),
    shape: endpoint,
  },
  {
    name: 'bare endpoints',
    samples: ['tcp:169.254.0.101:58824', 'udp:[::1]:53', 'tcp:10.0.0.1:8000-8010', 'tcp:*:80'],
    read: (bytes) => parseBareEndpoint(text(bytes)),
    shape: z.array(endpoint).min(1).max(65_535),
    most: 65_535 * 200,
  },
];
