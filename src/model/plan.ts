import type { Bind, UnknownBind } from './bind.js';
import type { Endpoint } from './endpoint.js';
import type { SocketOwner } from './socket.js';
import type { Verdict } from './verdict.js';

/** A listening (or, for UDP, bound) socket of the running HAProxy. */
export interface ServedSocket {
  readonly endpoint: Endpoint;
  readonly inode: number;
  readonly owner: SocketOwner;
}

/** A bind with what the kernel says about it. */
export interface PlannedBind {
  readonly bind: Bind;
  readonly verdict: Verdict;
}

export interface KeptBind {
  readonly bind: Bind;
  readonly served: readonly ServedSocket[];
  /** False where HAProxy does not take the handed socket (IPv6 specific address, changed interface, …; see `why`): it binds anew beside a guard. */
  readonly handedOver: boolean;
  readonly why?: string;
}

export type Action = 'guard' | 'share' | 'wait' | 'destroy' | 'quarantine' | 'abort';

/** What is done to secure one new bind. `rungs` is the ladder in the order in which it is climbed. */
export interface SecureStep extends PlannedBind {
  readonly rungs: readonly Action[];
  readonly reason: string;
}

/** What a reload would do, complete before anything is touched. */
export interface Plan {
  readonly keep: readonly KeptBind[];
  readonly open: readonly SecureStep[];
  readonly close: readonly ServedSocket[];
  /** Binds whose ports nothing on the ladder frees; their one rung says what then: `quarantine` leaves them out, `abort` stops. */
  readonly quarantine: readonly SecureStep[];
  readonly unknown: readonly UnknownBind[];
  /** Kernel list form of what is added to and taken from ip_local_reserved_ports. */
  readonly reserve: { readonly add: string; readonly remove: string; readonly share: number };
  /** Binds of one configuration that exclude each other. */
  readonly conflicts: readonly BindConflict[];
  /** Lines that `harden: source` adds: section by section. */
  readonly harden: readonly {
    readonly section: string;
    readonly file: string;
    readonly line: number;
    readonly added: string;
  }[];
  readonly warnings: readonly string[];
}

export interface BindConflict {
  readonly first: Bind;
  readonly second: Bind;
  readonly reason: string;
}
