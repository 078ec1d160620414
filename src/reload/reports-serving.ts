/** Answers about what serves: processes, listeners one by one, stops and restarts. */
import type { SourcePlace } from '../model/bind.js';
import type { ListenerReport } from './reports.js';

/** One HAProxy process. */
export interface ProcessReport {
  readonly pid: number;
  readonly startTicks: string;
  /** `stray`: listens where this host's generations do, and none of them knows it. */
  readonly role: 'serving' | 'master' | 'draining' | 'stray';
  readonly startedAt: string;
  /** When Berth told it to finish, ISO. */
  readonly since?: string;
  /** Connections that it still has, clients' and backends'. */
  readonly connections: number;
  /** Kernel list form of the local ports that these hold. */
  readonly ports: string;
  readonly residentBytes?: number;
  readonly openFiles?: number;
  /** systemd unit or container. */
  readonly unit?: string;
}

export interface ProcessesReport {
  /** The serving one first, then the draining ones, oldest first, then strays. */
  readonly processes: readonly ProcessReport[];
}

/** One listener of the serving generation. */
export interface ListenerStateReport {
  /** `169.254.0.101:58824/tcp` */
  readonly name: string;
  readonly section: string;
  readonly place?: SourcePlace;
  readonly state: 'served' | 'missing' | 'quarantined';
  /** Of the listening socket. */
  readonly inode?: number;
}

export interface ListenersReport {
  readonly generation?: number;
  readonly total: number;
  /** Sorted by name. */
  readonly listeners: readonly ListenerStateReport[];
  /** Pass it as `after` to get the next page; absent on the last. */
  readonly next?: string;
}

/** Listeners that cannot be served as things are, with the holder of each port. */
export interface ConflictsReport {
  readonly listeners: readonly ListenerReport[];
}

export interface StopReport {
  /** The HAProxy that was told to stop; absent where none ran. */
  readonly pid?: number;
  readonly how: 'soft' | 'hard';
  /** It is gone; a soft stop leaves it running until its last connection has ended. */
  readonly ended: boolean;
  readonly connections: number;
}

/** A HAProxy that died was started again with the sockets that the keeper held. */
export interface ReviveReport {
  readonly generation: number;
  readonly pid: number;
  readonly listeners: number;
  /** Listeners that run on the very socket that the dead one had. */
  readonly sameSocket: number;
  readonly ms: number;
  readonly warnings: readonly string[];
}

/** How the last reload, rollback or restart went; kept in the state directory until the next. */
export interface AttemptReport {
  readonly at: string;
  readonly reason: string;
  readonly outcome: 'served' | 'served-in-part' | 'failed';
  readonly sources: readonly string[];
  /** Where it failed. */
  readonly error?: { readonly code: string; readonly step: string; readonly message: string; readonly advice: string };
  /** Served instead of what was asked for. */
  readonly instead?: number;
}
