/** The kernel, as `reload/env.ts` asks for it: one network namespace, all calls off the event loop. */
import type { SocketRow } from '../model/socket.js';
import type { Kernel } from '../reload/env.js';
import { native, type NamespaceId } from './addon.js';
import { kernelError } from './errors.js';
import * as handoff from './handoff.js';
import { namespaceKey } from './ledger.js';
import { findOwners, socketsOf, unixListenersOf } from './owners.js';
import { unixListenerAt } from './unix.js';
import { Namespaces, probeAll } from './probe.js';
import { processesNamed, processInfo } from './process.js';
import { activeOpens, ephemeralRange, readSysctl, reservedPorts, writeReservedPorts } from './reserved-ports.js';
import {
  boundSockets,
  CONNECTIONS,
  destroySocket,
  listeningInodes,
  NOT_SILENT,
  readTable,
  type SocketTable,
  type TableSource,
} from './sockets.js';

const HAPROXY_COMM = 'haproxy';

export interface OpenKernel extends Kernel {
  /** Inode of the network namespace. */
  readonly inode: number;
  /** Key of this namespace in the ledger of reserved ports. */
  readonly ledgerKey: string;
  /** All TCP sockets in all states, IPv4 and IPv6; `silent: false`: without the bound-inactive ones, as ss(8) shows them. */
  snapshot(options?: { readonly silent?: boolean }): Promise<SocketTable>;
  /** connect(2) calls of this namespace that sent a SYN, since it was made: Tcp ActiveOpens of /proc/net/snmp (RFC 4022). */
  activeOpens(): Promise<number>;
  /** Flush the file system that holds `path` (syncfs(2)). */
  syncFileSystem(path: string): Promise<void>;
  /** Gives back what malloc keeps for later, in all threads (malloc_trim(3)); a few milliseconds. */
  releaseMemory(): Promise<void>;
  /** Ends the namespace's threads, after the calls under way. Descriptors stay open. */
  closeNamespace(): Promise<void>;
}

export interface KernelOptions {
  /** Path of a network namespace, or the pid of a process in it; the one of this process where not given. */
  readonly netns?: string;
  /** Where socket tables come from; `auto` is sock_diag, and /proc where that is missing or forbidden. */
  readonly tables?: TableSource;
}

/** @throws BERTH_PERMISSION (CAP_SYS_ADMIN is needed to enter another namespace), BERTH_KERNEL, BERTH_ADDON */
export async function openKernel(options: KernelOptions = {}): Promise<OpenKernel> {
  const { netns, tables = 'auto' } = options;
  const path = netns !== undefined && /^\d+$/.test(netns) ? `/proc/${netns}/ns/net` : netns;
  const [id, inode] = await enter(path ?? null);
  const named = new Namespaces();
  return {
    inode,
    ledgerKey: await namespaceKey(inode),
    probe: (endpoints, probing) => probeAll(id, named, endpoints, probing),
    boundSockets: async (namespaces = [], asked = {}) => {
      const elsewhere = namespaces.map(async (namespace) => {
        const there = await named.enter(namespace).catch(() => undefined);
        const rows = there === undefined ? [] : await boundSockets(there, tables, asked);
        return rows.map((row) => ({ ...row, namespace }));
      });
      return (await Promise.all([boundSockets(id, tables, asked), ...elsewhere])).flat();
    },
    listeningInodes: async (transport, namespace) => {
      const there = namespace === undefined ? id : await named.enter(namespace).catch(() => undefined);
      return there === undefined ? [] : listeningInodes(there, transport, tables);
    },
    socketsOnPorts: async (transport, ports) => (await readTable(id, { transport, ports, source: tables })).rows(),
    connectionPorts: async (inodes) =>
      (await readTable(id, { transport: 'tcp', states: CONNECTIONS, source: tables })).portsOf(new Set(inodes)),
    snapshot: ({ silent = true } = {}) =>
      readTable(id, { transport: 'tcp', source: tables, ...(silent ? {} : { states: NOT_SILENT }) }),
    activeOpens: () => activeOpens(id),
    owners: (inodes, hint) => findOwners(id, inodes, hint),
    socketsOf: (pid) => socketsOf(id, pid),
    unixListenersOf: (pid, held) => unixListenersOf(id, pid, held),
    unixListenerAt,
    share: (owner, socket) => handoff.shareSocket(id, owner, socket),
    destroy: (socket: SocketRow) => destroySocket(id, socket),
    duplicate: (owner, inodes) => handoff.duplicateSockets(id, owner, inodes),
    close: handoff.closeDescriptors,
    bindUnix: (at) => handoff.bindUnix(id, at),
    getsocks: (at, timeoutMs) => handoff.getsocks(id, at, timeoutMs),
    serveSockets: async (at, sockets) => Promise.resolve(handoff.serveSockets(at, sockets)),
    ephemeralRange: () => ephemeralRange(id),
    reservedPorts: () => reservedPorts(id),
    writeReservedPorts: (ports, onlyAdd) => writeReservedPorts(id, ports, onlyAdd),
    sysctl: (name) => readSysctl(id, name),
    process: processInfo,
    haproxyProcesses: () => processesNamed(id, HAPROXY_COMM, String(inode)),
    hiddenHAProxies: () => processesNamed(id, HAPROXY_COMM, ''),
    syncFileSystem: async (at) => {
      try {
        await native().syncFileSystem(id, at);
      } catch (error) {
        throw kernelError(error, 'stage', `Cannot flush the file system of ${at}`, {}, 'BERTH_STATE_WRITE');
      }
    },
    releaseMemory: () => native().releaseMemory(id),
    closeNamespace: async () => {
      await Promise.all([native().closeNamespace(id), named.close()]);
    },
  };
}

async function enter(path: string | null): Promise<[NamespaceId, number]> {
  try {
    return await native().openNamespace(path);
  } catch (error) {
    throw kernelError(error, 'start', `Cannot enter the network namespace ${path ?? 'of this process'}`, {
      EPERM: 'It needs CAP_SYS_ADMIN',
      ENOENT: 'There is no such namespace or process',
      EINVAL: 'It is not a network namespace',
    });
  }
}
