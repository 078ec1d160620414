/** Who holds a socket: from inodes to processes and their descriptors. */
import type { UnixEndpoint } from '../model/endpoint.js';
import type { SocketOwner } from '../model/socket.js';
import { native, type NamespaceId } from './addon.js';
import { kernelError } from './errors.js';
import { readStat, unitOf } from './process.js';

/**
 * inode → its holders. Searches all `hint` processes; then, if a socket is still without holder, all processes called
 * haproxy; then the others, until each has one. Inode 0 (TIME_WAIT, orphans) has none.
 */
export async function findOwners(
  id: NamespaceId,
  inodes: readonly number[],
  hint: readonly number[] = [],
): Promise<Map<number, SocketOwner[]>> {
  const owners = new Map<number, SocketOwner[]>();
  if (inodes.length === 0) return owners;
  const found = await native()
    .holders(id, Uint32Array.from(inodes), Int32Array.from(hint))
    .catch((error: unknown) => {
      throw kernelError(error, 'probe', 'Cannot look for the owners of sockets');
    });
  const triples = toTriples(found);
  const pids = [...new Set(triples.map(([, pid]) => pid))];
  const facts = new Map(pids.map((pid) => [pid, ownerFacts(pid)]));
  for (const [inode, pid, fd] of triples) {
    const owner = facts.get(pid);
    if (owner) append(owners, inode, { ...owner, pid, fd });
  }
  return owners;
}

function ownerFacts(pid: number): Omit<SocketOwner, 'pid' | 'fd'> | undefined {
  const [stat, unit] = [readStat(pid), unitOf(pid)];
  if (stat === undefined) return undefined;
  return { comm: stat.comm, startTicks: stat.startTicks, ...(unit === undefined ? {} : { unit }) };
}

/** All sockets of a process: inode → its descriptors there. Empty where the process is gone. */
export async function socketsOf(id: NamespaceId, pid: number): Promise<Map<number, number[]>> {
  const sockets = new Map<number, number[]>();
  const found = await native()
    .socketsOf(id, pid)
    .catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Uint32Array();
      throw kernelError(error, 'read', `Cannot list the descriptors of process ${pid}`, {
        EACCES: 'It needs CAP_SYS_PTRACE, or to run as the same user',
      });
    });
  for (let i = 0; i + 2 < found.length; i += 3) append(sockets, found[i] ?? 0, found[i + 2] ?? 0);
  return sockets;
}

export interface UnixListener {
  readonly endpoint: UnixEndpoint;
  readonly inode: number;
  readonly fd: number;
}

/** Listening unix sockets of a process, by the names under which they were bound (a later rename(2) does not show). */
export async function unixListenersOf(
  id: NamespaceId,
  pid: number,
  known?: ReadonlyMap<number, readonly number[]>,
): Promise<UnixListener[]> {
  const held = known ?? (await socketsOf(id, pid));
  const table = await native()
    .unixListeners(id)
    .catch((error: unknown) => {
      throw kernelError(error, 'read', 'Cannot read the table of unix sockets');
    });
  const listeners: UnixListener[] = [];
  for (let i = 0; i + 2 < table.length; i += 3) {
    const inode = Number(table[i]);
    const fd = held.get(inode)?.[0];
    if (fd === undefined) continue;
    const abstract = table[i + 1] === true;
    // HAProxy pads an abstract name with NULs to the length of sun_path.
    const path = abstract ? String(table[i + 2]).replace(/\0+$/, '') : String(table[i + 2]);
    listeners.push({ endpoint: { kind: 'unix', path, abstract }, inode, fd });
  }
  return listeners;
}

function toTriples(words: Uint32Array): [number, number, number][] {
  const triples: [number, number, number][] = [];
  for (let i = 0; i + 2 < words.length; i += 3) triples.push([words[i] ?? 0, words[i + 1] ?? 0, words[i + 2] ?? 0]);
  return triples;
}

function append<T>(lists: Map<number, T[]>, key: number, item: T): void {
  const list = lists.get(key);
  if (list) list.push(item);
  else lists.set(key, [item]);
}
