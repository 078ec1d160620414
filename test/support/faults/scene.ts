/**
 * A host for the fault matrix: a HAProxy that Berth runs, and one reload that does everything a reload can do. Of the
 * listeners of one reload the steady ones are kept, one goes, one is new, and one is new on a port that a connection of
 * somebody else holds, so that it is reserved and shared.
 */
import { spawn } from 'node:child_process';
import { readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { openBerth } from '../../../src/berth.js';
import { openHost } from '../../../src/host.js';
import type { ReloadRequest } from '../../../src/reload/context.js';
import { recoverUnfinished } from '../../../src/reload/session.js';
import type { RecoveryReport, ReloadReport } from '../../../src/reload/reports.js';
import { isDead, isHAProxy } from '../../../src/haproxy/context.js';
import type { ProcessInfo } from '../../../src/reload/env.js';
import { Lab, configuration } from '../haproxy.js';
import { startHolder, type Holder } from '../holder.js';
import { namespaceInode, processesIn, readProcess } from '../process-table.js';
import type { Call, Hook } from './calls.js';
import { watchedReload } from './reload.js';

export type Mode = 'standalone' | 'master-worker';
/** `first`: no HAProxy runs, and there is no state directory. */
export type Kind = 'reload' | 'first';

export const STEADY = ['127.0.0.1:8000', '127.0.0.1:8001', '127.0.0.1:8002'];
/** Reserved by somebody else: it is never to be touched. */
export const FOREIGN = '50000';
const BACKEND = 9000;
const ECHO = 9001;

/** What is to be served before the reload under test, and after it. */
export interface Change {
  readonly kind: Kind;
  readonly old: readonly string[];
  readonly next: readonly string[];
  readonly request: ReloadRequest;
  /** Our reservations before it. */
  readonly reserved: string;
  /** Connection of the stranger's on the contested port. */
  readonly held: number;
}

export interface Outcome {
  readonly report?: ReloadReport;
  readonly error?: Error;
}

export class Scene {
  readonly binary: string;
  #port = 20_000;
  #wrapped = false;
  #served: readonly string[] = [];

  private constructor(
    readonly lab: Lab,
    readonly mode: Mode,
    readonly version: string,
    binary: string,
    readonly stranger: Holder,
    readonly client: Holder,
    /** Processes of the namespace that are neither Berth's nor HAProxy. */
    readonly bystanders: ReadonlySet<number>,
  ) {
    this.binary = binary;
  }

  static async open(
    mode: Mode,
    { version, path }: { readonly version: string; readonly path: string },
  ): Promise<Scene> {
    const lab = await Lab.open();
    const backend = await lab.startBackend([{ host: '127.0.0.1', port: BACKEND }]);
    await lab.exec('sysctl', ['-qw', `net.ipv4.ip_local_reserved_ports=${FOREIGN}`]);
    const holder = () =>
      startHolder({
        spawn: (command, ...args) => spawn('nsenter', [`--net=${lab.netns}`, '--', command, ...args]),
      });
    const [stranger, client] = await Promise.all([holder(), holder()]);
    await stranger.listen('127.0.0.1', ECHO);
    const keeper = Number(lab.netns.split('/')[2]);
    const bystanders = new Set([backend.pid, stranger.pid, client.pid, keeper]);
    return new Scene(lab, mode, version, path, stranger, client, bystanders);
  }

  get settings() {
    return {
      stateDir: this.lab.path('state'),
      netns: this.lab.netns,
      haproxy: { binary: this.binary, mode: this.mode },
      conflicts: { share: 'all' },
      dataPreserveN: 3,
      timeouts: { checkMs: 2500, startMs: 2500, reloadMs: 2500, settleMs: 5 },
    };
  }

  /** Listeners of HAProxy's, as the last case left them. */
  get served(): readonly string[] {
    return this.#served;
  }

  /** `address:port` of everything in LISTEN that is HAProxy's, sorted. */
  listening(): string[] {
    return [...this.lab.listeners().keys()].filter((name) => !/:900[01]$/.test(name)).sort();
  }

  /** The next reload: everything is made ready for it. */
  async prepare(kind: Kind): Promise<Change> {
    if (kind === 'first') await this.clear();
    else if (this.#served.length === 0) await this.serve();
    const { id: held, port } = await this.stranger.connect('127.0.0.1', ECHO);
    this.#port = this.#port < 29_000 ? this.#port + 1 : 20_001;
    const next = [...STEADY, `127.0.0.1:${this.#port}`, `127.0.0.1:${port}`].sort();
    const { ours: reserved } = await this.withBerth((berth) => berth.reservations());
    return { kind, old: this.#served, next, held, reserved, request: this.request(next) };
  }

  request(listeners: readonly string[]): ReloadRequest {
    const config = this.lab.path('haproxy.cfg');
    writeFileSync(config, configuration(listeners));
    // What was written just now is waited for.
    const past = Date.now() / 1000 - 60;
    utimesSync(config, past, past);
    return { sources: [config], workingDirectory: this.lab.directory, reason: 'reload' };
  }

  /** A reload with everything watched; what fails is returned. */
  async run({ request }: Change, hook: Hook): Promise<Outcome> {
    const { settings } = this;
    try {
      return { report: await watchedReload({ root: this.lab.directory, settings, request }, hook) };
    } catch (error) {
      return { error: error as Error };
    }
  }

  /** The calls of a whole, good reload in their order: each is a step of the matrix. */
  async steps(kind: Kind): Promise<Call[]> {
    const calls: Call[] = [];
    const change = await this.prepare(kind);
    const { error } = await this.run(change, (call) => {
      calls.push(call);
      return undefined;
    });
    if (error) throw error;
    await this.finish(change, change.next);
    return calls;
  }

  /** What the next command does first: bring an unfinished reload to its end. */
  async recover(): Promise<RecoveryReport | undefined> {
    const host = await openHost({ settings: this.settings, environment: { PATH: process.env['PATH'] } });
    try {
      return await recoverUnfinished(await host.writing());
    } finally {
      await host.close();
    }
  }

  async fullVersion(): Promise<string> {
    return (await this.lab.haproxy({ binary: this.binary }).build()).version;
  }

  async withBerth<T>(work: (berth: Awaited<ReturnType<typeof openBerth>>) => Promise<T>): Promise<T> {
    const berth = await openBerth({ settings: this.settings, environment: { PATH: process.env['PATH'] } });
    try {
      return await work(berth);
    } finally {
      await berth.close();
    }
  }

  /** A plain reload to these listeners. */
  async reload(request: ReloadRequest): Promise<ReloadReport> {
    const { sources, workingDirectory = '' } = request;
    return this.withBerth((berth) => berth.reload(sources, { workingDirectory }));
  }

  async serve(listeners: readonly string[] = STEADY): Promise<void> {
    await this.reload(this.request(listeners));
    this.#served = listeners;
  }

  /** The case is over, and this is served. */
  async finish({ held }: Change, served: readonly string[]): Promise<void> {
    await this.stranger.drop(held);
    this.#served = served;
  }

  /** No HAProxy, no state directory, no reservation of Berth's. */
  async clear(): Promise<void> {
    await this.killAll();
    rmSync(this.lab.path('state'), { recursive: true, force: true });
    await this.lab.exec('sysctl', ['-qw', `net.ipv4.ip_local_reserved_ports=${FOREIGN}`]);
    this.#served = [];
  }

  /** Every HAProxy of the namespace, and whatever else a case has left there. */
  async killAll(): Promise<void> {
    for (let left = this.strays(); left.length > 0; left = this.strays()) {
      for (const pid of left) signalQuietly(pid, 'SIGKILL');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Of those begun after the scene was opened: looking at every process of the host takes too long at every call. */
  strays(): number[] {
    const opened = Math.min(...this.bystanders);
    // The last pid given out: once they have begun anew at 300, all are to be looked at.
    const last = Number(readFileSync('/proc/loadavg', 'utf8').trim().split(' ').at(-1));
    const first = last > opened && !this.#wrapped ? opened : 1;
    this.#wrapped = first === 1;
    const inode = namespaceInode(this.lab.netns) ?? 0;
    return processesIn(inode, first).filter((pid) => !this.bystanders.has(pid) && !isDead(readProcess(pid)));
  }

  haproxies(): ProcessInfo[] {
    return this.strays().flatMap((pid) => {
      const found = readProcess(pid);
      return isHAProxy(found) ? [found] : [];
    });
  }

  close(): Promise<void> {
    return this.lab.close();
  }
}

export function signalQuietly(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    return;
  }
}
