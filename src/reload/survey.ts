import { type Endpoint, unixPathOf } from '../model/endpoint.js';
import type { ServedSocket } from '../model/plan.js';
import { isListener, socketEndpoint } from '../model/socket.js';
import type { HAProxy, Kernel, ProcessInfo, RunningHAProxy } from './env.js';

/** What serves now, as the kernel shows it. */
export interface Survey {
  readonly running: RunningHAProxy | undefined;
  /** Listening sockets of the serving process: TCP in LISTEN, bound UDP, unix. */
  readonly served: readonly ServedSocket[];
}

/** Find the serving HAProxy and the sockets that it listens on. Changes nothing. */
export async function survey(kernel: Kernel, haproxy: HAProxy, namespaces: readonly string[] = []): Promise<Survey> {
  const running = await haproxy.find();
  return { running, served: running ? await socketsServedBy(kernel, running.worker, namespaces) : [] };
}

/**
 * The listening sockets of one process: rows of the kernel's tables whose inode is among the process' descriptors.
 * @param namespaces look into these besides the process' own
 */
export async function socketsServedBy(
  kernel: Kernel,
  process: Pick<ProcessInfo, 'pid' | 'startTicks'> & { readonly comm?: string },
  namespaces: readonly string[] = [],
): Promise<ServedSocket[]> {
  const held = kernel.socketsOf(process.pid);
  const [rows, descriptors, unix] = await Promise.all([
    kernel.boundSockets(namespaces, { silent: false }),
    held,
    held.then((sockets) => kernel.unixListenersOf(process.pid, sockets)),
  ]);
  const owner = (fd: number) => ({
    pid: process.pid,
    fd,
    comm: process.comm ?? 'haproxy',
    startTicks: process.startTicks,
  });
  const inet = rows.flatMap((row): ServedSocket[] => {
    const fd = descriptors.get(row.inode)?.[0];
    if (fd === undefined || !isListener(row)) return [];
    return [{ endpoint: socketEndpoint(row), inode: row.inode, owner: owner(fd) }];
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

/** The namespaces of HAProxy's `namespace` that these endpoints name. */
export function namespacesOf(endpoints: readonly Endpoint[]): string[] {
  return [...new Set(endpoints.flatMap((endpoint) => (endpoint.kind === 'inet' ? (endpoint.namespace ?? []) : [])))];
}
