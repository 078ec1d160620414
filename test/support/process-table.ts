/** Processes and sockets of one network namespace, read from /proc: enough for HAProxy's room without the native addon. */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import type { ProcessTable, SendSignal } from '../../src/haproxy/context.js';
import type { SocketRow } from '../../src/model/socket.js';
import type { ProcessInfo } from '../../src/reload/env.js';

/** inode of a network namespace given by path; undefined where it is gone. */
export function namespaceInode(path: string): number | undefined {
  try {
    return statSync(path).ino;
  } catch {
    return undefined;
  }
}

/** Processes whose main thread is in this namespace. @param first only pids from this one on */
export function processesIn(inode: number, first = 1): number[] {
  return readdirSync('/proc').flatMap((name) =>
    /^\d+$/.test(name) && Number(name) >= first && namespaceInode(`/proc/${name}/ns/net`) === inode
      ? [Number(name)]
      : [],
  );
}

export function readProcess(pid: number): ProcessInfo | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const close = stat.lastIndexOf(')');
    const fields = stat.slice(close + 2).split(' ');
    const netns = namespaceInode(`/proc/${pid}/ns/net`);
    return {
      pid,
      ppid: Number(fields[1]),
      comm: stat.slice(stat.indexOf('(') + 1, close),
      startTicks: fields[19] ?? '',
      startedAt: new Date(0).toISOString(),
      uid: statSync(`/proc/${pid}`).uid,
      argv: readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1),
      ...link(pid, 'cwd'),
      ...link(pid, 'exe'),
      netns: String(netns ?? ''),
    };
  } catch {
    return undefined;
  }
}

function link(pid: number, name: 'cwd' | 'exe'): Partial<ProcessInfo> {
  try {
    return { [name]: readlinkSync(`/proc/${pid}/${name}`) };
  } catch {
    return {};
  }
}

/** inode → descriptors of a process. */
export function socketsOf(pid: number): Map<number, number[]> {
  const sockets = new Map<number, number[]>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const inode = Number(/^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]);
      if (inode > 0) sockets.set(inode, [...(sockets.get(inode) ?? []), Number(fd)]);
    } catch {
      continue;
    }
  }
  return sockets;
}

/** TCP sockets in LISTEN, with their inode; IPv4 addresses in text, IPv6 ones as the kernel's hexadecimal. */
export function listeningIn(pid: number): SocketRow[] {
  return (['tcp', 'tcp6'] as const).flatMap((file) =>
    readFileSync(`/proc/${pid}/net/${file}`, 'latin1')
      .split('\n')
      .slice(1)
      .flatMap((line): SocketRow[] => {
        const words = line.trim().split(/\s+/);
        if (words[3] !== '0A') return [];
        const [address = '', port = ''] = (words[1] ?? '').split(':');
        const family = file === 'tcp' ? 4 : 6;
        const quad = (address.match(/../g) ?? []).reverse().map((byte) => parseInt(byte, 16));
        return [
          {
            transport: 'tcp',
            family,
            state: 'LISTEN',
            localAddress: family === 4 ? quad.join('.') : address.toLowerCase(),
            localPort: parseInt(port, 16),
            remoteAddress: family === 4 ? '0.0.0.0' : '::',
            remotePort: 0,
            inode: Number(words[9]),
            uid: Number(words[7]),
          },
        ];
      }),
  );
}

/** `holder`: any process in the namespace, whose /proc/PID/net is read. */
export function processTable(holder: number): ProcessTable {
  const inode = namespaceInode(`/proc/${holder}/ns/net`) ?? 0;
  return {
    process: (pid) => Promise.resolve(readProcess(pid)),
    haproxyProcesses: () =>
      Promise.resolve(
        processesIn(inode).flatMap((pid) => {
          const found = readProcess(pid);
          return found?.comm === 'haproxy' ? [found] : [];
        }),
      ),
    hiddenHAProxies: () => Promise.resolve([]),
    boundSockets: () => Promise.resolve(listeningIn(holder)),
    socketsOf: (pid) => new Promise((resolve) => resolve(socketsOf(pid))),
    unixListenersOf: () => Promise.resolve([]),
  };
}

export const sendSignal: SendSignal = (pid, startTicks, signal) => {
  if (readProcess(pid)?.startTicks !== startTicks) return false;
  process.kill(pid, signal);
  return true;
};
