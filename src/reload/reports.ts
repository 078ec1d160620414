/** What each verb answers with: plain data, the same for the library, `--json` and the log. */
import type { SourcePlace, UnknownBind } from '../model/bind.js';
import type { Endpoint } from '../model/endpoint.js';
import type { Action, BindConflict, Plan } from '../model/plan.js';
import type { SocketOwner } from '../model/socket.js';
import type { Verdict } from '../model/verdict.js';
import type { AttemptReport } from './reports-serving.js';

export type * from './reports-serving.js';

export interface EphemeralFacts {
  /** net.ipv4.ip_local_port_range, both ends included. */
  readonly first: number;
  readonly last: number;
  /** Kernel list form of what is reserved now. */
  readonly reserved: string;
  /** 0..1, reserved part of the ephemeral range. */
  readonly reservedShare: number;
}

/** One listener of a preflight. */
export interface ListenerReport {
  readonly endpoint: Endpoint;
  /** `169.254.0.101:58824/tcp` */
  readonly name: string;
  readonly section?: string;
  readonly place?: SourcePlace;
  readonly verdict: Verdict;
  /** A reload would serve it (at once, or after what `sentence` says). */
  readonly servable: boolean;
  /** Can be taken by the kernel for an outgoing connection at any moment: in the ephemeral range and not reserved. */
  readonly exposed: boolean;
  /** What is the matter, who holds it, what to do; for people. */
  readonly sentence: string;
}

export interface PreflightReport {
  /** A reload would serve everything. */
  readonly ok: boolean;
  readonly listeners: readonly ListenerReport[];
  readonly unknown: readonly UnknownBind[];
  readonly conflicts: readonly BindConflict[];
  /** `haproxy -c` on these files; absent for bare endpoints. */
  readonly check?: { readonly ok: boolean; readonly messages: readonly string[] };
  readonly ephemeral: EphemeralFacts;
  readonly running?: HAProxyReport;
  readonly warnings: readonly string[];
}

export interface HAProxyReport {
  readonly pid: number;
  readonly masterPid?: number;
  readonly mode: 'standalone' | 'master-worker';
  readonly version?: string;
  readonly startedAt: string;
  /** Listening sockets; a preflight of bare endpoints, which must be fast, does not count them. */
  readonly listening?: number;
  readonly draining: readonly {
    readonly pid: number;
    readonly startedAt: string;
    readonly since?: string;
    readonly connections?: number;
  }[];
}

export interface PlanReport {
  readonly plan: Plan;
  readonly ephemeral: EphemeralFacts;
  readonly running?: HAProxyReport;
  readonly check: { readonly ok: boolean; readonly messages: readonly string[] };
}

export interface SecuredListener {
  readonly name: string;
  readonly action: Action;
  /** What stood in the way. */
  readonly cause: Verdict['kind'];
  readonly owners: readonly SocketOwner[];
  readonly sentence: string;
}

export interface QuarantinedListener {
  readonly name: string;
  readonly section: string;
  readonly place: SourcePlace;
  readonly verdict: Verdict;
  readonly sentence: string;
}

export interface ReloadReport {
  readonly outcome: 'served' | 'served-in-part';
  readonly generation: number;
  /** What was asked for could not go live and nothing served: this older generation serves in its place. */
  readonly insteadOf?: { readonly sources: readonly string[]; readonly error: NonNullable<AttemptReport['error']> };
  readonly previous?: number;
  readonly mode: 'standalone' | 'master-worker';
  readonly haproxy: { readonly pid: number; readonly oldPid?: number; readonly version: string };
  readonly listeners: {
    readonly served: number;
    readonly kept: number;
    /** Kept with the very inode of the old process. */
    readonly sameSocket: number;
    readonly opened: number;
    readonly closed: number;
  };
  readonly secured: readonly SecuredListener[];
  readonly quarantined: readonly QuarantinedListener[];
  readonly reserved: { readonly added: string; readonly removed: string };
  readonly repairs: readonly string[];
  readonly recovery?: RecoveryReport;
  readonly phases: readonly { readonly name: string; readonly ms: number }[];
  readonly warnings: readonly string[];
}

export interface RecoveryReport {
  /** What was found of the run that did not finish. */
  readonly found: string;
  readonly direction: 'back' | 'forward' | 'nothing';
  readonly done: readonly string[];
  readonly generation?: number;
}

export interface GenerationReport {
  readonly number: number;
  readonly createdAt: string;
  readonly state: string;
  readonly serving: boolean;
  readonly lastGood: boolean;
  readonly sources: readonly string[];
  readonly listeners: number;
  readonly quarantined: readonly string[];
  readonly reason?: string;
}

export interface HistoryReport {
  readonly generations: readonly GenerationReport[];
}

export interface DiffReport {
  readonly from: number;
  readonly to: number;
  readonly files: readonly {
    readonly file: string;
    readonly change: 'added' | 'removed' | 'changed';
    readonly patch: string;
  }[];
  readonly listeners: {
    readonly added: readonly string[];
    readonly removed: readonly string[];
    /** The same endpoint in another section. */
    readonly changed: readonly { readonly endpoint: string; readonly from: string; readonly to: string }[];
  };
}

export interface StatusReport {
  /** Every listener of the serving generation is in LISTEN and owned by the running HAProxy. */
  readonly ok: boolean;
  readonly running?: HAProxyReport;
  readonly generation?: GenerationReport;
  readonly listeners: {
    readonly wanted: number;
    readonly served: number;
    readonly missing: readonly string[];
    readonly extra: readonly string[];
  };
  readonly quarantined: readonly string[];
  /** The last reload; `failed` means that an older generation serves than was asked for. */
  readonly lastAttempt?: AttemptReport;
  readonly reservations: ReservationsReport;
  /** A transaction that did not finish; the next reload recovers it. */
  readonly unfinished?: string;
  readonly lock?: { readonly pid: number; readonly doing: string };
  /** Where an agent has this instance in its care. */
  readonly agent?: AgentReport;
}

/** The agent, as `status` shows it. */
export interface AgentReport {
  readonly version: string;
  readonly pid: number;
  readonly startedAt: string;
  readonly instance: string;
  readonly phase: 'starting' | 'idle' | 'working' | 'stopped' | 'failed';
  /** What it works on. */
  readonly doing?: string;
  /** Why this instance needs a person, if it does. */
  readonly problems: readonly string[];
}

export interface ReservationsReport {
  readonly ephemeral: EphemeralFacts;
  /** Kernel list form: in the kernel and in our ledger. */
  readonly ours: string;
  readonly foreign: string;
  /** In our ledger and no longer in the kernel: somebody overwrote them. */
  readonly lost: string;
}

export interface ReserveReport extends ReservationsReport {
  readonly added: string;
  readonly removed: string;
}

export interface Finding {
  readonly id: string;
  readonly level: 'ok' | 'note' | 'warning' | 'problem';
  readonly title: string;
  readonly facts: readonly string[];
  readonly advice?: string;
}

export interface DoctorReport {
  /** No finding of level `problem`. */
  readonly ok: boolean;
  readonly findings: readonly Finding[];
}

/** Progress of a reload, in the order of the sentence; the log, the progress line and the journal listen to these. */
export type ReloadEvent =
  | {
      readonly type: 'phase';
      readonly name: string;
      readonly state: 'begin' | 'end';
      readonly ms?: number;
      readonly text?: string;
    }
  | { readonly type: 'secured'; readonly listener: SecuredListener }
  | { readonly type: 'quarantined'; readonly listener: QuarantinedListener }
  | { readonly type: 'repair'; readonly text: string }
  | { readonly type: 'warning'; readonly text: string };

export type ReloadObserver = (event: ReloadEvent) => void;
