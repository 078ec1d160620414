/** What the parts of the agent know of each other: the server, the metrics and the log see an agent only through this. */
import type { Berth, ConfigurationOptions } from '../berth.js';
import type {
  ProcessReport,
  ReloadEvent,
  ReloadReport,
  ReserveReport,
  ReviveReport,
  StopReport,
} from '../reload/reports.js';
import type { Settings } from '../settings.js';

/** The agent as a whole: one HAProxy per instance, one queue of changes per instance. */
export interface Agent {
  readonly version: string;
  readonly startedAt: string;
  /** By name; the one of a settings file without `instances` is called `default`. */
  readonly instances: ReadonlyMap<string, Instance>;
  /** Every event from now on; the result stops that. A listener that throws is not called again. */
  subscribe(listener: (event: AgentEvent) => void): () => void;
  health(): HealthReport;
  readonly logLevel: string;
  setLogLevel(level: Settings['agent']['logLevel']): void;
  /** Offer what the keepers hold to the agent that takes this one's place: instance and socket, see succession.ts. */
  handOver(): Promise<readonly { readonly name: string; readonly socket: string }[]>;
  /** Read the settings anew, as on SIGHUP. Rejects with BERTH_SETTINGS where they are refused; the old ones stay. */
  reloadSettings(): Promise<void>;
}

/** One HAProxy under the agent's care. */
export interface Instance {
  readonly name: string;
  readonly settings: Settings;
  /** For verbs that change nothing. What changes something goes through the methods below, one at a time. */
  readonly berth: Berth;
  /** What is known now, from memory. */
  readonly state: InstanceState;
  /** A configuration goes live. While it waits for its turn, a later demand for the same sources takes its place. */
  reload(demand: ReloadDemand): Promise<ReloadReport | Unchanged>;
  rollback(
    generation: number | undefined,
    demand?: Pick<ReloadDemand, 'reason' | 'policy' | 'observer'>,
  ): Promise<ReloadReport>;
  reserve(targets: readonly string[], options?: ConfigurationOptions): Promise<ReserveReport>;
  release(ports?: string): Promise<ReserveReport>;
  /** A deliberate stop: the keeper lets go first, so that no client waits for nothing. Not restarted until the next reload. */
  stop(options?: { readonly hard?: boolean }): Promise<StopReport>;
  /** Compare everything with the kernel and heal what differs, as every `reconcile.intervalMs`. */
  reconcile(): Promise<void>;
}

export interface ReloadDemand {
  /** Default: the instance's own `sources`. */
  readonly sources?: readonly string[];
  readonly workingDirectory?: string;
  /** For the history and the log: `source changed`, `asked by uid 0`. */
  readonly reason: string;
  /** Do nothing where these very files have gone live already. */
  readonly ifChanged?: boolean;
  /** Settings for this reload alone: the ladder and the reservation (see `policySchema` in settings). */
  readonly policy?: Readonly<Record<string, unknown>>;
  readonly observer?: (event: ReloadEvent) => void;
}

export interface Unchanged {
  readonly outcome: 'unchanged';
  readonly generation?: number;
  readonly haproxy?: { readonly pid: number };
}

export interface InstanceState {
  /** `stopped`: on purpose; `failed`: HAProxy died more often than `restart.limit` allows. */
  readonly phase: 'starting' | 'idle' | 'working' | 'stopped' | 'failed';
  /** What it works on, `reload: source changed`. */
  readonly doing?: string;
  readonly generation?: number;
  readonly haproxy?: { readonly pid: number; readonly startedAt: string };
  readonly listeners: { readonly served: number; readonly missing: number; readonly quarantined: number };
  readonly lastReload?: {
    readonly at: string;
    readonly reason: string;
    readonly outcome: 'served' | 'served-in-part' | 'unchanged' | 'failed';
    readonly ms: number;
    readonly error?: { readonly code: string; readonly step: string; readonly message: string };
  };
  /** End of the last full reconciliation, ISO. */
  readonly reconciledAt?: string;
  readonly keeper: {
    readonly enabled: boolean;
    /** Listening sockets that it holds. */
    readonly held: number;
    readonly restarts: number;
  };
  /** Kernel list forms and counts. */
  readonly reservations: {
    readonly ours: string;
    readonly foreign: string;
    /** 0..1, reserved part of the ephemeral range. */
    readonly share: number;
    /** How often reservations that somebody overwrote were put back. */
    readonly reasserted: number;
  };
  /** Draining and stray HAProxies of the last look. */
  readonly oldProcesses: readonly ProcessReport[];
  /** Why this instance needs a person, if it does. */
  readonly problems: readonly string[];
}

/** Plain data; the log, the metrics and the event stream get every one. */
export type AgentEvent = { readonly at: string; readonly instance: string } & (
  | { readonly type: 'source-changed'; readonly paths: readonly string[] }
  | { readonly type: 'reload-begun'; readonly reason: string }
  | { readonly type: 'reload-progress'; readonly event: ReloadEvent }
  | { readonly type: 'reload-ended'; readonly reason: string; readonly ms: number; readonly report: ReloadReport }
  | { readonly type: 'reload-unchanged'; readonly reason: string }
  | {
      readonly type: 'reload-failed';
      readonly reason: string;
      readonly ms: number;
      /** BerthError.toJSON() */
      readonly error: Readonly<Record<string, unknown>>;
    }
  | { readonly type: 'haproxy-died'; readonly pid: number; readonly how: string; readonly deliberate: boolean }
  | { readonly type: 'haproxy-restarted'; readonly report: ReviveReport }
  | { readonly type: 'restart-failed'; readonly error: Readonly<Record<string, unknown>>; readonly nextInMs?: number }
  | { readonly type: 'haproxy-stopped'; readonly report: StopReport }
  | { readonly type: 'listeners-repaired'; readonly names: readonly string[]; readonly how: string }
  | { readonly type: 'quarantine-freed'; readonly names: readonly string[] }
  | { readonly type: 'reservations-reasserted'; readonly ports: string }
  | { readonly type: 'old-process-warned'; readonly process: ProcessReport; readonly why: string }
  | { readonly type: 'old-process-ended'; readonly process: ProcessReport; readonly why: string }
  | { readonly type: 'stray-found'; readonly process: ProcessReport }
  | { readonly type: 'recovered'; readonly found: string; readonly done: readonly string[] }
  | { readonly type: 'settings-read'; readonly changed: readonly string[] }
  | { readonly type: 'settings-refused'; readonly error: Readonly<Record<string, unknown>> }
  | { readonly type: 'warning'; readonly text: string }
);

export interface HealthReport {
  /** The agent works: every instance was reconciled within heartbeat + tolerance. */
  readonly live: boolean;
  /** Every instance that is not stopped on purpose serves all its listeners. */
  readonly ready: boolean;
  readonly instances: Readonly<
    Record<
      string,
      { readonly phase: InstanceState['phase']; readonly stale: boolean; readonly problems: readonly string[] }
    >
  >;
}
