/** The kernel's socket tables: sock_diag(7), or /proc/thread-self/net where that is missing. */
import type { SocketRow, SocketState } from '../model/socket.js';
import type { Transport } from '../model/endpoint.js';
import { formatIPv4, formatIPv6 } from './address.js';
import { native, type NamespaceId, type SocketRows } from './addon.js';
import { kernelError } from './errors.js';

/** linux/tcp_states.h; index is the number. */
const STATES: readonly (SocketState | undefined)[] = [
  undefined,
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RECV',
  'FIN_WAIT1',
  'FIN_WAIT2',
  'TIME_WAIT',
  'CLOSE',
  'CLOSE_WAIT',
  'LAST_ACK',
  'LISTEN',
  'CLOSING',
  'NEW_SYN_RECV',
  'BOUND',
];

const TIME_WAIT = 6;
const CLOSED = 7;
const LISTEN = 10;
const BOUND = 13;
const UDP_UNCONNECTED = 7;
const TIMER_TIME_WAIT = 3;
const ALL_STATES = 0xffffffff;
/** What a process can hold and what is no listener. */
export const CONNECTIONS = (ALL_STATES & ~((1 << TIME_WAIT) | (1 << CLOSED) | (1 << LISTEN) | (1 << BOUND))) >>> 0;
export const NOT_SILENT = (ALL_STATES & ~(1 << BOUND)) >>> 0;

/** Bytes of struct SocketRow (native/kernel.h). */
const ROW = 80;

export type TableSource = 'auto' | 'sock_diag' | 'proc';
const SOURCES = { auto: 0, sock_diag: 1, proc: 2 } as const;

/** A socket table as the kernel gave it. Rows are made when asked for: 100000 of them are 8 MB, as objects ten times that. */
export class SocketTable {
  readonly length: number;
  /** Read from /proc: no bound-and-silent TCP sockets, no cookies, no devices. */
  readonly fromProc: boolean;
  readonly #bytes: Uint8Array;
  readonly #halves: Uint16Array;
  readonly #words: Uint32Array;
  readonly #longs: BigUint64Array;
  readonly #devices = new Map<number, string>();

  constructor(table: SocketRows) {
    this.#bytes = new Uint8Array(table.rows);
    this.#halves = new Uint16Array(table.rows);
    this.#words = new Uint32Array(table.rows);
    this.#longs = new BigUint64Array(table.rows);
    this.length = table.rows.byteLength / ROW;
    this.fromProc = table.fromProc;
    for (let i = 0; i + 1 < table.devices.length; i += 2) {
      this.#devices.set(Number(table.devices[i]), String(table.devices[i + 1]));
    }
  }

  localPort(i: number): number {
    return this.#halves[(i * ROW + 64) / 2] ?? 0;
  }

  inode(i: number): number {
    return this.#words[(i * ROW + 48) / 4] ?? 0;
  }

  state(i: number): SocketState {
    const state = STATES[this.#bytes[i * ROW + 70] ?? 0] ?? 'CLOSE';
    return state === 'CLOSE' && this.#bytes[i * ROW + 69] === 1 ? 'UNCONN' : state;
  }

  row(i: number): SocketRow {
    const at = i * ROW;
    const family = this.#bytes[at + 68] === 6 ? 6 : 4;
    const format = family === 6 ? formatIPv6 : formatIPv4;
    const cookie = this.#longs[at / 8] ?? 0n;
    const cgroup = this.#longs[at / 8 + 1] ?? 0n;
    const device = this.#devices.get(this.#words[(at + 60) / 4] ?? 0);
    const v6only = this.#bytes[at + 72] ?? 2;
    const transparent = this.#bytes[at + 73] ?? 2;
    const row: { -readonly [K in keyof SocketRow]: SocketRow[K] } = {
      transport: this.#bytes[at + 69] === 1 ? 'udp' : 'tcp',
      family,
      state: this.state(i),
      localAddress: format(this.#bytes, at + 16),
      localPort: this.localPort(i),
      remoteAddress: format(this.#bytes, at + 32),
      remotePort: this.#halves[(at + 66) / 2] ?? 0,
      inode: this.inode(i),
      uid: this.#words[(at + 52) / 4] ?? 0,
    };
    // Assigned, not spread: thousands of rows are made in a process that has just been started.
    if (cookie !== 0n) row.cookie = cookie.toString();
    if (device !== undefined) row.device = device;
    if (v6only !== 2) row.v6only = v6only === 1;
    if (transparent !== 2) row.transparent = transparent === 1;
    if (this.#bytes[at + 71] === TIMER_TIME_WAIT) row.expiresMs = this.#words[(at + 56) / 4] ?? 0;
    if (cgroup !== 0n) row.cgroupId = cgroup.toString();
    return row;
  }

  /** inode → local port, of those of these inodes that are there. */
  portsOf(inodes: ReadonlySet<number>): Map<number, number> {
    const found = new Map<number, number>();
    for (let i = 0; i < this.length; i++) {
      const inode = this.inode(i);
      if (inodes.has(inode)) found.set(inode, this.localPort(i));
    }
    return found;
  }

  /** Row after row, each made when it is asked for. */
  *each(): Generator<SocketRow, void> {
    for (let i = 0; i < this.length; i++) yield this.row(i);
  }

  rows(): SocketRow[] {
    return Array.from({ length: this.length }, (_, i) => this.row(i));
  }
}

export interface TableQuery {
  readonly transport: Transport;
  /** Bits 1 << state; all where not given. */
  readonly states?: number;
  /** Local ports; all where not given. */
  readonly ports?: readonly number[];
  readonly source?: TableSource;
}

/** Absence of a socket is a hint, not a proof: no table is an atomic snapshot. */
export async function readTable(id: NamespaceId, query: TableQuery): Promise<SocketTable> {
  const { transport, states = ALL_STATES, ports, source = 'auto' } = query;
  try {
    return new SocketTable(
      await native().sockets(id, transport === 'udp', states, ports ? Uint16Array.from(ports) : null, SOURCES[source]),
    );
  } catch (error) {
    throw kernelError(error, 'probe', 'Cannot read the socket tables');
  }
}

/** Inodes of the TCP sockets in LISTEN, or of the unconnected UDP sockets; no row is made. */
export async function listeningInodes(
  id: NamespaceId,
  transport: Transport,
  source: TableSource = 'auto',
): Promise<number[]> {
  const table = await readTable(id, {
    transport,
    states: 1 << (transport === 'tcp' ? LISTEN : UDP_UNCONNECTED),
    source,
  });
  return Array.from({ length: table.length }, (_, i) => table.inode(i));
}

/**
 * LISTEN and bound-and-silent TCP sockets, unconnected UDP sockets.
 * @param silent false: without the silent ones, for which the kernel walks every bound port of the host (25 ms among
 *   100k connections, where LISTEN takes 1)
 */
export async function boundSockets(
  id: NamespaceId,
  source: TableSource = 'auto',
  { silent = true }: { readonly silent?: boolean } = {},
): Promise<SocketRow[]> {
  const [tcp, udp] = await Promise.all([
    readTable(id, { transport: 'tcp', states: (1 << LISTEN) | (silent ? 1 << BOUND : 0), source }),
    readTable(id, { transport: 'udp', states: 1 << UDP_UNCONNECTED, source }),
  ]);
  return [...tcp.rows(), ...udp.rows()];
}

/**
 * SOCK_DESTROY (needs CAP_NET_ADMIN and CONFIG_INET_DIAG_DESTROY). A socket that has gone by itself is no error.
 * @throws BERTH_PERMISSION, BERTH_KERNEL
 */
export async function destroySocket(id: NamespaceId, row: SocketRow): Promise<void> {
  const doing = `Cannot destroy the ${row.state} socket ${row.localAddress}:${row.localPort} -> ${row.remoteAddress}:${row.remotePort}`;
  if (row.cookie === undefined) {
    throw kernelError(new Error('sock_diag is missing, so that there is no cookie to tell it by'), 'secure', doing);
  }
  try {
    await native().destroySocket(
      id,
      row.transport === 'udp',
      row.family === 6,
      row.localAddress,
      row.localPort,
      row.remoteAddress,
      row.remotePort,
      row.device ?? '',
      row.cookie,
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw kernelError(error, 'secure', doing, {
      EPERM: 'It needs CAP_NET_ADMIN in the network namespace',
      EOPNOTSUPP: 'The kernel is built without CONFIG_INET_DIAG_DESTROY',
    });
  }
}
