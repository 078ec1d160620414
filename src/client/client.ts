/** A Berth that lives in the agent: the same methods, asked over its unix socket. */
import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import type { AgentEvent, HealthReport } from '../agent/contract.js';
import type { Berth, ConfigurationOptions } from '../berth.js';
import { BerthError } from '../errors.js';
import type {
  ConflictsReport,
  DiffReport,
  DoctorReport,
  HistoryReport,
  ListenersReport,
  PlanReport,
  PreflightReport,
  ProcessesReport,
  ReloadEvent,
  ReloadReport,
  ReservationsReport,
  ReserveReport,
  StatusReport,
  StopReport,
} from '../reload/reports.js';
import type { Settings } from '../settings.js';
import type { InstanceReport, InstancesReport, ReloadAnswer, SettingsReport } from './answers.js';
import { ask, errorOf, stream, type Exchange } from './transport.js';

export interface AgentOptions {
  /** The agent's unix socket (setting `agent.socket`). */
  readonly socket: string;
  /** Which instance: by name, or by its state directory, or by its pid file. None of them: the agent's only one. */
  readonly instance?: string;
  readonly stateDir?: string;
  readonly pidFile?: string;
  /** Longest silence of the agent before it is given up. Default: 150 s, as `haproxy -c` may take its time. */
  readonly timeoutMs?: number;
  /** Called with the progress of a reload. */
  readonly observer?: (event: ReloadEvent) => void;
  /** Ends the waiting; what the agent has begun goes on there. */
  readonly signal?: AbortSignal;
}

export interface RollbackOptions {
  /** Settings for this reload alone, nested as in the settings file: the ladder and the reservation. */
  readonly policy?: Readonly<Record<string, unknown>>;
  /** The same key and the same demand again within ten minutes get the first one's answer. */
  readonly idempotencyKey?: string;
}

export interface AgentReloadOptions extends ConfigurationOptions, RollbackOptions {
  /** Do nothing where these very files have gone live already. */
  readonly ifChanged?: boolean;
}

/** All methods reject with a BerthError: the agent's own, or BERTH_AGENT, BERTH_TIMEOUT, BERTH_INTERRUPTED on the way. */
export interface AgentClient extends Omit<Berth, 'reload' | 'rollback'> {
  /** Of the moment when it was connected. */
  readonly agent: { readonly version: string; readonly pid: number; readonly startedAt: string };
  readonly instance: InstanceReport;
  /** No sources: the instance's own. */
  reload(
    sources?: readonly string[],
    options?: AgentReloadOptions & { readonly ifChanged?: false },
  ): Promise<ReloadReport>;
  reload(sources: readonly string[], options: AgentReloadOptions): Promise<ReloadAnswer>;
  rollback(generation?: number, options?: RollbackOptions): Promise<ReloadReport>;
  /** Everything that happens from now on, until the loop is left or the agent ends. */
  events(types?: readonly AgentEvent['type'][]): AsyncGenerator<AgentEvent>;
  health(): Promise<HealthReport>;
  settings(): Promise<Settings>;
  instances(): Promise<InstancesReport>;
  /** Compare everything with the kernel now, and heal what differs. */
  reconcile(): Promise<void>;
}

const SILENCE_MS = 150_000;
/** Between heartbeats of a stream lie 5 s. */
const STREAM_SILENCE_MS = 30_000;
/** An agent that lives says so at once. */
const GREETING_MS = 5000;
/** Why there is no agent to talk to: no socket, nobody behind it, or not for us. */
const NOBODY = ['ENOENT', 'ECONNREFUSED', 'EACCES', 'EPERM', 'ENOTSOCK', 'ENOTDIR', 'ECONNRESET'];

/**
 * @returns undefined where no agent answers: no socket, nobody behind it, no access, no such instance
 * @throws BERTH_INTERRUPTED by `signal`
 */
export async function connectAgent(options: AgentOptions): Promise<AgentClient | undefined> {
  let found: InstancesReport;
  try {
    found = (await ask(options.socket, {
      method: 'GET',
      path: '/v1/instances',
      timeoutMs: Math.min(GREETING_MS, options.timeoutMs ?? GREETING_MS),
      signal: options.signal,
    })) as InstancesReport;
  } catch (error) {
    const failure = error as BerthError;
    const silent = failure.code === 'BERTH_PERMISSION' || failure.code === 'BERTH_TIMEOUT';
    if (silent || NOBODY.includes(failure.system?.code ?? '')) return undefined;
    throw failure;
  }
  const instance = chosen(found.instances, options);
  return instance && new Client(options, found, instance);
}

function chosen(instances: readonly InstanceReport[], wanted: AgentOptions): InstanceReport | undefined {
  const { instance, stateDir, pidFile } = wanted;
  if (instance !== undefined) return instances.find(({ name }) => name === instance);
  if (stateDir !== undefined) return instances.find((one) => real(one.stateDir) === real(stateDir));
  if (pidFile !== undefined) return instances.find((one) => one.pidFile && real(one.pidFile) === real(pidFile));
  return instances.length === 1 ? instances[0] : instances.find(({ name }) => name === 'default');
}

/** Both may reach the same place over different symlinks. */
function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}

class Client implements AgentClient {
  readonly agent: AgentClient['agent'];
  readonly instance: InstanceReport;
  readonly #options: AgentOptions;

  constructor(options: AgentOptions, { version, pid, startedAt }: InstancesReport, instance: InstanceReport) {
    this.#options = options;
    this.agent = { version, pid, startedAt };
    this.instance = instance;
  }

  async preflight(targets: readonly string[], options: ConfigurationOptions = {}): Promise<PreflightReport> {
    return (await this.#ask('POST', '/v1/preflight', {
      targets,
      ...this.#directory(targets, options),
    })) as PreflightReport;
  }

  async plan(sources: readonly string[], options: ConfigurationOptions = {}): Promise<PlanReport> {
    return (await this.#ask('POST', '/v1/plan', {
      targets: sources,
      ...this.#directory(sources, options),
    })) as PlanReport;
  }

  async reload(sources: readonly string[] = [], options: AgentReloadOptions = {}): Promise<ReloadReport> {
    const { ifChanged, policy, idempotencyKey } = options;
    const body = {
      ...(sources.length > 0 ? { sources } : {}),
      ...this.#directory(sources, options),
      ...(ifChanged === undefined ? {} : { ifChanged }),
      ...(policy === undefined ? {} : { policy }),
    };
    // Without `ifChanged` the agent never answers with `unchanged`.
    return (await this.#work('/v1/reload', body, idempotencyKey)) as ReloadReport;
  }

  async rollback(generation?: number, { policy, idempotencyKey }: RollbackOptions = {}): Promise<ReloadReport> {
    const body = { ...(generation === undefined ? {} : { generation }), ...(policy === undefined ? {} : { policy }) };
    return (await this.#work('/v1/rollback', body, idempotencyKey)) as ReloadReport;
  }

  async stop(options: { readonly hard?: boolean } = {}): Promise<StopReport> {
    return (await this.#work('/v1/stop', options)) as StopReport;
  }

  async reserve(targets: readonly string[], options: ConfigurationOptions = {}): Promise<ReserveReport> {
    return (await this.#ask('POST', '/v1/reserve', { targets, ...this.#directory(targets, options) })) as ReserveReport;
  }

  async release(ports?: string): Promise<ReserveReport> {
    return (await this.#ask('POST', '/v1/release', ports === undefined ? {} : { ports })) as ReserveReport;
  }

  async reservations(): Promise<ReservationsReport> {
    return (await this.#ask('GET', '/v1/reservations')) as ReservationsReport;
  }

  async history(): Promise<HistoryReport> {
    return (await this.#ask('GET', '/v1/history')) as HistoryReport;
  }

  async diff(from: number, to: number): Promise<DiffReport> {
    return (await this.#ask('GET', '/v1/diff', undefined, { from, to })) as DiffReport;
  }

  async status(): Promise<StatusReport> {
    return (await this.#ask('GET', '/v1/status')) as StatusReport;
  }

  async listeners(page: { readonly after?: string; readonly limit?: number } = {}): Promise<ListenersReport> {
    return (await this.#ask('GET', '/v1/listeners', undefined, page)) as ListenersReport;
  }

  async conflicts(): Promise<ConflictsReport> {
    return (await this.#ask('GET', '/v1/conflicts')) as ConflictsReport;
  }

  async processes(): Promise<ProcessesReport> {
    return (await this.#ask('GET', '/v1/processes')) as ProcessesReport;
  }

  async doctor(sources: readonly string[] = [], options: ConfigurationOptions = {}): Promise<DoctorReport> {
    const query = { source: sources, ...this.#directory(sources, options) };
    return (await this.#ask('GET', '/v1/doctor', undefined, query)) as DoctorReport;
  }

  async *events(types: readonly AgentEvent['type'][] = []): AsyncGenerator<AgentEvent> {
    const exchange = this.#exchange('GET', '/v1/events', undefined, { type: types });
    for await (const { data } of stream(this.#options.socket, { ...exchange, timeoutMs: STREAM_SILENCE_MS })) {
      yield data as AgentEvent;
    }
  }

  async health(): Promise<HealthReport> {
    return (await this.#ask('GET', '/v1/health')) as HealthReport;
  }

  async settings(): Promise<Settings> {
    return ((await this.#ask('GET', '/v1/settings')) as SettingsReport).settings;
  }

  async instances(): Promise<InstancesReport> {
    return (await this.#ask('GET', '/v1/instances')) as InstancesReport;
  }

  async reconcile(): Promise<void> {
    await this.#ask('POST', '/v1/reconcile', {});
  }

  /** Nothing is held open between two questions. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  /** A relative path means this process' directory, not the agent's. */
  #directory(targets: readonly string[], { workingDirectory }: ConfigurationOptions): ConfigurationOptions {
    if (workingDirectory !== undefined) return { workingDirectory: resolve(workingDirectory) };
    if (this.instance.workingDirectory !== undefined) return {};
    const configurations = targets.some((target) => !/^(tcp|udp):|^[\d,-]+$/.test(target));
    return configurations ? { workingDirectory: process.cwd() } : {};
  }

  #ask(method: Exchange['method'], path: string, body?: unknown, query: Query = {}): Promise<unknown> {
    return ask(this.#options.socket, this.#exchange(method, path, body, query));
  }

  /** A long run, with its progress. */
  async #work(path: string, body: unknown, idempotencyKey?: string): Promise<unknown> {
    const exchange = this.#exchange('POST', path, body);
    const headers = idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey };
    for await (const { event, data } of stream(this.#options.socket, {
      ...exchange,
      headers,
      timeoutMs: STREAM_SILENCE_MS,
    })) {
      if (event === 'progress') this.#options.observer?.(data as ReloadEvent);
      if (event === 'result') return data;
      if (event === 'error') throw errorOf(data);
    }
    throw new BerthError('BERTH_AGENT', `The agent at ${this.#options.socket} ended in the middle of ${path}`, {
      step: 'agent',
    });
  }

  #exchange(method: Exchange['method'], path: string, body?: unknown, query: Query = {}): Exchange {
    const search = new URLSearchParams({ instance: this.instance.name });
    for (const [key, value] of Object.entries(query)) {
      if (value === undefined) continue;
      for (const one of Array.isArray(value) ? (value as readonly string[]) : [value]) search.append(key, String(one));
    }
    const { timeoutMs = SILENCE_MS, signal } = this.#options;
    return { method, path: `${path}?${search.toString()}`, timeoutMs, signal, ...(body === undefined ? {} : { body }) };
  }
}

type Query = Readonly<Record<string, string | number | readonly string[] | undefined>>;
