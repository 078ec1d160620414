import type { Endpoint } from './endpoint.js';

/** A place in the user's configuration; `file` as the user wrote or as HAProxy would print it, `line` from 1. */
export interface SourcePlace {
  readonly file: string;
  readonly line: number;
}

/** One socket that the configuration asks for: one address and one port of a `bind` (or of what binds elsewhere). */
export interface Bind {
  readonly endpoint: Endpoint;
  /** What asked for it. */
  readonly origin: 'bind' | 'dgram-bind' | 'stats-socket' | 'peer' | 'log-forward' | 'quic';
  /** Section as written: `listen web`, `frontend 4fad…`, `global`, `peers p1`. */
  readonly section: string;
  readonly place: SourcePlace;
  /** The address word as written, e.g. `${VIP}:8000-8010`. */
  readonly text: string;
  /** How many sockets on this endpoint: `shards N`; 1 where not said. `shards by-thread` is already resolved where nbthread is known. */
  readonly sockets: number;
  /** False under `noreuseport` / `-dR`: HAProxy then binds with SO_REUSEADDR only. */
  readonly reusePort: boolean;
  /** `v4v6` is written: the socket is the same as without, but HAProxy 2.2 compares the word (see reload/match.ts). */
  readonly v4v6?: true;
  /** The line could say `v6only` as well: HAProxy then takes this listener's socket over (see reload/v6only.ts). */
  readonly v6onlyFits?: true;
}

/** A bind that only HAProxy itself can resolve (`fd@3`, a host name, `sockpair@`, `rhttp@`, a condition on a feature). */
export interface UnknownBind {
  readonly text: string;
  readonly section: string;
  readonly place: SourcePlace;
  readonly reason: string;
}

/** What of the configuration matters to Berth, read from the files alone. */
export interface Listeners {
  readonly binds: readonly Bind[];
  readonly unknown: readonly UnknownBind[];
  readonly global: GlobalFacts;
  /** Files read, in HAProxy's order. */
  readonly files: readonly string[];
  readonly warnings: readonly (SourcePlace & { readonly message: string })[];
}

/** Of `global` (undefined: not set). */
export interface GlobalFacts {
  readonly nbthread?: number;
  readonly maxconn?: number;
  readonly user?: string;
  readonly group?: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly chroot?: string;
  readonly pidfile?: string;
  readonly masterWorker: boolean;
  readonly noReusePort: boolean;
  readonly hardStopAfter?: string;
  readonly statsSockets: readonly StatsSocket[];
}

export interface StatsSocket {
  /** As bound: path, `host:port` text, … */
  readonly address: string;
  readonly exposeFdListeners: boolean;
  readonly level: 'user' | 'operator' | 'admin';
  readonly place: SourcePlace;
}
