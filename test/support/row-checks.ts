/** What is to be true of a listener of each family after a reload, against the kernel's tables and HAProxy's own calls. */
import type { ReloadReport } from '../../src/reload/reports.js';
import { portOf, type Family, type Role } from './families.js';
import type { Lab } from './haproxy.js';
import type { DatagramReport, LoadReport } from './load.js';
import type { TracedBind } from './trace.js';

export interface ListeningSocket {
  readonly inode: number;
  readonly pids: readonly number[];
}

/** A master of HAProxy before 3.1 never closes the UDP socket of a listener that goes: Berth can but say so. */
export function toldOf(family: Family, { warnings }: ReloadReport): boolean {
  return warnings.some((text) => text.includes(`:${portOf(family, 'removed')}/udp; nobody reads`));
}

/** By port, which is part of a unix socket's name here: what is in LISTEN, and UDP sockets without a peer. */
export type ListeningSockets = ReadonlyMap<number, readonly ListeningSocket[]>;

export async function listeningSockets(lab: Lab): Promise<ListeningSockets> {
  const found = new Map<number, ListeningSocket[]>();
  const rows = await Promise.all([lab.exec('ss', ['-tulnHeOp']), lab.exec('ss', ['-xlHOp'])]);
  for (const row of rows.flatMap((text) => text.split('\n'))) {
    const inet = /^(?:tcp|udp)\s.*?:(\d+)\s.*\bino:(\d+)/.exec(row);
    const unix = row.includes(lab.directory) ? /\/(\d+)\.sock\S*\s+(\d+)/.exec(row) : null;
    const [, port = '', inode = ''] = inet ?? unix ?? [];
    if (inode === '') continue;
    const pids = [...row.matchAll(/pid=(\d+)/g)].map(([, pid]) => Number(pid));
    found.set(Number(port), [...(found.get(Number(port)) ?? []), { inode: Number(inode), pids }]);
  }
  return found;
}

export interface Seen {
  readonly before: ListeningSockets;
  readonly after: ListeningSockets;
  /** Calls of the HAProxies that were started since. */
  readonly binds: readonly TracedBind[];
  readonly mode: 'standalone' | 'master-worker';
  /** The process that is to serve. */
  readonly serving: number;
  /** The plan says that HAProxy takes no such socket. */
  readonly anew: boolean;
  /** The reload says that a socket which nobody reads has stayed. */
  readonly told: boolean;
}

/** One socket of each listener, owned by the new process; the kept one is the same as before; the removed one is gone. */
export function socketsWrong(family: Family, { before, after, serving, anew, told }: Seen): string[] {
  const wrong: string[] = [];
  const of = (sockets: ListeningSockets, role: Role) => sockets.get(portOf(family, role)) ?? [];
  for (const role of ['kept', 'added'] as const) {
    const found = of(after, role);
    if (found.length !== 1) wrong.push(`${role}: ${found.length} sockets`);
    if (found.some(({ pids }) => !pids.includes(serving))) wrong.push(`${role}: not of the new process`);
  }
  if (of(before, 'removed').length !== 1) wrong.push('removed: was not there');
  if (of(after, 'removed').length > 0 && !told) wrong.push('removed: still there');
  const same = of(before, 'kept')[0]?.inode === of(after, 'kept')[0]?.inode;
  if (same === anew) wrong.push(same ? 'kept: the same socket, which the plan denied' : 'kept: another socket');
  return wrong;
}

/**
 * HAProxy binds nothing that it is handed: kept sockets, and in standalone mode the guards of new listeners. A master hands
 * its own sockets on, so that its worker binds new listeners itself, beside the guard.
 */
export function bindsWrong(family: Family, { binds, mode, anew }: Seen): string[] {
  if (anew) return [];
  const roles: Role[] = mode === 'standalone' && family.transport !== 'unix' ? ['kept', 'added'] : ['kept'];
  return roles
    .filter((role) => {
      const port = portOf(family, role);
      return binds.some((bind) => bind.port === port || bind.address.includes(`/${port}.sock`));
    })
    .map((role) => `${role}: bound by HAProxy`);
}

/** A start, a reload with busy ports, and one more when the UDP ports are free again. */
export function reportsWrong([first, second, third]: readonly ReloadReport[], families: readonly Family[]): string[] {
  const wrong: string[] = [];
  const udp = families.filter(({ transport }) => transport === 'udp').map((family) => portOf(family, 'added'));
  const tcp = families.filter(({ transport }) => transport === 'tcp').map((family) => portOf(family, 'added'));
  const portIn = (name: string) => Number(/:(\d+)\//.exec(name)?.[1]);
  const differs = (what: string, got: unknown, wanted: unknown) => {
    if (JSON.stringify(got) !== JSON.stringify(wanted)) {
      wrong.push(`${what}: ${JSON.stringify(got)} instead of ${JSON.stringify(wanted)}`);
    }
  };
  const inPart = udp.length > 0 ? 'served-in-part' : 'served';
  differs('outcomes', [first?.outcome, second?.outcome, third?.outcome], ['served', inPart, 'served']);
  differs('left out', second?.quarantined.map(({ name }) => portIn(name)).sort(), udp);
  const shared = second?.secured.filter(({ action }) => action === 'share').map(({ name }) => portIn(name));
  differs('shared', shared?.sort(), tcp);
  for (const report of [first, second, third]) differs('repairs', report?.repairs, []);
  return wrong;
}

interface Clients {
  readonly stream: LoadReport;
  readonly datagrams: DatagramReport;
  /** Number of targets that the connections went to in turn. */
  readonly streams: number;
}

/** How many came to these targets, about, and how many of them were refused, reset, kept waiting, or lost. */
export function clientsOf(targets: readonly string[], { stream, datagrams, streams }: Clients) {
  let clients = 0;
  let lost = 0;
  for (const target of targets) {
    const sent = datagrams.sent[target];
    clients += sent ?? Math.floor(stream.attempts / streams);
    lost += datagrams.lost[target] ?? stream.failuresByTarget[target.replace(/[[\]]/g, '')] ?? 0;
  }
  return { clients, lost };
}
