/**
 * How often a new listener meets a busy port: docs/advise.md has the formulas and their sources. Pure.
 *
 * connect(2) takes ports of the parity of the range's first port first, and the others where a destination has none of these
 * left; a port may serve any number of destinations (net/ipv4/inet_hashtables.c, __inet_hash_connect). So each destination
 * fills both halves for itself, as calls fill a group of lines and then an overflow group, and a port is free where none of
 * the destinations has it.
 */
import { count, difference, intersect, parsePorts, union, type PortSet } from '../model/ports.js';
import { losses } from './erlang.js';
import type { Inputs } from './inputs.js';
import { chance, countParity, parsePlaces } from './places.js';

/** TCP_TIMEWAIT_LEN (include/net/tcp.h), seconds; no sysctl changes it. */
export const TIME_WAIT = 60;

/** Of each parity: `first` is that of the range's first port, where connect(2) begins. */
export interface Halves {
  readonly first: number;
  readonly second: number;
}

/** The range as connections find it. */
export interface Room {
  /** Ports of the range. */
  readonly size: number;
  /** Of them, what connections can be given: neither bound by a listener nor reserved; expected values where not measured. */
  readonly free: Halves;
  /** Chance that a new listener's port is one of these. */
  readonly inside: Halves;
  /** Chance that it is the port of another program's listener. */
  readonly foreign: number;
}

/** Connections to each of `count` destinations: how many hold a port at a time. */
export interface Load {
  readonly count: number;
  readonly load: number;
}

/** Seconds that a connection holds its port. */
export function holdTime({ lifetime, timeWait }: Inputs): number {
  return lifetime + timeWait * TIME_WAIT;
}

/** Little's law: rate × time, each destination for itself. */
export function loadsOf({ rate, destinations }: Inputs, hold: number): Load[] {
  const classes = typeof destinations === 'number' ? [{ count: destinations, share: 1 }] : destinations;
  return classes.map((one) => ({ count: one.count, load: (rate * hold * one.share) / one.count }));
}

export function roomOf(inputs: Inputs): Room {
  const range = scanned(inputs.range);
  const places = parsePlaces(inputs.ports);
  const foreign = parsePorts(inputs.foreign);
  const present = parsePorts(inputs.present ?? '');
  const closed = union(union(parsePorts(inputs.reserved), foreign), present);
  const open = difference(range, closed);
  const parity = inputs.range.first % 2;
  // Where only their number is known, listeners lie where the next ones come, as far as there is room for them.
  const expected = inputs.present === undefined ? inputs.listeners : 0;
  const halfOf = (which: number): [free: number, inside: number] => {
    const inHalf = (set: PortSet) => countParity(intersect(set, open), which);
    const mine = countParity(open, which);
    const inside = chance(places, union(foreign, present), inHalf);
    return [Math.max(0, mine - Math.min(expected * chance(places, foreign, inHalf), mine)), inside];
  };
  const [first, second] = [halfOf(parity), halfOf(1 - parity)];
  return {
    size: count(range),
    free: { first: Math.round(first[0]), second: Math.round(second[0]) },
    inside: { first: first[1], second: second[1] },
    foreign: chance(places, present, (place) => count(intersect(place, foreign))),
  };
}

/** connect(2) walks an even number of ports: of an odd one the last is never given (`remaining &= ~1U`). */
function scanned({ first, last }: Inputs['range']): PortSet {
  const size = last - first + 1;
  return { ranges: [[first, size > 1 ? first + (size & ~1) - 1 : last]] };
}

/**
 * Share of the free ports of each half that is held at a random moment. bind(2) with port 0 begins with the other parity and
 * gives each port once (inet_csk_find_open_port in net/ipv4/inet_connection_sock.c).
 * @param survives share of the connections that are looked at: those of an earlier moment that hold their port still
 */
export function busyShares({ binding }: Inputs, { free }: Room, loads: readonly Load[], survives = 1): Halves {
  if (binding === 'bind') {
    const load = loads.reduce((sum, one) => sum + one.count * one.load, 0);
    const [second, first] = filled(load, free.second, free.first);
    return { first: first * survives, second: second * survives };
  }
  let [first, second] = [1, 1];
  for (const one of loads) {
    const [a, b] = filled(one.load, free.first, free.second);
    first *= (1 - a * survives) ** one.count;
    second *= (1 - b * survives) ** one.count;
  }
  return { first: 1 - first, second: 1 - second };
}

/** What of the first group and of its overflow is in use: Erlang's formula for the first, and for both together. */
function filled(load: number, first: number, second: number): [number, number] {
  const [lost = 0, lostByBoth = 0] = losses(load, [first, first + second]);
  return [
    first > 0 ? Math.min(1, (load * (1 - lost)) / first) : 0,
    second > 0 ? Math.min(1, (load * (lost - lostByBoth)) / second) : 0,
  ];
}

/** Share of the ports held at a moment that the same connections hold `seconds` later. */
export function survival(inputs: Inputs, seconds: number): number {
  const { lifetime, timeWait, lifetimes } = inputs;
  const hold = holdTime(inputs);
  if (hold === 0 || seconds === 0) return hold === 0 ? 0 : 1;
  // Of a moment's connections the remaining life: exponential again, or anything up to the fixed length alike.
  const ended = (t: number) => {
    if (t <= 0) return 0;
    if (lifetime === 0) return 1;
    return lifetimes === 'fixed' ? Math.min(1, t / lifetime) : 1 - Math.exp(-t / lifetime);
  };
  const alive = 1 - ended(seconds) + timeWait * (ended(seconds) - ended(seconds - TIME_WAIT));
  const waiting = Math.max(0, 1 - seconds / TIME_WAIT);
  return (lifetime * alive + timeWait * TIME_WAIT * waiting) / hold;
}
