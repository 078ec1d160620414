/** Every HAProxy of this host that matters to it: the one that serves, those that drain, and those that nobody knows. */
import { resolve } from 'node:path';
import { type InetEndpoint, overlap, parseEndpoint } from '../model/endpoint.js';
import { formatPorts, portSet } from '../model/ports.js';
import { socketEndpoint } from '../model/socket.js';
import type { HostContext } from './context.js';
import type { Kernel, ProcessInfo, RunningHAProxy } from './env.js';
import { openGeneration, readListeners, servingNumber } from './generations.js';
import type { ProcessReport } from './reports.js';
import { rememberedProcess } from './serving.js';
import { stopTimes } from './stop-times.js';
import { namespacesOf } from './survey.js';

type Context = Pick<HostContext, 'kernel' | 'haproxy' | 'state' | 'settings'>;

export interface ProcessesOptions {
  /**
   * Whose connections are counted: of the old processes, or of the serving one too. A count costs a dump of the TCP
   * table; without old processes, and with `old`, none is made. Default: old.
   */
  readonly connections?: 'old' | 'all';
}

export interface HostProcess extends ProcessReport {
  /**
   * No file, note or command line ties it to this host's generations: somebody else's, or of a time before Berth. It is told
   * of; what is done with it is a matter of policy.
   */
  readonly foreign?: true;
}

interface Found {
  readonly process: ProcessInfo;
  readonly role: ProcessReport['role'];
  readonly foreign: boolean;
}

/**
 * The serving HAProxy and its master, then the draining ones, oldest first, then strays. Changes nothing. Connections are
 * TCP connections, clients' and backends'.
 * @throws what finding the running HAProxy throws (BERTH_HAPROXY_NOT_FOUND, BERTH_PERMISSION), BERTH_STATE_DIR
 */
export async function processes(
  context: Context,
  { connections = 'old' }: ProcessesOptions = {},
): Promise<{ readonly processes: readonly HostProcess[] }> {
  const { kernel, haproxy, state } = context;
  const running = await haproxy.find();
  const found: Found[] = [];
  if (running) found.push({ process: running.worker, role: 'serving', foreign: false });
  if (running?.master) found.push({ process: running.master, role: 'master', foreign: false });
  found.push(...(await oldOnes(context, running)));

  const counted = found.filter(({ role }) => isOld(role) || (role === 'serving' && connections === 'all'));
  const ports = await connectedPorts(
    kernel,
    counted.map(({ process }) => process.pid),
  );
  const since = stopTimes(state);
  return { processes: found.map((one) => report(one, ports.get(one.process.pid) ?? [], since)) };
}

function isOld(role: ProcessReport['role']): boolean {
  return role === 'draining' || role === 'stray';
}

function report(
  { process, role, foreign }: Found,
  ports: readonly number[],
  stopped: ReadonlyMap<number, string>,
): HostProcess {
  const { pid, startTicks, startedAt, residentBytes, openFiles, unit } = process;
  const since = toldToStop(process, stopped);
  return {
    pid,
    startTicks,
    role,
    startedAt,
    ...(role === 'draining' && since !== undefined ? { since } : {}),
    ...(foreign ? { foreign: true as const } : {}),
    connections: ports.length,
    ports: formatPorts(portSet(ports)),
    ...(residentBytes === undefined ? {} : { residentBytes }),
    ...(openFiles === undefined ? {} : { openFiles }),
    ...(unit === undefined ? {} : { unit }),
  };
}

/** Draining ones and strays. The kernel is asked who listens only where there is a process that nobody has explained yet. */
async function oldOnes(context: Context, running: RunningHAProxy | undefined): Promise<Found[]> {
  const { kernel, state } = context;
  const isOurs = await recogniser(context);
  const draining = (running?.draining ?? []).map((process): Found => ({
    process,
    role: 'draining',
    foreign: !isOurs(process) && process.ppid !== running?.master?.pid,
  }));
  const explained = new Set([running?.worker, running?.master, ...(running?.draining ?? [])].map((one) => one?.pid));
  // A zombie keeps its name; it has neither command line nor executable.
  const others = (await kernel.haproxyProcesses()).filter(
    ({ pid, argv, exe }) => !explained.has(pid) && (argv.length > 0 || exe !== undefined),
  );
  if (others.length === 0) return draining.sort(oldestFirst);

  const places = await servedPlaces(context);
  const bound = await kernel.boundSockets(namespacesOf([...places.values()].flat()), { silent: false });
  const listening = bound.filter((row) => row.state === 'LISTEN');
  const stopped = stopTimes(state);
  const strays: Found[] = [];
  for (const process of others) {
    const inodes = await kernel.socketsOf(process.pid).catch(() => new Map<number, number[]>());
    const rows = listening.filter(({ inode }) => inodes.has(inode));
    const ours = isOurs(process);
    if (toldToStop(process, stopped) !== undefined) draining.push({ process, role: 'draining', foreign: false });
    // Of ours, and not told to stop: the newcomer of a reload that is under way.
    else if (!ours && rows.some((row) => meets(socketEndpoint(row), places)))
      strays.push({ process, role: 'stray', foreign: true });
  }
  return [...draining.sort(oldestFirst), ...strays.sort(oldestFirst)];
}

/**
 * Is a process one that Berth started or took over: by its command line (a file of the state directory, or the pid file of
 * the settings), by the note of who serves, or by the note of who was told to stop.
 */
async function recogniser({ state, settings }: Context): Promise<(process: ProcessInfo) => boolean> {
  const remembered = await rememberedProcess(state.path);
  const stopped = stopTimes(state);
  const { pidFile } = settings.haproxy;
  return (process) => {
    const { pid, startTicks, argv, cwd } = process;
    if (pid === remembered?.pid && startTicks === remembered.startTicks) return true;
    if (toldToStop(process, stopped) !== undefined) return true;
    const named = argv.map((word) => resolve(cwd ?? '/', word));
    if (named.some((path) => path.startsWith(`${state.path}/`))) return true;
    return pidFile !== undefined && argv.some((word, at) => word === '-p' && named[at + 1] === resolve(pidFile));
  };
}

/** The kernel tells the time of boot, which a start is counted from, in whole seconds (/proc/stat btime). */
const START_SLACK_MS = 2000;

/** ISO time; a note from before the process began is about another one that had its pid. */
function toldToStop({ pid, startedAt }: ProcessInfo, stopped: ReadonlyMap<number, string>): string | undefined {
  const since = stopped.get(pid);
  return since !== undefined && Date.parse(since) + START_SLACK_MS >= Date.parse(startedAt) ? since : undefined;
}

/** port → the places on it that the serving generation has. */
async function servedPlaces({ state }: Context): Promise<Map<number, InetEndpoint[]>> {
  const number = await servingNumber(state);
  const places = new Map<number, InetEndpoint[]>();
  if (number === undefined) return places;
  for (const { endpoint: name } of await readListeners(await openGeneration(state, number))) {
    const endpoint = parseEndpoint(name);
    if (endpoint?.kind !== 'inet') continue;
    push(places, endpoint.port, endpoint);
  }
  return places;
}

function meets(endpoint: InetEndpoint, places: ReadonlyMap<number, readonly InetEndpoint[]>): boolean {
  return places.get(endpoint.port)?.some((place) => overlap(place, endpoint)) === true;
}

/** pid → local port of each of its TCP connections; one dump for all. */
async function connectedPorts(kernel: Kernel, pids: readonly number[]): Promise<Map<number, number[]>> {
  const held = await Promise.all(
    pids.map(async (pid) => {
      // A process that ends meanwhile, or may not be looked into, has none that can be told.
      const inodes = await kernel.socketsOf(pid).catch(() => new Map<number, number[]>());
      return [pid, [...inodes.keys()]] as const;
    }),
  );
  const inodes = held.flatMap(([, some]) => some);
  const ports = inodes.length === 0 ? new Map<number, number>() : await kernel.connectionPorts(inodes);
  return new Map(held.map(([pid, some]) => [pid, some.flatMap((inode) => ports.get(inode) ?? [])]));
}

function push<K, V>(lists: Map<K, V[]>, key: K, item: V): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [item]);
  else list.push(item);
}

function oldestFirst(one: Found, other: Found): number {
  return (
    Number(BigInt(one.process.startTicks) - BigInt(other.process.startTicks)) || one.process.pid - other.process.pid
  );
}
