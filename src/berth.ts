/**
 * The composition root: the kernel and HAProxy of this host put into a {@link Berth}. Everything that Berth can do is
 * a method here; the command, the daemon and the library call nothing else.
 */
import { resolve } from 'node:path';
import { BerthError } from './errors.js';
import { type Host, openHost } from './host.js';
import { parseBareEndpoint } from './haproxy/address.js';
import { capabilities, descriptorLimit } from './kernel/limits.js';
import { formatPorts, parsePorts, portSet, union, type PortSet } from './model/ports.js';
import { processes } from './reload/processes.js';
import { reload } from './reload/reload.js';
import type { HostContext, ListenerKeeper, Sources } from './reload/context.js';
import { diffGenerations } from './reload/diff.js';
import { examine } from './reload/doctor.js';
import type { HAProxyBuild } from './reload/env.js';
import { openGeneration } from './reload/generations.js';
import { listenerPorts } from './reload/plan.js';
import { conflicts, listeners } from './reload/listeners.js';
import { planConfiguration, preflightConfiguration, preflightEndpoints } from './reload/preflight.js';
import {
  addReservations,
  portsToAdd,
  readReservations,
  refuseTooLargeShare,
  releaseReservations,
  reservationsReport,
} from './reload/reserve.js';
import { rollbackTarget } from './reload/rollback.js';
import { withLock } from './reload/session.js';
import { history, status } from './reload/status.js';
import { stop } from './reload/stop.js';
import type {
  ConflictsReport,
  DiffReport,
  DoctorReport,
  HistoryReport,
  ListenersReport,
  PlanReport,
  PreflightReport,
  ProcessesReport,
  ReloadObserver,
  ReloadReport,
  ReservationsReport,
  ReserveReport,
  StatusReport,
  StopReport,
} from './reload/reports.js';

export interface BerthOptions {
  /** Settings file (YAML); none is read where absent. */
  readonly settingsFile?: string;
  /** Single settings, over the file and the environment; keys as in the settings file, nested. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Which section of `instances` in the settings file; may be absent where there is but one. */
  readonly instance?: string;
  /** Environment that `${VAR}` in the configuration and `BERTH_…` settings are read from. Default: process.env. */
  readonly environment?: NodeJS.ProcessEnv;
  /** Ends what is running; what was not yet handed over is undone. */
  readonly signal?: AbortSignal;
  readonly observer?: ReloadObserver;
  /** A pid file or master socket that names a dead process: refuse it (default), or take it for no HAProxy at all. */
  readonly stale?: 'refuse' | 'none';
  /** Holds the listening sockets beside HAProxy; told of each commit. */
  readonly keeper?: ListenerKeeper;
}

export interface ConfigurationOptions {
  /** HAProxy's `-C`: the directory that relative paths start from. Default: the current directory. */
  readonly workingDirectory?: string;
}

export interface ReloadOptions extends ConfigurationOptions {
  /** Where this cannot go live and nothing serves, serve the generation that was committed last. */
  readonly orLastGood?: boolean;
  /** For the history and for whoever finds the lock taken. Default: `reload`. */
  readonly reason?: string;
}

/** All methods reject with a BerthError. */
export interface Berth {
  /**
   * For every listener: can it be bound, why not, who holds it, what to do. Changes nothing.
   * @param targets configuration files or directories, or bare endpoints (`tcp:169.254.0.101:58824`, `udp:[::1]:53`,
   *   `tcp:10.0.0.1:8000-8010`); the two kinds are not mixed.
   */
  preflight(targets: readonly string[], options?: ConfigurationOptions): Promise<PreflightReport>;
  /** What `reload` would do; changes nothing. */
  plan(sources: readonly string[], options?: ConfigurationOptions): Promise<PlanReport>;
  /** From a configuration to served listeners. Rejects where the new configuration cannot go live; the old one then serves. */
  reload(sources: readonly string[], options?: ReloadOptions): Promise<ReloadReport>;
  /** A reload of an older generation (default: the last good one before the serving one) through the same path. */
  rollback(generation?: number): Promise<ReloadReport>;
  /** Reserve the ports of these configurations, bare endpoints or port lists (`58824,59000-59010`). */
  reserve(targets: readonly string[], options?: ConfigurationOptions): Promise<ReserveReport>;
  /** Release ports of ours (a kernel list, or all of ours); foreign reservations stay. */
  release(ports?: string): Promise<ReserveReport>;
  reservations(): Promise<ReservationsReport>;
  history(): Promise<HistoryReport>;
  diff(from: number, to: number): Promise<DiffReport>;
  status(): Promise<StatusReport>;
  /** The listeners of the serving generation, sorted, a page at a time. @param options `after`: the last name of the page before */
  listeners(options?: { readonly after?: string; readonly limit?: number }): Promise<ListenersReport>;
  /** Listeners that were left out of the serving generation, and who holds their ports now. */
  conflicts(): Promise<ConflictsReport>;
  /** The HAProxy that serves, those that drain, and strays. */
  processes(): Promise<ProcessesReport>;
  /** Stop HAProxy on purpose: softly (SIGUSR1, its connections end by themselves) or hard (SIGTERM). */
  stop(options?: { readonly hard?: boolean }): Promise<StopReport>;
  doctor(sources?: readonly string[], options?: ConfigurationOptions): Promise<DoctorReport>;
  close(): Promise<void>;
}

/** Open Berth on this host. Nothing is read but the settings, and nothing is written before the first method that writes. */
export async function openBerth(options: BerthOptions = {}): Promise<Berth> {
  return berthOn(await openHost(options));
}

/** On a host that is open already; closed with it. */
export function berthOn(host: Host): Berth {
  return new OpenBerth(host);
}

class OpenBerth implements Berth {
  readonly #host: Host;

  constructor(host: Host) {
    this.#host = host;
  }

  async preflight(targets: readonly string[], options: ConfigurationOptions = {}): Promise<PreflightReport> {
    const context = await this.#host.reading();
    const bare = bareEndpoints(targets);
    if (bare) return preflightEndpoints(context, bare);
    const { sources, build } = await this.#read(context, targets, options);
    const reading = await context.read(sources, build);
    return preflightConfiguration(context, reading, build, await this.#check(context, sources));
  }

  async plan(targets: readonly string[], options: ConfigurationOptions = {}): Promise<PlanReport> {
    const context = await this.#host.reading();
    const { sources, build } = await this.#read(context, targets, options);
    const reading = await context.read(sources, build);
    return planConfiguration(context, reading, build, await this.#check(context, sources));
  }

  async reload(targets: readonly string[], options: ReloadOptions = {}): Promise<ReloadReport> {
    const context = await this.#host.writing();
    const { orLastGood = false, reason = 'reload' } = options;
    return reload(context, { ...this.#sources(context, targets, options), reason, orLastGood });
  }

  async rollback(generation?: number): Promise<ReloadReport> {
    const context = await this.#host.writing();
    return reload(context, await rollbackTarget(context.state, generation));
  }

  async reserve(targets: readonly string[], options: ConfigurationOptions = {}): Promise<ReserveReport> {
    const context = await this.#host.writing();
    const wanted = await this.#portsOf(context, targets, options);
    return withLock(context, 'reserve', async () => {
      const { kernel, ledger, settings } = context;
      const now = await readReservations(kernel, ledger);
      const add = portsToAdd(now, wanted);
      refuseTooLargeShare(now, add, settings.reserve.maxShare);
      await addReservations(kernel, ledger, add);
      return { ...reservationsReport(await readReservations(kernel, ledger)), added: formatPorts(add), removed: '' };
    });
  }

  async release(ports?: string): Promise<ReserveReport> {
    const context = await this.#host.writing();
    return withLock(context, 'release', async () => {
      const { kernel, ledger } = context;
      const now = await readReservations(kernel, ledger);
      const asked = ports === undefined ? union(now.ours, now.lost) : parsePorts(ports);
      const removed = await releaseReservations(kernel, ledger, asked);
      return {
        ...reservationsReport(await readReservations(kernel, ledger)),
        added: '',
        removed: formatPorts(removed),
      };
    });
  }

  async reservations(): Promise<ReservationsReport> {
    const { kernel, ledger } = await this.#host.reading();
    return reservationsReport(await readReservations(kernel, ledger));
  }

  async history(): Promise<HistoryReport> {
    return history(await this.#host.reading());
  }

  async diff(from: number, to: number): Promise<DiffReport> {
    const { state } = await this.#host.reading();
    return diffGenerations(await openGeneration(state, from), await openGeneration(state, to));
  }

  async status(): Promise<StatusReport> {
    return status(await this.#host.reading());
  }

  async listeners(options: { readonly after?: string; readonly limit?: number } = {}): Promise<ListenersReport> {
    const context = await this.#host.reading();
    return listeners(context, { limit: context.settings.batchSize, ...options });
  }

  async conflicts(): Promise<ConflictsReport> {
    return conflicts(await this.#host.reading());
  }

  async processes(): Promise<ProcessesReport> {
    return processes(await this.#host.reading(), { connections: 'all' });
  }

  async stop(options: { readonly hard?: boolean } = {}): Promise<StopReport> {
    return stop(await this.#host.writing(), options);
  }

  async doctor(targets: readonly string[] = [], options: ConfigurationOptions = {}): Promise<DoctorReport> {
    const context = await this.#host.reading();
    const host = { capabilities, descriptorLimit };
    if (targets.length === 0) return examine(context.kernel, context.haproxy, context.settings, undefined, { host });
    const { sources, build } = await this.#read(context, targets, options);
    const { listeners } = await context.read(sources, build);
    return examine(context.kernel, context.haproxy, context.settings, listeners, { host });
  }

  async close(): Promise<void> {
    await this.#host.close();
  }

  /** Relative paths mean the directory that Berth was called in, now and when a generation is served again. */
  #sources({ settings }: HostContext, targets: readonly string[], options: ConfigurationOptions): Sources {
    if (targets.length === 0) {
      throw new BerthError('BERTH_USAGE', 'No configuration was given; name the files or directories of HAProxy -f', {
        step: 'read',
      });
    }
    const workingDirectory = resolve(options.workingDirectory ?? settings.haproxy.workingDirectory ?? '.');
    return { sources: targets.map((target) => resolve(workingDirectory, target)), workingDirectory };
  }

  async #read(
    context: HostContext,
    targets: readonly string[],
    options: ConfigurationOptions,
  ): Promise<{ readonly sources: Sources; readonly build: HAProxyBuild }> {
    return { sources: this.#sources(context, targets, options), build: await context.haproxy.build() };
  }

  #check({ haproxy, settings }: HostContext, { sources, workingDirectory }: Sources) {
    return haproxy.check({ files: sources, workingDirectory, extraArguments: settings.haproxy.extraArguments });
  }

  async #portsOf(context: HostContext, targets: readonly string[], options: ConfigurationOptions): Promise<PortSet> {
    const bare = bareEndpoints(targets);
    if (bare) return portSet(bare.map(({ port }) => port));
    if (targets.length > 0 && targets.every((target) => /^[\d,-]+$/.test(target))) return parsePorts(targets.join(','));
    const { sources, build } = await this.#read(context, targets, options);
    return listenerPorts((await context.read(sources, build)).listeners.binds);
  }
}

/** `tcp:…` and `udp:…`; undefined for configurations. @throws BERTH_USAGE where the two kinds are mixed */
function bareEndpoints(targets: readonly string[]) {
  const bare = targets.filter((target) => /^(tcp|udp):/.test(target));
  if (bare.length === 0) return undefined;
  if (bare.length < targets.length) {
    throw new BerthError('BERTH_USAGE', 'Bare endpoints and configurations cannot be mixed in one call', {
      step: 'read',
    });
  }
  return bare.flatMap(parseBareEndpoint);
}
