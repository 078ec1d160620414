/**
 * A host under load: `berth agent` with a HAProxy of many listeners, clients that never stop, outgoing connections that
 * churn through the ephemeral range, and a configuration that changes at random. Made for test/trust/load-*.test.ts.
 */
import { execFileSync, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { difference, formatPorts, intersect, parsePorts, portRange, portSet } from '../../src/model/ports.js';
import { RAISE_LIMIT, startAgentProcess, type AgentMeasure, type AgentProcess } from './agent-process.js';
import type { Backend } from './load.js';
import { Lab } from './haproxy.js';
import { startHolder, type Holder } from './holder.js';
import { HOST, PEER } from './incident.js';
import { startEcho, startTraffic, type Traffic, type TrafficReport } from './traffic.js';
import { BACKENDS, configurationOf, type Conflict, type ConflictKind, type Listeners } from './soak-changes.js';

/** Where the outgoing connections of the other programs of the host go to. */
const ELSEWHERE = 9100;
/** Long enough for many a reload, short enough for an old HAProxy to come to its end. */
const LIFE_MS = 20_000;

export interface SoakOptions {
  readonly binary: string;
  readonly listeners: number;
  readonly mode: 'standalone' | 'master-worker';
  readonly version?: string;
  /** Of the clients and of the storm. */
  readonly traffic: string;
  readonly rate: number;
  readonly long: number;
}

/** What is to go when the reload is over. */
export interface Injected extends Conflict {
  end(): Promise<unknown>;
}

export interface Counts {
  reloads: number;
  /** By kind. */
  readonly injected: Partial<Record<ConflictKind, number>>;
  /** What Berth met at a new listener's port and did about it, injected or by chance: `shareable: share`. */
  readonly met: Record<string, number>;
  /** Listeners that were left out. */
  quarantined: number;
  /** What was not as it must be, reload by reload. */
  readonly wrong: string[];
}

export class Soak {
  readonly counts: Counts = { reloads: 0, injected: {}, met: {}, quarantined: 0, wrong: [] };
  /** In LISTEN now. */
  #served: readonly number[] = [];
  #backends: Backend[] = [];
  #load: Traffic[] = [];

  private constructor(
    readonly lab: Lab,
    readonly agent: AgentProcess,
    readonly stranger: Holder,
    readonly options: SoakOptions,
    /** RLIMIT_NOFILE of the agent and its HAProxy. */
    readonly limit: number,
  ) {}

  static async open(options: SoakOptions): Promise<Soak> {
    const lab = await Lab.open({ peer: true });
    const enter = (command: string, ...args: string[]) =>
      spawn('nsenter', [`--net=${lab.netns}`, '--', command, ...args]);
    try {
      const stranger = await startHolder({ spawn: enter });
      const limit = Number(execFileSync('sh', ['-c', `${RAISE_LIMIT}; ulimit -n`], { encoding: 'utf8' }));
      // It holds every listening socket once more, and twice where it gets them anew.
      const keeper = limit > 3 * options.listeners ? 'auto' : 'off';
      const agent = await startAgentProcess(lab, options.binary, { haproxy: { mode: options.mode }, keeper });
      const soak = new Soak(lab, agent, stranger, options, limit);
      soak.#backends = [await startEcho(options.traffic, lab.peerNetns ?? '', PEER, [...BACKENDS, ELSEWHERE])];
      return soak;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.agent.stop();
    await Promise.all(this.#backends.map((backend) => backend.stop()));
    await this.lab.close();
  }

  /** Clients of everything that is served, some of which stay to the end; and the other programs of the host. */
  async startLoad(): Promise<void> {
    const { rate, long, traffic } = this.options;
    const { netns, peerNetns = '' } = this.lab;
    this.#load = await Promise.all([
      startTraffic(traffic, peerNetns, { host: HOST, rate, long, lifeMs: LIFE_MS }),
      startTraffic(traffic, peerNetns, { host: HOST, rate: 0, long: 20 }),
      // Shorter than the ladder's longest wait: whoever waits for one of these gets its port.
      startTraffic(traffic, netns, { host: PEER, rate: rate / 10, long, lifeMs: 2000 }),
    ]);
    const [, stays, storm] = this.#load;
    await Promise.all([this.#aim(this.#served), stays?.aim(this.#served), storm?.aim([ELSEWHERE])]);
  }

  /** The clients' counts and the storm's. */
  async stopLoad(): Promise<{ clients: readonly TrafficReport[]; storm: TrafficReport }> {
    const [clients, stays, storm] = await Promise.all(this.#load.map((one) => one.stop()));
    this.#load = [];
    return { clients: [clients!, stays!], storm: storm! };
  }

  /** Of the clients, so far. */
  reports(): Promise<TrafficReport[]> {
    return Promise.all(this.#load.slice(0, 2).map((one) => one.report()));
  }

  /** One reload, from the change to the proof: what listens, and on which sockets, is read from the kernel. */
  async reload(wanted: Listeners, conflict?: Conflict): Promise<void> {
    const file = this.lab.write('haproxy.cfg', configurationOf(wanted, this.#maxconn(), this.#global()));
    // Nobody can be served by a listener that goes: what is on its way to it comes to its end before.
    await this.#aim(this.#served.filter((port) => wanted.has(port)));
    const report = await this.agent.client.reload([file]);
    const leftOut = report.quarantined.map(({ name }) => Number(/:(\d+)\//.exec(name)?.[1]));
    const taken = conflict?.kind === 'listener' ? [conflict.port] : [];
    this.#served = [...wanted.keys()].filter((port) => !leftOut.includes(port));
    const { injected, met } = this.counts;
    this.counts.reloads += 1;
    this.counts.quarantined += leftOut.length;
    if (conflict) injected[conflict.kind] = (injected[conflict.kind] ?? 0) + 1;
    for (const { action, cause } of report.secured) met[`${cause}: ${action}`] = (met[`${cause}: ${action}`] ?? 0) + 1;
    this.#check('left out', leftOut, taken);
    this.#check('kept on the same socket', report.listeners.sameSocket, report.listeners.kept);
    // On a busy machine an old HAProxy of 19000 listeners needs longer to let go of them than Berth waits for it.
    const warnings = report.warnings.filter((warning) => !warning.includes('still listens'));
    this.#check('repairs and warnings', [...report.repairs, ...warnings], []);
    const [listening, wants] = [await this.#listening(), [...this.#served, ...taken].sort(byNumber)];
    this.#check('missing', without(wants, listening), []);
    this.#check('listening beside', without(listening, wants), []);
    await this.#aim(this.#served);
  }

  /** A master of 2.2 hands its worker's sockets over through such a socket alone. */
  #global(): readonly string[] {
    if (this.options.version !== '2.2' || this.options.mode !== 'master-worker') return [];
    return [`stats socket ${this.lab.path('stats.sock')} mode 600 level admin expose-fd listeners`];
  }

  /**
   * Something on the port of the next new listener: a connection that is there anyway, or a listener of somebody else's.
   * @param dice 0..1: which of those that there are. @returns undefined where there is nothing of the kind
   */
  async inject(kind: ConflictKind, dice: number, listeners: Listeners): Promise<Injected | undefined> {
    if (kind === 'listener') {
      const { id, port } = await this.stranger.listen(HOST);
      return { kind, port, end: () => this.stranger.close(id) };
    }
    const ports = (await this.#busy())[kind].filter((port) => !listeners.has(port));
    const port = ports[Math.floor(dice * ports.length)];
    return port === undefined ? undefined : { kind, port, end: () => Promise.resolve() };
  }

  /** Ports of all listening TCP sockets of the host, a port twice where two sockets share it. */
  async #listening(): Promise<number[]> {
    const rows = await this.lab.exec('ss', ['-tlnH']);
    return [...rows.matchAll(/^LISTEN +\d+ +\d+ +\S+:(\d+) /gm)].map(([, port]) => Number(port)).sort(byNumber);
  }

  /** Local ports that connections are on: HAProxy's own, the stranger's, and what the stranger's have left behind. */
  async #busy(): Promise<Record<Exclude<ConflictKind, 'listener'>, number[]>> {
    const ports = async (...filter: string[]) => {
      const rows = await this.lab.exec('ss', ['-tnH', ...filter, 'dst', PEER]);
      return [...rows.matchAll(/ \S+:(\d+) +\S+:(\d+) *$/gm)].map(
        ([, from, to]) => [Number(from), Number(to)] as const,
      );
    };
    const [established, waiting] = await Promise.all([ports('state', 'established'), ports('state', 'time-wait')]);
    const of = (rows: (readonly [number, number])[], fits: (to: number) => boolean) =>
      rows.filter(([, to]) => fits(to)).map(([from]) => from);
    return {
      haproxy: of(established, (to) => BACKENDS.includes(to)),
      stranger: of(established, (to) => to === ELSEWHERE),
      'time-wait': of(waiting, () => true),
    };
  }

  /** Nobody is served any more: only the HAProxy that serves is left, and the agent at rest. */
  async atRest(): Promise<AgentMeasure> {
    const processes = this.options.mode === 'standalone' ? 1 : 2;
    while (this.lab.haproxies().length > processes) await sleep(100);
    await this.agent.client.reconcile();
    return this.agent.measure();
  }

  /** The kernel's list against the ledger, and what listens in the ephemeral range without being reserved. */
  async reservations(): Promise<{ kernel: string; ours: string; foreign: string; lost: string; exposed: string }> {
    const { ours, foreign, lost, ephemeral } = await this.agent.client.reservations();
    const kernel = (await this.lab.exec('sysctl', ['-n', 'net.ipv4.ip_local_reserved_ports'])).trim();
    const inRange = intersect(portSet(this.#served), portRange(ephemeral.first, ephemeral.last));
    return { kernel, ours, foreign, lost, exposed: formatPorts(difference(inRange, parsePorts(kernel))) };
  }

  /** What the descriptor limit leaves beside the listeners; a connection through HAProxy is two of them. */
  #maxconn(): number {
    return Math.min(8000, Math.floor((this.limit - this.options.listeners - 200) / 2));
  }

  #check(what: string, found: unknown, wanted: unknown): void {
    const [is, should] = [found, wanted].map((value) => JSON.stringify(value));
    if (is !== should) this.counts.wrong.push(`reload ${this.counts.reloads}: ${what}: ${is}, not ${should}`);
  }

  async #aim(ports: readonly number[]): Promise<void> {
    await this.#load[0]?.aim(ports);
  }
}

const byNumber = (one: number, other: number): number => one - other;

/** `list` less one of each of `others`: what is there twice is left once. */
function without(list: readonly number[], others: readonly number[]): number[] {
  const left = new Map<number, number>();
  for (const one of others) left.set(one, (left.get(one) ?? 0) + 1);
  return list.filter((one) => {
    const count = left.get(one) ?? 0;
    left.set(one, count - 1);
    return count <= 0;
  });
}
