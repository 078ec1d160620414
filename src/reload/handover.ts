/**
 * The handover to a standalone HAProxy. It is started with `-x` on a socket of ours and without `-sf`, so that a failure
 * neither pauses nor ends the one that serves (HAProxy 2.2 to 3.2: a failing `-sf` start takes all listeners out of LISTEN
 * for seconds). It gets the old process' listening sockets and our guards, finds all of them bound, and calls listen().
 */
import { fstatSync, rmSync } from 'node:fs';
import { BerthError, toBerthError } from '../errors.js';
import type { Endpoint } from '../model/endpoint.js';
import type { ServedSocket } from '../model/plan.js';
import type { ReloadContext } from './context.js';
import type {
  Descriptor,
  HAProxyCommand,
  HandedSocket,
  HandoffServer,
  Kernel,
  RunningHAProxy,
  StartedHAProxy,
} from './env.js';

export interface HandoverPaths {
  /** Our own `_getsocks` socket; removed afterwards. */
  readonly handoff: string;
  /** HAProxy's `-p`; moved to its place at commit. */
  readonly pidFile: string;
  /** The private stats socket that the generation's own configuration file names; we bind it, HAProxy gets it. */
  readonly statsSocket: string;
}

export interface Guard {
  readonly endpoint: Endpoint;
  readonly descriptor: Descriptor;
}

export interface OldProcess {
  readonly running: RunningHAProxy;
  readonly served: readonly ServedSocket[];
  /** Stats sockets with `expose-fd listeners` that may be this process', the likeliest first. */
  readonly statsSockets: readonly string[];
}

interface KnownSocket extends HandedSocket {
  readonly inode: number;
}

/** HAProxy waits at most 1 s for each message of `_getsocks`; its own stats socket gets as long to answer us. */
const GETSOCKS_TIMEOUT_MS = 1000;

/**
 * Start the new HAProxy beside the old one with all sockets. On a throw nothing of the new one is left and the old one
 * has not noticed anything. Duplicates of the old sockets are closed either way; guards stay the caller's.
 * @param order inodes in the order of the configuration: what the new one is going to look for first, first
 */
export async function handOver(
  env: Pick<ReloadContext, 'kernel' | 'haproxy' | 'settings' | 'signal'>,
  command: HAProxyCommand,
  paths: HandoverPaths,
  old: OldProcess | undefined,
  guards: readonly Guard[],
  order: readonly number[] = [],
): Promise<StartedHAProxy> {
  const { kernel } = env;
  const own: Descriptor[] = [];
  let server: HandoffServer | undefined;
  try {
    const taken = old ? await takeListeningSockets(kernel, old) : [];
    own.push(...taken.map(({ descriptor }) => descriptor));
    rmSync(paths.statsSocket, { force: true });
    const stats = await kernel.bindUnix(paths.statsSocket);
    own.push(stats);
    const fresh = [...guards.map(handedGuard), { descriptor: stats, namespace: '', device: '' }];
    const handed = [...taken, ...fresh.map((one) => ({ ...one, inode: inodeOf(one.descriptor) }))];
    server = await kernel.serveSockets(paths.handoff, lastFirst(handed, order));
    return await startOnce(env, command, paths, server);
  } finally {
    try {
      await server?.stop();
    } finally {
      kernel.close(own);
    }
  }
}

/**
 * HAProxy puts each socket that it gets at the head of a list, and searches the list from its head for every bind
 * (src/sock.c, sock_get_old_sockets(), sock_find_compatible_fd()): in the opposite order each is found at once, in any other
 * 19000 binds look at 180 million sockets.
 */
function lastFirst(handed: readonly KnownSocket[], order: readonly number[]): HandedSocket[] {
  const place = new Map(order.map((inode, at) => [inode, at]));
  const placeOf = ({ inode }: KnownSocket): number => place.get(inode) ?? order.length;
  return [...handed].sort((one, other) => placeOf(other) - placeOf(one));
}

/** A new process that found no answer within HAProxy's own second is started once more: nothing has changed by the try. */
async function startOnce(
  env: Pick<ReloadContext, 'haproxy' | 'settings' | 'signal'>,
  command: HAProxyCommand,
  paths: HandoverPaths,
  server: HandoffServer,
): Promise<StartedHAProxy> {
  const start = () =>
    env.haproxy.start(command, {
      pidFile: paths.pidFile,
      handoff: server.path,
      mode: 'standalone',
      timeoutMs: env.settings.timeouts.startMs,
      ...(env.signal ? { signal: env.signal } : {}),
    });
  try {
    return await start();
  } catch (error) {
    const missed = toBerthError(error, 'hand-over');
    if (!/sockets? (from|to be transferred)/i.test(missed.message) || env.signal?.aborted) throw missed;
    return await start();
  }
}

/**
 * Duplicates of the listening sockets of the old process: by HAProxy's own `_getsocks` where one of its stats sockets
 * answers with just these, else by pidfd_getfd(2) (CAP_SYS_PTRACE; not under Yama ptrace_scope 3).
 */
async function takeListeningSockets(kernel: Kernel, old: OldProcess): Promise<KnownSocket[]> {
  const wanted = new Map(old.served.map((socket) => [socket.inode, socket]));
  for (const path of old.statsSockets) {
    const sockets = await askForSockets(kernel, path, wanted);
    if (sockets) return sockets;
  }
  const duplicates = await kernel.duplicate(old.running.worker, [...wanted.keys()]);
  if (duplicates.size < wanted.size) {
    kernel.close([...duplicates.values()]);
    throw new BerthError(
      'BERTH_HANDOFF',
      `Only ${duplicates.size} of ${wanted.size} listening sockets of haproxy[${old.running.worker.pid}] could be taken over`,
      { step: 'hand-over', advice: 'Give Berth CAP_SYS_PTRACE, or declare a stats socket with expose-fd listeners' },
    );
  }
  return [...duplicates].map(([inode, descriptor]) => ({ inode, ...handed(descriptor, wanted.get(inode)?.endpoint) }));
}

/** undefined where the socket does not answer, or answers with other sockets than the kernel shows for the process. */
async function askForSockets(
  kernel: Kernel,
  path: string,
  wanted: ReadonlyMap<number, ServedSocket>,
): Promise<KnownSocket[] | undefined> {
  let descriptors: Descriptor[];
  try {
    descriptors = await kernel.getsocks(path, GETSOCKS_TIMEOUT_MS);
  } catch {
    return undefined;
  }
  const found = new Map(descriptors.map((descriptor) => [inodeOf(descriptor), descriptor]));
  const taken = [...wanted].flatMap(([inode, { endpoint }]) => {
    const descriptor = found.get(inode);
    return descriptor === undefined ? [] : [{ inode, ...handed(descriptor, endpoint) }];
  });
  const complete = taken.length === wanted.size;
  const used = new Set(complete ? taken.map(({ descriptor }) => descriptor) : []);
  kernel.close(descriptors.filter((descriptor) => !used.has(descriptor)));
  return complete ? taken : undefined;
}

export function handedGuard({ endpoint, descriptor }: Guard): HandedSocket {
  return handed(descriptor, endpoint);
}

/** HAProxy takes a handed socket only where namespace and interface are the bind's own (src/sock.c sock_find_compatible_fd). */
function handed(descriptor: Descriptor, endpoint: Endpoint | undefined): HandedSocket {
  const inet = endpoint?.kind === 'inet' ? endpoint : undefined;
  return { descriptor, namespace: inet?.namespace ?? '', device: inet?.device ?? '' };
}

/** 0 for what is no socket: a file system of a stranger's can give a file the inode number of any socket. */
export function inodeOf(descriptor: Descriptor): number {
  const found = fstatSync(descriptor);
  return found.isSocket() ? found.ino : 0;
}
