/**
 * What outlives the agent: systemd's descriptor store (sd_pid_notify_with_fds(3), FileDescriptorStoreMax= in
 * systemd.service(5)), what it gives back at the next start (sd_listen_fds(3)), and what such a descriptor is.
 */
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError, systemCause } from '../errors.js';
import type { Endpoint } from '../model/endpoint.js';
import { socketEndpoint } from '../model/socket.js';
import type { Descriptor } from '../reload/env.js';
import { native } from './addon.js';
import { kernelError } from './errors.js';
import { SocketTable } from './sockets.js';

/** SCM_MAX_FD (unix(7)). */
const MOST_PER_MESSAGE = 253;
const FIRST_PASSED = 3;
/** The receiver is behind, or too many descriptors are on their way: both pass. */
const PASSING = new Set(['EAGAIN', 'ENOBUFS', 'ETOOMANYREFS']);
const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 1000;

/**
 * Gives duplicates of the descriptors to the service manager, beside those that have the name already; a socket that it
 * has, under whatever name, it takes no second time. They stay until {@link removeStored}, or until the service is
 * stopped and not restarted. Beyond FileDescriptorStoreMax= it closes them in silence. The descriptors may be closed as
 * soon as this returns; the promise waits for as long as the service manager is too busy to take them.
 * @returns false where there is no service manager (NOTIFY_SOCKET)
 * @throws BERTH_KERNEL where it does not listen, BERTH_NO_DESCRIPTORS
 */
export async function storeDescriptors(
  name: string,
  descriptors: readonly Descriptor[],
  socket = process.env['NOTIFY_SOCKET'],
): Promise<boolean> {
  checkName(name);
  if (socket === undefined || socket === '') return false;
  // FDPOLL=0 (systemd 246): else it drops a socket that reports a hangup, as one that is bound and not listening does.
  const message = `FDSTORE=1\nFDNAME=${name}\nFDPOLL=0`;
  const turns: Promise<void>[] = [];
  for (let at = 0; at < descriptors.length; at += MOST_PER_MESSAGE) {
    turns.push(tell(socket, message, Int32Array.from(descriptors.slice(at, at + MOST_PER_MESSAGE))));
  }
  try {
    await Promise.all(turns);
    return true;
  } catch (error) {
    throw kernelError(error, 'keep', 'Cannot give descriptors to the service manager');
  }
}

/**
 * What was stored under this name is forgotten; until then a listening socket there takes connections for nobody.
 * @returns false where there is no service manager, or it does not listen
 */
export async function removeStored(name: string, socket = process.env['NOTIFY_SOCKET']): Promise<boolean> {
  checkName(name);
  if (socket === undefined || socket === '') return false;
  return tell(socket, `FDSTOREREMOVE=1\nFDNAME=${name}`, new Int32Array()).then(
    () => true,
    () => false,
  );
}

/** The end of the queue. One for all, in order: a removal must not overtake the storing of what it removes. */
let last: Promise<void> = Promise.resolve();
let waiting = 0;

/** One message; at once where nobody waits and the service manager keeps up: its queue is short (net.unix.max_dgram_qlen). */
async function tell(socket: string, message: string, descriptors: Int32Array): Promise<void> {
  if (waiting === 0 && isTaken(socket, message, descriptors)) return;
  const copies = native().copyDescriptors(descriptors);
  waiting++;
  const turn = last.then(() => insist(socket, message, copies));
  last = turn
    .catch(() => undefined)
    .finally(() => {
      waiting--;
      native().closeDescriptors(copies);
    });
  return turn;
}

async function insist(socket: string, message: string, descriptors: Int32Array): Promise<void> {
  for (let pause = FIRST_PAUSE_MS; !isTaken(socket, message, descriptors); pause *= 2) {
    await sleep(Math.min(pause, LONGEST_PAUSE_MS), undefined, { ref: false });
  }
}

function isTaken(socket: string, message: string, descriptors: Int32Array): boolean {
  try {
    native().notifyService(socket, message, descriptors);
    return true;
  } catch (error) {
    if (PASSING.has(systemCause(error)?.code ?? '')) return false;
    throw error;
  }
}

/** FDNAME, sd_pid_notify_with_fds(3): anything else would be taken for another line, or be refused in silence. */
function checkName(name: string): void {
  if (/^[ -9;-~]{1,255}$/.test(name)) return;
  const why = `"${name}" cannot name a stored descriptor: 1 to 255 printable ASCII characters without a colon`;
  throw new BerthError('BERTH_INTERNAL', why, { step: 'keep' });
}

export interface StoredDescriptor {
  readonly name: string;
  readonly fd: Descriptor;
}

/**
 * The sockets that the service manager kept for us, ours to close from now on; O_CLOEXEC. The second call has none. Only
 * what exists and is a socket: LISTEN_FDS counts whatever stands behind it, and behind 2 stand Node's own descriptors.
 */
export function takeStored(environment: NodeJS.ProcessEnv = process.env): StoredDescriptor[] {
  const { LISTEN_PID, LISTEN_FDS = '', LISTEN_FDNAMES } = environment;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) Reflect.deleteProperty(environment, name);
  // Left over from a parent that was meant: the variables are inherited, the descriptors need not be.
  if (LISTEN_PID !== String(process.pid) || !/^[1-9]\d{0,9}$/.test(LISTEN_FDS)) return [];
  const end = FIRST_PASSED + Number(LISTEN_FDS);
  const open = readdirSync('/proc/self/fd', { encoding: 'utf8' }).map(Number);
  const passed = open.filter((fd) => fd >= FIRST_PASSED && fd < end).sort((a, b) => a - b);
  const names = LISTEN_FDNAMES?.split(':') ?? [];
  // `unknown` is sd_listen_fds_with_names' own word for no name.
  return [...native().adoptSockets(Int32Array.from(passed))].map((fd) => ({
    name: names[fd - FIRST_PASSED] ?? 'unknown',
    fd,
  }));
}

/**
 * Milliseconds within which the service manager must hear WATCHDOG=1 (sd_watchdog_enabled(3): tell it at half of that);
 * undefined where it does not ask, or asks another process.
 */
export function watchdogIntervalMs(environment: NodeJS.ProcessEnv = process.env): number | undefined {
  const { WATCHDOG_USEC = '', WATCHDOG_PID } = environment;
  if (WATCHDOG_PID !== undefined && WATCHDOG_PID !== String(process.pid)) return undefined;
  return /^[1-9]\d{0,15}$/.test(WATCHDOG_USEC) ? Number(WATCHDOG_USEC) / 1000 : undefined;
}

export interface DescribedSocket {
  readonly fd: Descriptor;
  readonly inode: number;
  /** Without `namespace`: that is a name of HAProxy's, see `netns`. */
  readonly endpoint: Endpoint;
  /** listen(2) was called (SO_ACCEPTCONN); never so for UDP. */
  readonly listening: boolean;
  /** Inode of the socket's network namespace, as in ProcessInfo; absent where it may not be asked (CAP_NET_ADMIN there). */
  readonly netns?: string;
}

/** Where descriptors of this process are bound. Anything but a bound TCP, UDP or unix socket is left out. */
export function describeListeners(descriptors: readonly Descriptor[]): DescribedSocket[] {
  const { table, inet, local } = native().describeSockets(Int32Array.from(descriptors));
  const rows = new SocketTable(table);
  return [
    ...inet.map(([fd, listening, netns], i) => {
      const row = rows.row(i);
      return { ...facts(fd, row.inode, listening, netns), endpoint: socketEndpoint(row) };
    }),
    ...local.map(([fd, listening, netns, inode, abstract, path]) => ({
      ...facts(fd, inode, listening, netns),
      endpoint: { kind: 'unix', path, abstract } as const,
    })),
  ];
}

function facts(fd: number, inode: number, listening: boolean, netns: number) {
  return { fd, inode, listening, ...(netns === 0 ? {} : { netns: String(netns) }) };
}
