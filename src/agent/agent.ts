/**
 * The agent: composition root of the daemon. It opens every instance of the settings, the control API, the log, the metrics
 * and the link to the service manager, and puts them together; each of them sees the others through contract.ts only.
 */
import { constants } from 'node:os';
import { toBerthError } from '../errors.js';
import { type Host, openHostWith } from '../host.js';
import { wasStopped } from '../haproxy/unit.js';
import { becomeSubreaper, reapStrangers, watchExit } from '../kernel/exit.js';
import { closeDescriptors } from '../kernel/handoff.js';
import { processInfo, readStat, signalProcess, socketAt } from '../kernel/process.js';
import {
  describeListeners,
  removeStored,
  type StoredDescriptor,
  storeDescriptors,
  takeStored,
} from '../kernel/store.js';
import { notifyServiceManager, peerCredentials } from '../kernel/system.js';
import type { KeptSocket } from '../reload/revive.js';
import { changedSettings, loadAgentSettings, loadInstances, type Settings } from '../settings.js';
import type { Told } from './care-parts.js';
import type { Agent, AgentEvent, HealthReport } from './contract.js';
import { healthOf } from './health.js';
import { OpenInstance } from './instance.js';
import { type DescriptorStore, instanceOf, storedName } from './keeper.js';
import { type Log, logEvents } from './log.js';
import { startMetrics } from './metrics.js';
import { type Notifier, startNotifier } from './notify.js';
import { Queue } from './queue.js';
import { type Server, startServer } from './server/server.js';
import { askToHandOver, endPredecessor } from './succession.js';

export interface AgentOptions {
  readonly settingsFile?: string;
  readonly environment?: NodeJS.ProcessEnv;
  /** Single settings over the file and the environment. */
  readonly flags?: Readonly<Record<string, unknown>>;
  /** Of the package. */
  readonly version: string;
  readonly log: Log;
  /** Take the place of the agent that answers on the socket, with what its keepers hold. */
  readonly replace?: boolean;
}

export interface RunningAgent {
  readonly agent: Agent;
  /** Finish or undo what is under way, and leave: HAProxy, its listeners and its reservations stay as they are. */
  stop(): Promise<void>;
}

const STORE: DescriptorStore = { put: storeDescriptors, remove: removeStored };
/** Another agent has its sockets at hand. */
const FETCH_MS = 5000;
/** The dead that nobody else reaps are looked for this often. */
const REAP_MS = 10_000;

/** @throws BERTH_SETTINGS, BERTH_ADDON, BERTH_LOCKED where an agent answers on the socket already */
export async function startAgent(options: AgentOptions): Promise<RunningAgent> {
  const agent = new OpenAgent(options);
  await agent.start();
  return { agent, stop: () => agent.stop() };
}

class OpenAgent implements Agent {
  readonly version: string;
  readonly startedAt = new Date().toISOString();
  readonly #options: AgentOptions;
  readonly #instances = new Map<string, OpenInstance>();
  readonly #queues = new Map<number, Queue>();
  readonly #listeners = new Set<(event: AgentEvent) => void>();
  #settings: Settings['agent'];
  #server: Server | undefined;
  #notifier: Notifier | undefined;
  #reaper: NodeJS.Timeout | undefined;
  #ends: (() => void)[] = [];
  #stopped: Promise<void> | undefined;

  constructor(options: AgentOptions) {
    this.#options = options;
    this.version = options.version;
    this.#settings = loadAgentSettings(this.#sources);
  }

  get instances(): ReadonlyMap<string, OpenInstance> {
    return this.#instances;
  }

  get logLevel(): string {
    return this.#options.log.level;
  }

  setLogLevel(level: Settings['agent']['logLevel']): void {
    this.#options.log.setLevel(level);
  }

  health(): HealthReport {
    return healthOf(this.#instances.values(), this.startedAt, Date.now());
  }

  subscribe(listener: (event: AgentEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async start(): Promise<void> {
    const { log } = this.#options;
    const { environment } = this.#sources;
    const settings = loadInstances(this.#sources);
    becomeSubreaper();
    this.#reaper = setInterval(reapStrangers, REAP_MS);
    this.#ends.push(logEvents(this, log));
    const metrics = startMetrics(this, { openFiles: async () => (await processInfo(process.pid))?.openFiles });
    this.#ends.push(() => metrics.stop());
    const stored = byInstance(takeStored(environment));
    const before = this.#options.replace ? await askToHandOver(this.#settings.socket) : undefined;
    for (const [name, each] of settings) {
      const host = await openHostWith(each, { environment, stale: 'none' });
      const offer = before?.offers.get(name);
      const offered = offer === undefined ? [] : keptSockets(await host.kernel.getsocks(offer, FETCH_MS));
      for (const { descriptor, inode } of offered) await storeDescriptors(storedName(name, inode), [descriptor]);
      this.#instances.set(name, this.#open(name, host, [...(stored.get(name) ?? []), ...offered]));
    }
    // Of instances that are no more: held any longer, they would take connections for nobody.
    for (const [name, sockets] of stored) if (!settings.has(name)) giveUp(name, sockets);
    if (before) await endPredecessor(before, { startTicks: startTicksOf, terminate });
    this.#server = await startServer(this, {
      settings: this.#settings,
      peerOf: peerCredentials,
      warn: (text) => log.write('warn', text),
      metrics: async () => ({ contentType: metrics.contentType, text: await metrics.text() }),
      onAnswer: (answered) => log.write('debug', `${answered.method} ${answered.route}`, { ...answered }),
    });
    this.#notifier = startNotifier(this, { notify: notifyServiceManager, environment });
    await Promise.all([...this.#instances.values()].map((instance) => instance.start()));
    this.#notifier.ready();
  }

  /** A second call waits for the end that the first one began. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopOnce();
    return this.#stopped;
  }

  async #stopOnce(): Promise<void> {
    this.#notifier?.stopping();
    clearInterval(this.#reaper);
    await this.#server?.close();
    await Promise.all([...this.#instances.values()].map((instance) => instance.close()));
    for (const end of this.#ends) end();
  }

  /** Instances whose settings changed are opened anew; what their keepers hold goes over, and HAProxy does not notice. */
  async reloadSettings(): Promise<void> {
    this.#notifier?.reloading();
    try {
      const [settings, own] = [loadInstances(this.#sources), loadAgentSettings(this.#sources)];
      this.#takeOwn(own);
      const changed: string[] = [];
      for (const name of [...this.#instances.keys()]) if (!settings.has(name)) changed.push(await this.#end(name));
      for (const [name, each] of settings) {
        const before = this.#instances.get(name);
        // The agent's own are taken already.
        const keys = before
          ? changedSettings(before.settings, each).filter((key) => !key.startsWith('agent.'))
          : ['instance'];
        if (keys.length === 0) continue;
        changed.push(...keys.map((key) => (settings.size > 1 ? `${name}.${key}` : key)));
        // First: where it cannot be opened, the one before stays.
        const host = await openHostWith(each, { environment: this.#sources.environment, stale: 'none' });
        const instance = this.#open(name, host, (await before?.handOver()) ?? []);
        this.#instances.set(name, instance);
        await instance.start();
      }
      this.#tell('', { type: 'settings-read', changed });
    } catch (thrown) {
      const error = toBerthError(thrown, 'settings');
      this.#tell('', { type: 'settings-refused', error: error.toJSON() });
      throw error;
    } finally {
      this.#notifier?.ready();
    }
  }

  #takeOwn(own: Settings['agent']): void {
    const { log } = this.#options;
    if (own.logLevel !== this.#settings.logLevel) log.setLevel(own.logLevel);
    const { socket, tcp, group, readers } = this.#settings;
    const moved = own.socket !== socket || own.tcp !== tcp || own.group !== group || own.readers !== readers;
    if (moved)
      this.#tell('', { type: 'warning', text: 'agent.socket, tcp, group and readers change with the next start' });
    this.#settings = own;
  }

  async #end(name: string): Promise<string> {
    const instance = this.#instances.get(name);
    this.#instances.delete(name);
    // Nobody would bring this HAProxy back any more.
    instance?.letGo();
    await instance?.close();
    return `${name} (gone)`;
  }

  async handOver(): Promise<readonly { readonly name: string; readonly socket: string }[]> {
    const offers = [...this.#instances].map(async ([name, instance]) => ({ name, socket: await instance.offer() }));
    return (await Promise.all(offers)).flatMap(({ name, socket }) => (socket === undefined ? [] : [{ name, socket }]));
  }

  #open(name: string, host: Host, adopted: readonly Adopted[]): OpenInstance {
    const { environment } = this.#sources;
    const own = adopted.filter(({ netns }) => netns === undefined || netns === String(host.kernel.inode));
    // Of HAProxy's `namespace`, whose name no descriptor tells: the keeper takes them anew from the HAProxy that serves.
    const kept = new Set(own);
    giveUp(
      name,
      adopted.filter((socket) => !kept.has(socket)),
    );
    const queue = this.#queues.get(host.kernel.inode) ?? new Queue();
    this.#queues.set(host.kernel.inode, queue);
    const store = environment['NOTIFY_SOCKET'] ? STORE : undefined;
    return new OpenInstance({
      name,
      host,
      queue,
      adopted: own,
      life: { watchExit, socketAt, wasStopped: (unit) => wasStopped(unit, environment) },
      tell: (event) => this.#tell(name, event),
      ...(store ? { store } : {}),
    });
  }

  #tell(instance: string, event: Told): void {
    const whole = { ...event, at: new Date().toISOString(), instance } as AgentEvent;
    for (const listener of [...this.#listeners]) {
      try {
        listener(whole);
      } catch (error) {
        this.#listeners.delete(listener);
        this.#options.log.write('error', `A listener of events failed and gets no more: ${String(error)}`);
      }
    }
  }

  get #sources() {
    const { settingsFile, environment = process.env, flags = {} } = this.#options;
    return { file: settingsFile, environment, flags };
  }
}

/** A socket of an agent before this one, with the network namespace that it is in, where the kernel tells. */
type Adopted = KeptSocket & { readonly netns?: string };

function keptSockets(descriptors: readonly number[]): Adopted[] {
  return describeListeners(descriptors).map(({ fd, ...socket }) => ({ descriptor: fd, ...socket }));
}

function byInstance(stored: readonly StoredDescriptor[]): Map<string, Adopted[]> {
  const names = new Map(stored.map(({ fd, name }) => [fd, instanceOf(name)]));
  const sockets = new Map<string, Adopted[]>();
  for (const socket of keptSockets(stored.map(({ fd }) => fd))) {
    const name = names.get(socket.descriptor) ?? '';
    sockets.set(name, [...(sockets.get(name) ?? []), socket]);
  }
  return sockets;
}

/** Ours and the service manager's. */
function giveUp(instance: string, sockets: readonly Adopted[]): void {
  closeDescriptors(sockets.map(({ descriptor }) => descriptor));
  for (const { inode } of sockets) void removeStored(storedName(instance, inode));
}

function startTicksOf(pid: number): string | undefined {
  return readStat(pid)?.startTicks;
}

function terminate(pid: number, startTicks: string): void {
  signalProcess(pid, startTicks, constants.signals.SIGTERM);
}
