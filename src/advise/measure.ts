/** From two looks at the kernel's socket tables to what the model is asked about. Pure; src/measure.ts takes the looks. */
import {
  count,
  formatPorts,
  has,
  intersect,
  parsePorts,
  portRange,
  portSet,
  union,
  type PortSet,
} from '../model/ports.js';
import { socketEndpoint, type SocketRow } from '../model/socket.js';
import { coveredV4, coveredV6, ANY } from '../model/endpoint.js';
import type { GivenInputs, Inputs } from './inputs.js';
import { TIME_WAIT, type Halves } from './model.js';
import type { Measured } from './advise.js';

export interface HostFacts {
  readonly range: { readonly first: number; readonly last: number };
  /** The kernel's list. */
  readonly reserved: string;
  /** TCP sockets in LISTEN. */
  readonly listening: readonly SocketRow[];
  /** Inodes of the sockets of HAProxy's processes. */
  readonly haproxy: ReadonlySet<number>;
  readonly timeWaitReuse: boolean;
  readonly seconds: number;
  /** Tcp ActiveOpens of /proc/net/snmp: connect(2) calls between the looks. */
  readonly opens: number;
}

/** What one look counts; sockets are not kept. */
export interface Look {
  /** Outgoing connections of all addresses that hold a port, TIME_WAIT among them. */
  readonly all: number;
  /** Of these, those that stand in the way of a listener. */
  readonly held: number;
  readonly timeWait: number;
  /** Of the living ones: HAProxy's own. */
  readonly own: number;
  readonly living: number;
  /** Connections of each destination. */
  readonly destinations: ReadonlyMap<string, number>;
  readonly ports: ReadonlySet<number>;
}

/**
 * Counts the outgoing connections: a local port of the range that nobody listens on. Those of a listener that has gone look
 * the same, and hold their port as well.
 * @param connections every TCP socket but listening ones, read once
 */
export function lookAt(connections: Iterable<SocketRow>, facts: Omit<HostFacts, 'seconds' | 'opens'>): Look {
  const { first, last } = facts.range;
  const listened = new Set(facts.listening.map(({ localPort }) => localPort));
  const inTheWay = addressesOf(facts);
  const destinations = new Map<string, number>();
  const ports = new Set<number>();
  let [all, held, timeWait, own, living] = [0, 0, 0, 0, 0];
  for (const row of connections) {
    const { state, localPort, localAddress, remoteAddress, remotePort, inode } = row;
    if (state === 'LISTEN' || state === 'BOUND' || state === 'CLOSE' || remotePort === 0) continue;
    if (localPort < first || localPort > last || listened.has(localPort)) continue;
    all++;
    if (!inTheWay(row)) continue;
    held++;
    if (state === 'TIME_WAIT') timeWait++;
    else {
      living++;
      if (facts.haproxy.has(inode)) own++;
    }
    ports.add(localPort);
    const destination = `${localAddress} ${remoteAddress} ${remotePort}`;
    destinations.set(destination, (destinations.get(destination) ?? 0) + 1);
  }
  return { all, held, timeWait, own, living, destinations, ports };
}

/** Whether a connection's address is one that HAProxy listens on; any is, where it listens on none. */
function addressesOf({ listening, haproxy }: Pick<HostFacts, 'listening' | 'haproxy'>): (row: SocketRow) => boolean {
  const endpoints = listening.filter(({ inode }) => haproxy.has(inode)).map(socketEndpoint);
  const own = new Set(endpoints.flatMap((one) => [coveredV4(one), coveredV6(one)]).filter((one) => one !== undefined));
  if (own.size === 0 || own.has(ANY)) return () => true;
  return (row) => {
    const endpoint = socketEndpoint(row);
    return [coveredV4(endpoint), coveredV6(endpoint)].some((one) => one !== undefined && own.has(one));
  };
}

/** The inputs that a host stands for, and what was seen there. */
export function inputsOf(
  facts: HostFacts,
  [before, now]: readonly [Look, Look],
): { readonly inputs: GivenInputs; readonly measured: Measured } {
  const ports = (own: boolean) =>
    portSet(facts.listening.filter(({ inode }) => facts.haproxy.has(inode) === own).map(({ localPort }) => localPort));
  const [present, foreign] = [ports(true), ports(false)];
  const held = (before.held + now.held) / 2;
  const share = now.all === 0 ? 0 : now.held / now.all;
  // Nobody connected meanwhile: what is open has been for long.
  const opened = facts.opens > 0 ? (facts.opens * share) / facts.seconds : held / 3600;
  const timeWait = opened === 0 ? 0 : Math.min(1, now.timeWait / (TIME_WAIT * opened));
  const hold = opened === 0 ? 0 : held / opened;
  return {
    inputs: {
      range: facts.range,
      reserved: facts.reserved,
      listeners: count(present),
      ports: placesOf(present, facts.range),
      present: formatPorts(present),
      foreign: formatPorts(foreign),
      rate: opened,
      lifetime: Math.max(0, hold - timeWait * TIME_WAIT),
      timeWait,
      timeWaitReuse: facts.timeWaitReuse,
      destinations: classesOf(now),
      own: now.living === 0 ? 1 : now.own / now.living,
    },
    measured: { seconds: facts.seconds, held: now.held, seen: seenOf(facts, now) },
  };
}

/** Fewer listeners than this do not tell where the next ones will be. */
const TELLING = 20;

/** New listeners come where the present ones are: below the range, in it, above it; which is all that matters. */
function placesOf(present: PortSet, { first, last }: HostFacts['range']): string {
  if (count(present) < TELLING) return 'lbagent';
  return [portRange(1, first - 1), portRange(first, last), portRange(last + 1, 65_535)]
    .filter(({ ranges }) => ranges.length > 0)
    .map((part) => `${formatPorts(part)}=${count(intersect(part, present))}`)
    .join(',');
}

/** Destinations with as many connections each: few classes, however many there are. */
function classesOf({ destinations, held }: Look): Inputs['destinations'] {
  if (held === 0) return 1;
  const counts = new Map<number, number>();
  for (const connections of destinations.values()) counts.set(connections, (counts.get(connections) ?? 0) + 1);
  return [...counts]
    .sort(([a], [b]) => b - a)
    .map(([connections, count]) => ({ count, share: (connections * count) / held }));
}

function seenOf(facts: HostFacts, { ports }: Look): Halves {
  const closed = union(parsePorts(facts.reserved), portSet(facts.listening.map(({ localPort }) => localPort)));
  const { first, last } = facts.range;
  const share = (parity: number) => {
    let [free, held] = [0, 0];
    for (let port = first; port <= last; port++) {
      if (port % 2 !== parity || has(closed, port)) continue;
      free++;
      if (ports.has(port)) held++;
    }
    return free === 0 ? 0 : held / free;
  };
  return { first: share(first % 2), second: share(1 - (first % 2)) };
}
