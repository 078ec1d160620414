/**
 * The composition root: the kernel and HAProxy of this host put into a {@link Berth}. Everything that Berth can do is
 * a method here; the command, the daemon and the library call nothing else.
 */
import type {
  DiffReport,
  DoctorReport,
  HistoryReport,
  PlanReport,
  PreflightReport,
  ReloadObserver,
  ReloadReport,
  ReservationsReport,
  ReserveReport,
  StatusReport,
} from './reload/reports.js';

export interface BerthOptions {
  /** Settings file (YAML); none is read where absent. */
  readonly settingsFile?: string;
  /** Single settings, over the file and the environment; keys as in the settings file, nested. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Environment that `${VAR}` in the configuration and `BERTH_…` settings are read from. Default: process.env. */
  readonly environment?: NodeJS.ProcessEnv;
  /** Ends what is running; what was not yet handed over is undone. */
  readonly signal?: AbortSignal;
  readonly observer?: ReloadObserver;
}

export interface ConfigurationOptions {
  /** HAProxy's `-C`: the directory that relative paths start from. Default: the current directory. */
  readonly workingDirectory?: string;
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
  reload(sources: readonly string[], options?: ConfigurationOptions): Promise<ReloadReport>;
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
  doctor(sources?: readonly string[], options?: ConfigurationOptions): Promise<DoctorReport>;
  close(): Promise<void>;
}

/** Open Berth on this host. Nothing is written before the first method that writes. */
export declare function openBerth(options?: BerthOptions): Promise<Berth>;
