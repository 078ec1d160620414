/** One report of each kind, and a Berth that answers with them: what the tests of the command work with. */
import type { Berth, BerthOptions } from '../../src/berth.js';
import type { Host } from '../../src/cli/host.js';
import type { MeasuredHost } from '../../src/measure.js';
import type { Bind } from '../../src/model/bind.js';
import type { InetEndpoint } from '../../src/model/endpoint.js';
import type { Holder, Verdict } from '../../src/model/verdict.js';
import type {
  DiffReport,
  DoctorReport,
  EphemeralFacts,
  GenerationReport,
  HAProxyReport,
  HistoryReport,
  ListenerReport,
  PlanReport,
  PreflightReport,
  ReloadReport,
  ReservationsReport,
  StatusReport,
} from '../../src/reload/reports.js';

export const ephemeral: EphemeralFacts = { first: 32768, last: 60999, reserved: '40000', reservedShare: 0.00004 };

export function endpoint(port: number, address = '169.254.0.101'): InetEndpoint {
  return { kind: 'inet', transport: 'tcp', family: 4, address, port, v6only: false, transparent: false };
}

export function bind(port: number, section = 'listen web', line = 12): Bind {
  const place = { file: 'web.cfg', line };
  const text = `169.254.0.101:${port}`;
  return { endpoint: endpoint(port), origin: 'bind', section, place, text, sockets: 1, reusePort: true };
}

export const owner = { pid: 3243981, fd: 17, comm: 'haproxy', startTicks: '4711' };

export const holder: Holder = {
  socket: {
    transport: 'tcp',
    family: 4,
    state: 'ESTABLISHED',
    localAddress: '169.254.0.101',
    localPort: 58824,
    remoteAddress: '169.254.0.100',
    remotePort: 2774,
    inode: 99,
    uid: 0,
    cookie: '12',
  },
  owners: [owner],
  draining: { since: '2026-08-07T14:02:00.000Z' },
};

export const running: HAProxyReport = {
  pid: 3243990,
  mode: 'standalone',
  version: '2.6.12',
  startedAt: '2026-08-07T14:02:00.000Z',
  listening: 2000,
  draining: [
    { pid: 3243981, startedAt: '2026-08-07T10:00:00.000Z', since: '2026-08-07T14:02:00.000Z', connections: 7 },
  ],
};

export function listener(port: number, verdict: Verdict, over: Partial<ListenerReport> = {}): ListenerReport {
  return {
    endpoint: endpoint(port),
    name: `169.254.0.101:${port}/tcp`,
    section: 'listen web',
    place: { file: 'web.cfg', line: 12 },
    verdict,
    servable: true,
    exposed: false,
    sentence: `169.254.0.101:${port}/tcp can be bound`,
    ...over,
  };
}

export const incident = listener(
  58824,
  { kind: 'shareable', holders: [holder] },
  {
    exposed: true,
    sentence:
      '169.254.0.101:58824/tcp taken by an outgoing connection 169.254.0.101:58824 → 169.254.0.100:2774 ESTABLISHED, ' +
      'haproxy[3243981] (draining since 14:02); ephemeral range 32768–60999 covers this port and it is not reserved; ' +
      'berth reload shares the port and reserves it',
  },
);

export const foreign = listener(
  8080,
  { kind: 'taken', holders: [{ socket: { ...holder.socket, state: 'LISTEN' }, owners: [owner] }], stale: false },
  { servable: false, sentence: '169.254.0.101:8080/tcp taken by a listener of nginx[812]; stop it or move this bind' },
);

export const preflight: PreflightReport = {
  ok: true,
  listeners: [listener(443, { kind: 'free' }), listener(80, { kind: 'ours', holders: [] }), incident],
  unknown: [],
  conflicts: [],
  check: { ok: true, messages: [] },
  ephemeral,
  running,
  warnings: [],
};

export const plan: PlanReport = {
  plan: {
    keep: [{ bind: bind(80), served: [{ endpoint: endpoint(80), inode: 5, owner }], handedOver: true }],
    open: [
      { bind: bind(443), verdict: { kind: 'free' }, rungs: ['guard'], reason: 'nobody has it' },
      {
        bind: bind(58824),
        verdict: { kind: 'shareable', holders: [holder] },
        rungs: ['share', 'wait', 'quarantine'],
        reason: '169.254.0.101:58824/tcp taken by haproxy[3243981]; berth reload shares the port',
      },
    ],
    close: [{ endpoint: endpoint(81), inode: 6, owner }],
    quarantine: [],
    unknown: [],
    reserve: { add: '58824', remove: '', share: 0.00007 },
    conflicts: [],
    harden: [],
    warnings: [],
  },
  ephemeral,
  running,
  check: { ok: true, messages: [] },
};

export const reload: ReloadReport = {
  outcome: 'served',
  generation: 42,
  previous: 41,
  mode: 'standalone',
  haproxy: { pid: 3244000, oldPid: 3243990, version: '2.6.12' },
  listeners: { served: 2001, kept: 2000, sameSocket: 2000, opened: 1, closed: 0 },
  secured: [
    { name: '169.254.0.101:443/tcp', action: 'guard', cause: 'free', owners: [], sentence: 'free' },
    {
      name: '169.254.0.101:58824/tcp',
      action: 'share',
      cause: 'shareable',
      owners: [owner],
      sentence: 'shared with haproxy[3243981]',
    },
  ],
  quarantined: [],
  reserved: { added: '58824', removed: '' },
  repairs: [],
  phases: [
    { name: 'read', ms: 12.3 },
    { name: 'hand-over', ms: 210 },
  ],
  warnings: [],
};

export const inPart: ReloadReport = {
  ...reload,
  outcome: 'served-in-part',
  quarantined: [
    {
      name: foreign.name,
      section: 'listen web',
      place: { file: 'web.cfg', line: 12 },
      verdict: foreign.verdict,
      sentence: foreign.sentence,
    },
  ],
  recovery: {
    found: 'generation 40 was being handed over',
    direction: 'back',
    done: ['ended process 77'],
    generation: 40,
  },
  repairs: ['SIGTTIN brought 200 listeners back to LISTEN'],
  warnings: ['hard-stop-after is not set'],
};

export const generation: GenerationReport = {
  number: 42,
  createdAt: '2026-08-07T14:02:00.000Z',
  state: 'serving',
  serving: true,
  lastGood: true,
  sources: ['site.d'],
  listeners: 2001,
  quarantined: [],
};

export const history: HistoryReport = {
  generations: [
    { ...generation, number: 41, state: 'served', serving: false, lastGood: false },
    { ...generation, number: 40, state: 'failed', serving: false, lastGood: false, reason: 'haproxy -c refused it' },
    generation,
  ],
};

export const diff: DiffReport = {
  from: 41,
  to: 42,
  files: [{ file: 'web.cfg', change: 'changed', patch: '@@ -1 +1 @@\n-bind :80\n+bind :81\n' }],
  listeners: {
    added: ['0.0.0.0:81/tcp'],
    removed: ['0.0.0.0:80/tcp'],
    changed: [{ endpoint: '0.0.0.0:82/tcp', from: 'listen a', to: 'listen b' }],
  },
};

export const reservations: ReservationsReport = { ephemeral, ours: '58824', foreign: '40000', lost: '' };

export const status: StatusReport = {
  ok: true,
  running,
  generation,
  listeners: { wanted: 2001, served: 2001, missing: [], extra: [] },
  quarantined: [],
  reservations,
};

export const doctor: DoctorReport = {
  ok: false,
  findings: [
    { id: 'haproxy', level: 'ok', title: 'HAProxy 2.6.12', facts: ['/usr/sbin/haproxy'] },
    {
      id: 'descriptors',
      level: 'problem',
      title: 'Too few descriptors',
      facts: ['1024, and 2 × maxconn + listeners is 42960'],
      advice: 'Raise LimitNOFILE',
    },
  ],
};

export const measuredHost: MeasuredHost = {
  inputs: {
    range: { first: 32768, last: 60999 },
    reserved: '40000',
    listeners: 3,
    present: '80,40000,58824',
    foreign: '22',
    rate: 100,
    lifetime: 20,
    timeWait: 0.5,
    timeWaitReuse: false,
    destinations: [
      { count: 1, share: 0.5 },
      { count: 5, share: 0.5 },
    ],
    own: 0.9,
  },
  measured: { seconds: 5, held: 5000, seen: { first: 0.3, second: 0 } },
};

/** Answers with the samples; `over` replaces single methods. */
export function sampleBerth(over: Partial<Berth> = {}): Berth {
  const answer =
    <T>(value: T) =>
    () =>
      Promise.resolve(value);
  return {
    preflight: answer(preflight),
    plan: answer(plan),
    reload: answer(reload),
    rollback: answer(reload),
    reserve: answer({ ...reservations, added: '58824', removed: '' }),
    release: answer({ ...reservations, added: '', removed: '58824' }),
    reservations: answer(reservations),
    history: answer(history),
    diff: answer(diff),
    status: answer(status),
    doctor: answer(doctor),
    stop: answer({ pid: 4711, how: 'soft' as const, ended: true, connections: 0 }),
    listeners: answer({ total: 0, listeners: [] }),
    conflicts: answer({ listeners: [] }),
    processes: answer({ processes: [] }),
    close: answer(undefined),
    ...over,
  };
}

export interface TestHost extends Host {
  /** What was written. */
  readonly out: () => string;
  readonly err: () => string;
  /** How Berth was opened, one entry for each time. */
  readonly opened: BerthOptions[];
  /** Statuses that the process was ended with at once. */
  readonly exits: number[];
  /** As Ctrl-C does. */
  interrupt(): void;
  listening(): number;
}

export function testHost(
  berth: Berth = sampleBerth(),
  options: { terminal?: boolean; environment?: NodeJS.ProcessEnv; columns?: number } = {},
): TestHost {
  const texts = { out: '', err: '' };
  const opened: BerthOptions[] = [];
  const exits: number[] = [];
  const listeners = new Set<() => void>();
  const sink = (name: 'out' | 'err') => ({
    write: (text: string) => void (texts[name] += text),
    terminal: options.terminal ?? false,
    columns: options.columns ?? 80,
  });
  return {
    stdout: sink('out'),
    stderr: sink('err'),
    environment: options.environment ?? {},
    version: '0.1.0',
    openBerth: (given) => {
      opened.push(given);
      return Promise.resolve(berth);
    },
    measure: (given) => {
      opened.push(given);
      return Promise.resolve(measuredHost);
    },
    onSignal: (one) => {
      listeners.add(one);
      return () => void listeners.delete(one);
    },
    exit: (code) => void exits.push(code),
    out: () => texts.out,
    err: () => texts.err,
    opened,
    exits,
    interrupt: () => listeners.forEach((one) => one()),
    listening: () => listeners.size,
  };
}
