/** An agent that is nothing but its contract: what it says is set by the test, what it is asked to do is refused. */
import type { Agent, AgentEvent, Instance, InstanceState } from '../../src/agent/contract.js';
import { healthOf } from '../../src/agent/health.js';
import type { Berth } from '../../src/berth.js';
import type { ProcessReport } from '../../src/reload/reports.js';
import { loadSettings } from '../../src/settings.js';

export const AT = '2026-08-07T14:02:31.000Z';

export const oldProcess: ProcessReport = {
  pid: 3243981,
  startTicks: '4711',
  role: 'draining',
  startedAt: '2026-08-07T10:00:00.000Z',
  since: '2026-08-07T14:02:00.000Z',
  connections: 7,
  ports: '58824',
  residentBytes: 52_428_800,
  unit: 'haproxy.service',
};

export const idle: InstanceState = {
  phase: 'idle',
  generation: 17,
  haproxy: { pid: 3243990, startedAt: AT },
  listeners: { served: 2000, missing: 0, quarantined: 1 },
  lastReload: { at: AT, reason: 'source changed', outcome: 'served-in-part', ms: 180 },
  reconciledAt: AT,
  keeper: { enabled: true, held: 2000, restarts: 0 },
  reservations: { ours: '40000,50000-50009', foreign: '8080', share: 0.25, reasserted: 2 },
  oldProcesses: [oldProcess],
  problems: [],
};

export interface FakeAgent extends Agent {
  readonly instances: Map<string, Instance>;
  readonly listeners: ReadonlySet<(event: AgentEvent) => void>;
  /** Sends an event to everybody who listens; `at` and `instance` as given, or AT and `default`. */
  tell(event: EventOf<AgentEvent>): void;
  /** Takes the place of an instance's state, or makes the instance. */
  set(name: string, state: InstanceState, settings?: Readonly<Record<string, unknown>>): void;
}

/** `at` and `instance` can be left out; distributes over the union. */
type EventOf<E> = E extends AgentEvent ? Omit<E, 'at' | 'instance'> & Partial<Pick<E, 'at' | 'instance'>> : never;

export function fakeAgent(states: Readonly<Record<string, InstanceState>> = { default: idle }): FakeAgent {
  const listeners = new Set<(event: AgentEvent) => void>();
  const instances = new Map<string, Instance>();
  const refuse = () => Promise.reject(new Error('a fake agent does nothing'));
  const agent: FakeAgent = {
    version: '0.1.0',
    startedAt: AT,
    instances,
    listeners,
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    health: () => healthOf(instances.values(), AT, Date.parse(AT) + 1000),
    logLevel: 'info',
    setLogLevel: () => undefined,
    handOver: () => Promise.resolve([]),
    reloadSettings: () => Promise.resolve(),
    tell: (event) => {
      for (const listener of listeners) listener({ at: AT, instance: 'default', ...event });
    },
    set: (name, state, flags = {}) => {
      const settings = loadSettings({ flags });
      const berth = {} as Berth;
      instances.set(name, {
        ...{ name, settings, berth, state },
        ...{ reload: refuse, rollback: refuse, reserve: refuse, release: refuse, stop: refuse, reconcile: refuse },
      });
    },
  };
  for (const [name, state] of Object.entries(states)) agent.set(name, state);
  return agent;
}
