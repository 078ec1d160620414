import { type InetEndpoint, unixPathOf } from '../model/endpoint.js';
import type { ServedSocket } from '../model/plan.js';
import type { SocketRow } from '../model/socket.js';
import type { HAProxy, Kernel, ProcessInfo, RunningHAProxy } from './env.js';

/** What serves now, as the kernel shows it. */
export interface Survey {
  readonly running: RunningHAProxy | undefined;
  /** Listening sockets of the serving process: TCP in LISTEN, bound UDP, unix. */
  readonly served: readonly ServedSocket[];
}

/** Find the serving HAProxy and the sockets that it listens on. Changes nothing. */
export async function survey(kernel: Kernel, haproxy: HAProxy): Promise<Survey> {
  const running = await haproxy.find();
  return { running, served: running ? await socketsServedBy(kernel, running.worker) : [] };
}

/** The listening sockets of one process: rows of the kernel's tables whose inode is among the process' descriptors. */
export async function socketsServedBy(kernel: Kernel, process: ProcessInfo): Promise<ServedSocket[]> {
  const [rows, descriptors, unix] = await Promise.all([
    kernel.boundSockets(),
    kernel.socketsOf(process.pid),
    kernel.unixListenersOf(process.pid),
  ]);
  const owner = (fd: number) => ({ pid: process.pid, fd, comm: process.comm, startTicks: process.startTicks });
  const inet = rows.flatMap((row): ServedSocket[] => {
    const fd = descriptors.get(row.inode)?.[0];
    if (fd === undefined || !isServing(row)) return [];
    return [{ endpoint: endpointOf(row), inode: row.inode, owner: owner(fd) }];
  });
  return [
    ...inet,
    ...unix.map(({ endpoint, inode, fd }): ServedSocket => {
      // The name that it was bound for: HAProxy binds another one and renames it.
      const named = { ...endpoint, path: unixPathOf(endpoint.path) };
      return { endpoint: named, inode, owner: owner(fd) };
    }),
  ];
}

/** TCP serves in LISTEN; UDP has no such state: bound and unconnected is all the kernel can show. */
export function isServing(row: SocketRow): boolean {
  return row.transport === 'tcp' ? row.state === 'LISTEN' : row.state === 'UNCONN';
}

/** The endpoint that a row of the tables stands for. IP_TRANSPARENT shows in no table: it is false here. */
export function endpointOf(row: SocketRow): InetEndpoint {
  return {
    kind: 'inet',
    transport: row.transport,
    family: row.family,
    address: row.localAddress,
    port: row.localPort,
    ...(row.device === undefined ? {} : { device: row.device }),
    v6only: row.family === 6 && (row.v6only ?? false),
    transparent: false,
  };
}
