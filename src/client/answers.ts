/** What the agent's API answers with, beside the reports that the library and `--json` share. */
import type { AgentEvent, HealthReport, InstanceState, Unchanged } from '../agent/contract.js';
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
import type { ErrorCode, SystemCause } from '../errors.js';

/** The agent and the instances in its care. */
export interface InstancesReport {
  /** Version of Berth that the agent runs. */
  readonly version: string;
  readonly pid: number;
  readonly startedAt: string;
  readonly instances: readonly InstanceReport[];
}

export interface InstanceReport {
  readonly name: string;
  readonly stateDir: string;
  /** What it watches, as given to haproxy -f. */
  readonly sources: readonly string[];
  readonly pidFile?: string;
  /** HAProxy's -C, where the settings name it. */
  readonly workingDirectory?: string;
  readonly state: InstanceState;
}

/** The settings in effect of one instance. */
export interface SettingsReport {
  readonly instance: string;
  readonly settings: Settings;
}

/** For the agent that takes this one's place. */
export interface HandOverReport {
  readonly pid: number;
  readonly instances: readonly {
    readonly name: string;
    /** Unix socket on which HAProxy's `_getsocks` gets the listening sockets, for half a minute. */
    readonly socket: string;
  }[];
}

export interface LogLevelReport {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';
}

/** A BerthError as the body of an answer. */
export interface ErrorAnswer {
  readonly code: ErrorCode;
  readonly step: string;
  readonly message: string;
  readonly advice: string;
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: SystemCause;
}

/** Bodies of answers; `docs/openapi.json` has them by these names. */
export interface Reports {
  readonly PreflightReport: PreflightReport;
  readonly PlanReport: PlanReport;
  readonly ReloadReport: ReloadReport;
  readonly ReloadAnswer: ReloadAnswer;
  readonly StopReport: StopReport;
  readonly ReserveReport: ReserveReport;
  readonly StatusReport: StatusReport;
  readonly HistoryReport: HistoryReport;
  readonly DiffReport: DiffReport;
  readonly ListenersReport: ListenersReport;
  readonly ReservationsReport: ReservationsReport;
  readonly ConflictsReport: ConflictsReport;
  readonly ProcessesReport: ProcessesReport;
  readonly DoctorReport: DoctorReport;
  readonly InstancesReport: InstancesReport;
  readonly InstanceState: InstanceState;
  readonly LogLevelReport: LogLevelReport;
  readonly HandOverReport: HandOverReport;
  readonly HealthReport: HealthReport;
  readonly AgentEvent: AgentEvent;
  readonly ReloadEvent: ReloadEvent;
  readonly ErrorAnswer: ErrorAnswer;
}

/** And the settings, whose schema is their own. */
export interface Answers extends Reports {
  readonly SettingsReport: SettingsReport;
}

/** `unchanged` only where it was asked for (`ifChanged`). */
export type ReloadAnswer = ReloadReport | Unchanged;
