import type { InetEndpoint, Transport } from './endpoint.js';

/** State names as ss(8) and tcp(7) have them; BOUND is bound and silent (BOUND_INACTIVE, kernel >= 6.8), UDP sockets are UNCONN or ESTABLISHED. */
export type SocketState =
  | 'ESTABLISHED'
  | 'SYN_SENT'
  | 'SYN_RECV'
  | 'FIN_WAIT1'
  | 'FIN_WAIT2'
  | 'TIME_WAIT'
  | 'CLOSE'
  | 'CLOSE_WAIT'
  | 'LAST_ACK'
  | 'LISTEN'
  | 'CLOSING'
  | 'NEW_SYN_RECV'
  | 'BOUND'
  | 'UNCONN';

/** One row of the kernel's socket table (sock_diag(7), or /proc/net/{tcp,tcp6,udp,udp6} where that is missing). */
export interface SocketRow {
  readonly transport: Transport;
  readonly family: 4 | 6;
  readonly state: SocketState;
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** 0 for TIME_WAIT and for orphans: nobody owns them. */
  readonly inode: number;
  /** uid at socket(), not the present uid of the owner. */
  readonly uid: number;
  /** sock_diag's cookie as a decimal string; absent from /proc. */
  readonly cookie?: string;
  /** Device bound to (SO_BINDTODEVICE); absent from /proc. */
  readonly device?: string;
  /** HAProxy's `namespace NAME`, for rows of another network namespace than its own. */
  readonly namespace?: string;
  /** IPV6_V6ONLY, where the kernel tells. */
  readonly v6only?: boolean;
  /** IP_TRANSPARENT, where the kernel tells (INET_DIAG_SOCKOPT). */
  readonly transparent?: boolean;
  /** Milliseconds that the kernel still keeps a TIME_WAIT or an orphaned FIN_WAIT2 (idiag_expires, kernel timer slack <= 1.1 s). */
  readonly expiresMs?: number;
  /** cgroup v2 id as a decimal string, where the kernel tells. */
  readonly cgroupId?: string;
}

/** A process that holds a socket. */
export interface SocketOwner {
  readonly pid: number;
  /** Descriptor number in that process. */
  readonly fd: number;
  /** /proc/PID/comm */
  readonly comm: string;
  /** Start time of the process in clock ticks since boot (/proc/PID/stat field 22), so that a recycled pid is told. */
  readonly startTicks: string;
  /** systemd unit or container from /proc/PID/cgroup, where there is one. */
  readonly unit?: string;
}

/** The place that a socket of the tables takes; a `::` of which the kernel does not tell IPV6_V6ONLY counts as dual stack. */
export function socketEndpoint(row: SocketRow): InetEndpoint {
  return {
    kind: 'inet',
    transport: row.transport,
    family: row.family,
    address: row.localAddress,
    port: row.localPort,
    v6only: row.family === 6 && row.v6only === true,
    transparent: row.transparent === true,
    ...(row.device === undefined ? {} : { device: row.device }),
    ...(row.namespace === undefined ? {} : { namespace: row.namespace }),
  };
}

/** Waits for connections or datagrams, as against being one end of a connection. */
export function isListener(row: SocketRow): boolean {
  return row.state === 'LISTEN' || row.state === 'UNCONN';
}

/** No process owns it: it is the kernel's own memory of a connection (TIME_WAIT, or closed by its owner and not yet over). */
export function isOwnerless(row: SocketRow): boolean {
  return row.inode === 0;
}
