/** A kernel of plain tables: what diagnosis, doctor and plans are held against without root. Anything not staged throws. */
import { parsePorts } from '../../src/model/ports.js';
import type { SocketOwner, SocketRow } from '../../src/model/socket.js';
import type { Kernel, ProcessInfo } from '../../src/reload/env.js';

export interface Staged {
  readonly rows?: readonly SocketRow[];
  /** inode → owners */
  readonly owners?: Readonly<Record<number, readonly SocketOwner[]>>;
  /** pid → inodes */
  readonly socketsOf?: Readonly<Record<number, readonly number[]>>;
  readonly sysctl?: Readonly<Record<string, string>>;
  readonly reserved?: string;
  readonly ephemeral?: { readonly first: number; readonly last: number };
  readonly haproxies?: readonly ProcessInfo[];
  readonly processes?: readonly ProcessInfo[];
}

export interface Calls {
  readonly bound: number;
  readonly dumps: readonly string[];
  readonly owners: readonly (readonly number[])[];
}

export function fakeKernel(staged: Staged): Kernel & { readonly calls: Calls } {
  const calls = { bound: 0, dumps: [] as string[], owners: [] as number[][] };
  const rows = staged.rows ?? [];
  const real: Partial<Kernel> = {
    boundSockets: () => {
      calls.bound++;
      return Promise.resolve(rows.filter(({ state }) => ['LISTEN', 'BOUND', 'UNCONN'].includes(state)));
    },
    listeningInodes: (transport) =>
      Promise.resolve(
        rows
          .filter((row) => row.transport === transport && ['LISTEN', 'UNCONN'].includes(row.state))
          .map(({ inode }) => inode),
      ),
    socketsOnPorts: (transport, ports) => {
      calls.dumps.push(`${transport} ${ports.join()}`);
      return Promise.resolve(
        rows.filter((row) => row.transport === transport && ports.includes(row.localPort) && row.state !== 'BOUND'),
      );
    },
    connectionPorts: (inodes) => {
      const wanted = new Set(inodes);
      const connected = rows.filter(
        ({ transport, state, inode }) =>
          transport === 'tcp' && wanted.has(inode) && !['LISTEN', 'BOUND', 'CLOSE', 'TIME_WAIT'].includes(state),
      );
      calls.dumps.push('connections');
      return Promise.resolve(new Map(connected.map(({ inode, localPort }) => [inode, localPort])));
    },
    owners: (inodes) => {
      calls.owners.push([...inodes]);
      const known = inodes.flatMap((inode) => {
        const owners = staged.owners?.[inode];
        return owners === undefined ? [] : [[inode, [...owners]] as [number, SocketOwner[]]];
      });
      return Promise.resolve(new Map(known));
    },
    socketsOf: (pid) => {
      const inodes = staged.socketsOf?.[pid];
      if (inodes === undefined) return Promise.reject(new Error(`ESRCH ${pid}`));
      return Promise.resolve(new Map(inodes.map((inode, fd) => [inode, [fd + 3]])));
    },
    unixListenersOf: () => Promise.resolve([]),
    unixListenerAt: () => Promise.resolve(undefined),
    sysctl: (name) => Promise.resolve(staged.sysctl?.[name]),
    reservedPorts: () => Promise.resolve(parsePorts(staged.reserved ?? '')),
    ephemeralRange: () => Promise.resolve(staged.ephemeral ?? { first: 32768, last: 60999 }),
    hiddenHAProxies: () => Promise.resolve([]),
    haproxyProcesses: () => Promise.resolve([...(staged.haproxies ?? [])]),
    process: (pid) => Promise.resolve(staged.processes?.find((info) => info.pid === pid)),
  };
  return new Proxy({ ...real, calls } as unknown as Kernel & { readonly calls: Calls }, {
    get: (target, name) => {
      const value = (target as unknown as Record<PropertyKey, unknown>)[name];
      // A promise that resolves with this object looks for `then`.
      if (value === undefined && name !== 'then') throw new Error(`not staged: Kernel.${String(name)}`);
      return value;
    },
  });
}

export function processInfo(pid: number, more: Partial<ProcessInfo> = {}): ProcessInfo {
  return {
    pid,
    ppid: 1,
    comm: 'haproxy',
    startTicks: String(pid * 100),
    startedAt: '2026-11-22T10:00:00.000Z',
    uid: 0,
    argv: ['haproxy', '-D'],
    netns: 'net:[1]',
    ...more,
  };
}

/** A TCP listener on 127.0.0.1. */
export function listenRow(localPort: number, inode: number): SocketRow {
  const [local, remote] = [
    { localAddress: '127.0.0.1', localPort },
    { remoteAddress: '0.0.0.0', remotePort: 0 },
  ];
  return { transport: 'tcp', family: 4, state: 'LISTEN', ...local, ...remote, inode, uid: 0 };
}
