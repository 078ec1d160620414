/** Descriptors that change hands: duplicates of another process's sockets, and HAProxy's `_getsocks` from both sides. */
import type { SocketOwner, SocketRow } from '../model/socket.js';
import type { Descriptor, HandedSocket, HandoffServer } from '../reload/env.js';
import { native, type NamespaceId } from './addon.js';
import { kernelError } from './errors.js';

const PTRACE = 'It needs CAP_SYS_PTRACE over that process (and Yama ptrace_scope below 3)';
const PIDFD = { EPERM: PTRACE, EACCES: PTRACE, ENOSYS: 'It needs Linux 5.6 (pidfd_getfd)' };

/** Set SO_REUSEADDR on the holder's own socket. ESTALE or ESRCH in the cause: socket or process have gone meanwhile. */
export async function shareSocket(id: NamespaceId, owner: SocketOwner, socket: SocketRow): Promise<void> {
  const { localAddress, localPort } = socket;
  try {
    await native().share(id, owner.pid, Number(owner.startTicks), owner.fd, socket.inode);
  } catch (error) {
    const whose = `${owner.comm}[${owner.pid}]`;
    throw kernelError(error, 'secure', `Cannot share ${localAddress}:${localPort} with its holder ${whose}`, PIDFD);
  }
}

/** Duplicates of these sockets of a process, by inode; sockets that it no longer has are absent. */
export async function duplicateSockets(
  id: NamespaceId,
  owner: { readonly pid: number; readonly startTicks: string },
  inodes: readonly number[],
): Promise<Map<number, Descriptor>> {
  try {
    const pairs = await native().duplicate(id, owner.pid, Number(owner.startTicks), Uint32Array.from(inodes));
    const copies = new Map<number, Descriptor>();
    for (let i = 0; i + 1 < pairs.length; i += 2) copies.set(pairs[i] ?? 0, pairs[i + 1] ?? -1);
    return copies;
  } catch (error) {
    throw kernelError(error, 'hand-over', `Cannot duplicate the sockets of process ${owner.pid}`, PIDFD);
  }
}

export function closeDescriptors(descriptors: readonly Descriptor[]): void {
  if (descriptors.length > 0) native().closeDescriptors(Int32Array.from(descriptors));
}

/**
 * The listening sockets of the process behind a stats socket with `expose-fd listeners` (HAProxy src/cli.c _getsocks).
 * @throws BERTH_TIMEOUT where it is silent, BERTH_HAPROXY_SOCKET where it answers as no HAProxy does.
 */
export async function getsocks(id: NamespaceId, path: string, timeoutMs: number): Promise<Descriptor[]> {
  try {
    return [...(await native().getsocks(id, path, timeoutMs))];
  } catch (error) {
    throw kernelError(
      error,
      'hand-over',
      `${path} did not hand over its sockets`,
      {
        EPROTO: 'Its answer is not that of a stats socket with expose-fd listeners',
        ECONNREFUSED: 'Nobody listens there any more',
        ENAMETOOLONG: 'A path of a unix socket has at most 107 bytes',
      },
      'BERTH_HAPROXY_SOCKET',
    );
  }
}

/** A unix stream socket bound to `path` with mode 0600, not listening. */
export async function bindUnix(id: NamespaceId, path: string): Promise<Descriptor> {
  try {
    return await native().bindUnix(id, path);
  } catch (error) {
    throw kernelError(error, 'hand-over', `Cannot bind ${path}`, {}, 'BERTH_HANDOFF');
  }
}

/**
 * Serve `_getsocks` at `path` on a thread of its own, to root and to this process's user. The descriptors must stay
 * open until `stop`, which removes the socket if it is still ours.
 */
export function serveSockets(path: string, sockets: readonly HandedSocket[]): HandoffServer {
  const start = () => {
    try {
      return native().serveSockets(
        path,
        process.geteuid?.() ?? 0,
        Int32Array.from(sockets, ({ descriptor }) => descriptor),
        sockets.map(({ namespace }) => namespace),
        sockets.map(({ device }) => device),
      );
    } catch (error) {
      throw kernelError(error, 'hand-over', `Cannot serve the sockets at ${path}`, {}, 'BERTH_HANDOFF');
    }
  };
  const server = start();
  let final: number | undefined;
  return {
    path,
    served: () => final ?? native().serverServed(server),
    stop: () => {
      final ??= native().stopServer(server);
      return Promise.resolve();
    },
  };
}
