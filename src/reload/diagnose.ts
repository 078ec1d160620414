/**
 * Why an endpoint can't be bound, from one pass over the kernel's tables. No table holds SO_REUSEADDR or SO_REUSEPORT, so the
 * outcome of the test bind decides *whether*, the tables say *who*. A snapshot is not atomic: what is in no table is
 * `busy` with nobody named, never free.
 */
import { endpointKey, overlap, type InetEndpoint } from '../model/endpoint.js';
import { isListener, isOwnerless, socketEndpoint, type SocketOwner, type SocketRow } from '../model/socket.js';
import type { Holder, ProbeVerdict, Verdict } from '../model/verdict.js';
import type { Kernel, ProbeResult, RunningHAProxy } from './env.js';
import { failureVerdict } from './failures.js';
import { namespacesOf } from './survey.js';

export interface DiagnosisContext {
  /** The HAProxy that is being reloaded. */
  readonly running?: RunningHAProxy | undefined;
  /** When Berth told a HAProxy process to stop: pid → ISO time. */
  readonly stoppedAt?: ReadonlyMap<number, string>;
  /** Our own pid; sockets of it are guards. */
  readonly self?: number;
}

/**
 * A verdict for each result, in their order. Costs one dump of the listeners, one filtered dump per transport and one look for
 * the owners, whatever the number of endpoints; nothing where all are free or failed.
 */
export async function diagnose(
  kernel: Kernel,
  results: readonly ProbeResult[],
  context: DiagnosisContext = {},
): Promise<ProbeVerdict[]> {
  const contested = results.filter(({ outcome }) => outcome === 'busy' || outcome === 'beside');
  const holders = await findHolders(
    kernel,
    contested.map(({ endpoint }) => endpoint),
    context,
  );
  const facts = { ours: oursOf(context.running), self: context.self ?? process.pid };
  return await Promise.all(
    results.map(async (result): Promise<ProbeVerdict> => {
      const { endpoint, outcome, failure } = result;
      if (outcome === 'free') return { endpoint, verdict: { kind: 'free' } };
      if (outcome === 'failed') return { endpoint, verdict: await failureVerdict(kernel, endpoint, failure) };
      const found = holders.get(endpointKey(endpoint)) ?? [];
      return { endpoint, verdict: outcome === 'busy' ? busyVerdict(found, facts) : besideVerdict(found, facts) };
    }),
  );
}

interface Facts {
  readonly ours: ReadonlySet<number>;
  readonly self: number;
}

/** Even HAProxy's own options got EADDRINUSE. The most stubborn holder decides. */
function busyVerdict(holders: readonly Holder[], facts: Facts): Verdict {
  const { ours, guards, strangers, connected, unseen, dead } = sortOut(holders, facts);
  if (strangers.length > 0) return { kind: 'taken', holders: strangers, stale: strangers.every(isStaleHAProxy) };
  if (unseen.length > 0) return { kind: 'busy', holders: [...unseen, ...connected, ...dead] };
  if (connected.length > 0) return { kind: 'shareable', holders: [...connected, ...dead] };
  if (dead.length > 0) return { kind: 'expiring', holders: dead, ...longest(dead) };
  if (ours.length > 0) return { kind: 'ours', holders: ours };
  if (guards.length > 0) return { kind: 'harmless', holders: guards };
  return { kind: 'busy', holders: [] };
}

/**
 * HAProxy's own options bind. Beside somebody's listener (same uid, SO_REUSEPORT: mostly a HAProxy that was forgotten) the
 * kernel would divide the connections between the two, so that counts as taken all the same.
 */
function besideVerdict(holders: readonly Holder[], facts: Facts): Verdict {
  const { ours, strangers } = sortOut(holders, facts);
  const listening = strangers.filter(({ socket }) => isListener(socket));
  if (listening.length > 0) return { kind: 'taken', holders: listening, stale: listening.every(isStaleHAProxy) };
  if (ours.length > 0) return { kind: 'ours', holders: ours };
  return { kind: 'harmless', holders };
}

function sortOut(holders: readonly Holder[], { ours, self }: Facts) {
  const groups: Record<'ours' | 'guards' | 'strangers' | 'connected' | 'unseen' | 'dead', Holder[]> = {
    ours: [],
    guards: [],
    strangers: [],
    connected: [],
    unseen: [],
    dead: [],
  };
  for (const holder of holders) {
    const { socket, owners } = holder;
    const waiting = isListener(socket) || socket.state === 'BOUND';
    if (waiting && owners.some(({ pid }) => ours.has(pid))) groups.ours.push(holder);
    else if (socket.state === 'BOUND' && owners.some(({ pid }) => pid === self)) groups.guards.push(holder);
    else if (waiting) groups.strangers.push(holder);
    else if (isOwnerless(socket)) groups.dead.push(holder);
    else if (owners.length === 0) groups.unseen.push(holder);
    else groups.connected.push(holder);
  }
  return groups;
}

function isStaleHAProxy({ socket, owners }: Holder): boolean {
  return isListener(socket) && owners.some(({ comm }) => comm === 'haproxy');
}

function longest(holders: readonly Holder[]): { expiresMs?: number } {
  const known = holders.flatMap(({ socket }) => (socket.expiresMs === undefined ? [] : [socket.expiresMs]));
  return known.length === 0 ? {} : { expiresMs: Math.max(...known) };
}

function oursOf(running: RunningHAProxy | undefined): ReadonlySet<number> {
  return new Set([running?.worker, running?.master].flatMap((info) => (info === undefined ? [] : [info.pid])));
}

/** endpointKey → the sockets in the way, with their owners. */
async function findHolders(
  kernel: Kernel,
  endpoints: readonly InetEndpoint[],
  context: DiagnosisContext,
): Promise<Map<string, Holder[]>> {
  if (endpoints.length === 0) return new Map();
  const portsOf = (transport: 'tcp' | 'udp') => [
    ...new Set(
      endpoints.filter((one) => one.transport === transport && one.namespace === undefined).map(({ port }) => port),
    ),
  ];
  const dumps = (['tcp', 'udp'] as const).flatMap((transport) => {
    const ports = portsOf(transport);
    return ports.length === 0 ? [] : [kernel.socketsOnPorts(transport, ports)];
  });
  const [bound, ...others] = await Promise.all([kernel.boundSockets(namespacesOf(endpoints)), ...dumps]);
  const byPort = new Map<string, SocketRow[]>();
  for (const row of uniqueRows([bound, ...others].flat())) push(byPort, portKey(row.transport, row.localPort), row);

  const inTheWay = new Map(
    endpoints.map((endpoint) => {
      const rows = byPort.get(portKey(endpoint.transport, endpoint.port)) ?? [];
      return [endpointKey(endpoint), rowsInTheWay(endpoint, rows)] as const;
    }),
  );
  const inodes = new Set([...inTheWay.values()].flat().map(({ inode }) => inode));
  inodes.delete(0);
  const { running } = context;
  const hint = [running?.worker, running?.master, ...(running?.draining ?? [])].flatMap((info) => info?.pid ?? []);
  const owners = inodes.size === 0 ? new Map<number, SocketOwner[]>() : await kernel.owners([...inodes], hint);
  const draining = await drainingProcesses(kernel, [...owners.values()].flat(), bound, running);
  return new Map(
    [...inTheWay].map(([key, rows]) => [
      key,
      rows.map((socket): Holder => holderOf(socket, owners.get(socket.inode) ?? [], draining, context.stoppedAt)),
    ]),
  );
}

/**
 * Rows whose place meets the endpoint's. A connection at an address where somebody listens was accepted there: it goes with
 * that listener and holds nothing by itself (an outgoing one could not have got the port).
 */
function rowsInTheWay(endpoint: InetEndpoint, rows: readonly SocketRow[]): SocketRow[] {
  const meeting = rows.filter((row) => overlap(endpoint, socketEndpoint(row)));
  const listeners = meeting.filter(isListener).map((row) => socketEndpoint(row));
  return meeting.filter(
    (row) => isListener(row) || !listeners.some((listener) => overlap(listener, socketEndpoint(row))),
  );
}

function holderOf(
  socket: SocketRow,
  owners: readonly SocketOwner[],
  draining: ReadonlySet<number>,
  stoppedAt: ReadonlyMap<number, string> | undefined,
): Holder {
  const drains = owners.find(({ pid }) => draining.has(pid));
  if (drains === undefined) return { socket, owners };
  const since = stoppedAt?.get(drains.pid);
  return { socket, owners, draining: since === undefined ? {} : { since } };
}

/** Of the owners, the HAProxy processes that listen no more: told to stop, and kept alive by their connections. */
async function drainingProcesses(
  kernel: Kernel,
  owners: readonly SocketOwner[],
  bound: readonly SocketRow[],
  running: RunningHAProxy | undefined,
): Promise<ReadonlySet<number>> {
  const draining = new Set(running?.draining.map(({ pid }) => pid));
  const ours = oursOf(running);
  const candidates = new Set(owners.filter(({ comm }) => comm === 'haproxy').map(({ pid }) => pid));
  const listening = new Set(bound.filter(({ state }) => state === 'LISTEN').map(({ inode }) => inode));
  for (const pid of candidates) {
    if (ours.has(pid) || draining.has(pid)) continue;
    // A process that ends meanwhile, or may not be looked into, is not said to drain.
    const sockets = await kernel.socketsOf(pid).catch(() => new Map<number, number[]>());
    if (sockets.size > 0 && ![...sockets.keys()].some((inode) => listening.has(inode))) draining.add(pid);
  }
  return draining;
}

/** The dumps overlap: a listener stands in both. */
function uniqueRows(rows: readonly SocketRow[]): SocketRow[] {
  const seen = new Map<string, SocketRow>();
  for (const row of rows) {
    const { transport, family, state, localAddress, localPort, remoteAddress, remotePort, inode, cookie } = row;
    const place = `${transport}${family} ${state} ${localAddress} ${localPort} ${remoteAddress} ${remotePort} ${inode} ${row.namespace ?? ''}`;
    seen.set(cookie === undefined ? place : `cookie ${cookie} ${row.namespace ?? ''}`, row);
  }
  return [...seen.values()];
}

function portKey(transport: string, port: number): string {
  return `${transport} ${port}`;
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}
