/**
 * The one envelope in which every verb answers under `--json`: one JSON object on standard output, whatever happens.
 * `docs/schema.json` is generated from {@link Envelope} (`npm run schema`) and a test holds the two together.
 */
import type { BerthError, ErrorCode, SystemCause } from '../errors.js';
import type { AdviceReport } from '../advise/advise.js';
import type { Origin } from '../settings.js';
import type {
  DiffReport,
  DoctorReport,
  HistoryReport,
  PlanReport,
  PreflightReport,
  ReloadReport,
  ReservationsReport,
  ReserveReport,
  StatusReport,
  StopReport,
} from '../reload/reports.js';

/** Raised when a field is removed or changes its meaning; new fields may appear under the same number. */
export const SCHEMA_VERSION = 1;

/** The script of `berth completion`. */
export interface CompletionReport {
  readonly shell: 'bash' | 'zsh' | 'fish';
  readonly script: string;
}

/** What `berth agent` runs with; with --check that is all it says. */
export interface AgentRunReport {
  readonly instances: readonly {
    readonly name: string;
    /** What is watched, and what is there now. */
    readonly sources: readonly { readonly path: string; readonly found: 'file' | 'directory' | 'nothing' }[];
    readonly settings: readonly SettingReport[];
  }[];
  /** The signal that ended the agent; absent under --check. */
  readonly endedBy?: string;
}

export interface SettingReport {
  /** With dots: `conflicts.wait.deadlineMs`. */
  readonly key: string;
  /** In effect; null where nothing is set and there is no default. */
  readonly value: unknown;
  readonly origin: Origin;
  /** `default`, `/etc/berth/berth.yaml line 3`, `environment BERTH_NETNS`, `options`. */
  readonly where: string;
}

/** What each verb's `result` holds. `reload --dry-run` answers as the verb `plan`. */
export interface Results {
  readonly preflight: PreflightReport;
  readonly plan: PlanReport;
  readonly reserve: ReserveReport;
  readonly release: ReserveReport;
  readonly reservations: ReservationsReport;
  readonly reload: ReloadReport;
  readonly rollback: ReloadReport;
  readonly stop: StopReport;
  readonly history: HistoryReport;
  readonly diff: DiffReport;
  readonly status: StatusReport;
  readonly doctor: DoctorReport;
  readonly advise: AdviceReport;
  readonly agent: AgentRunReport;
  readonly completion: CompletionReport;
}

export type VerbName = keyof Results;

interface Frame {
  /** Version of Berth. */
  readonly berth: string;
  /** Version of this schema. */
  readonly schema: 1;
  /** True where the exit status is 0. */
  readonly ok: boolean;
  /** Exit status of the command, as in the table of docs/cli.md. */
  readonly exit: number;
}

export interface ResultEnvelope<V extends VerbName> extends Frame {
  readonly verb: V;
  readonly result: Results[V];
}

export interface ErrorEnvelope extends Frame {
  /** `berth` where the command line named no verb. */
  readonly verb: VerbName | 'berth';
  readonly ok: false;
  readonly error: ErrorReport;
}

/** A BerthError as data. */
export interface ErrorReport {
  readonly code: ErrorCode;
  readonly step: string;
  readonly message: string;
  readonly advice: string;
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: SystemCause;
}

export type Envelope =
  | ResultEnvelope<'preflight'>
  | ResultEnvelope<'plan'>
  | ResultEnvelope<'reserve'>
  | ResultEnvelope<'release'>
  | ResultEnvelope<'reservations'>
  | ResultEnvelope<'reload'>
  | ResultEnvelope<'rollback'>
  | ResultEnvelope<'stop'>
  | ResultEnvelope<'history'>
  | ResultEnvelope<'diff'>
  | ResultEnvelope<'status'>
  | ResultEnvelope<'doctor'>
  | ResultEnvelope<'advise'>
  | ResultEnvelope<'agent'>
  | ResultEnvelope<'completion'>
  | ErrorEnvelope;

export function resultEnvelope<V extends VerbName>(berth: string, verb: V, exit: number, result: Results[V]) {
  return { berth, schema: SCHEMA_VERSION, verb, ok: exit === 0, exit, result } satisfies ResultEnvelope<V>;
}

export function errorEnvelope(berth: string, verb: ErrorEnvelope['verb'], error: BerthError): ErrorEnvelope {
  const report = error.toJSON() as unknown as ErrorReport;
  return { berth, schema: SCHEMA_VERSION, verb, ok: false, exit: error.exitStatus, error: report };
}
