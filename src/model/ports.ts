/**
 * Sets of ports in the form of `net.ipv4.ip_local_reserved_ports` (`80,443,8000-8010`; kernel
 * Documentation/networking/ip-sysctl.rst, lib proc_do_large_bitmap). Pure values and set arithmetic.
 */
import { BerthError } from '../errors.js';

/** A set of ports. The kernel's bitmap has a bit 0 as well, so a foreign `0` is kept; Berth never adds it. */
export interface PortSet {
  /** Sorted, disjoint, not adjacent; both ends included. */
  readonly ranges: readonly (readonly [first: number, last: number])[];
}

type Range = readonly [first: number, last: number];

export const NO_PORTS: PortSet = { ranges: [] };

/** One write(2) of more than a page is cut by the kernel (PAGE_SIZE - 1 with 4 KiB pages). */
export const ONE_WRITE = 4095;

/** No list of one range is longer than `10000-65535`. */
const ONE_RANGE = 11;

/**
 * Read the kernel's list form. Empty text and white space around the list mean no ports; order, overlaps and neighbours
 * are normalised, as the kernel does.
 * @throws BERTH_USAGE on anything else: words, signs, empty items, ports above 65535, ranges that run backwards.
 */
export function parsePorts(text: string): PortSet {
  const list = text.trim();
  if (list === '') return NO_PORTS;
  return normalise(list.split(',').map(parseItem));
}

function parseItem(item: string): Range {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(item);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (match === null || last > 65535 || first > last) {
    throw new BerthError('BERTH_USAGE', `"${item.slice(0, 40)}" is not a port (0-65535) nor a range of ports`, {
      step: 'ports',
      advice: 'Write ports as a list, for example 80,443,8000-8010',
    });
  }
  return [first, last];
}

/** The kernel's list form, without a line end; empty text for no ports. */
export function formatPorts(set: PortSet): string {
  return set.ranges.map(formatRange).join(',');
}

/** A set of single ports. @throws RangeError where one is not an integer in 0..65535. */
export function portSet(ports: Iterable<number>): PortSet {
  const ranges: Range[] = [];
  for (const port of ports) {
    if (!Number.isInteger(port) || port < 0 || port > 65535) throw new RangeError(`not a port: ${port}`);
    ranges.push([port, port]);
  }
  return normalise(ranges);
}

/** The ports first..last, both included; none where first > last. */
export function portRange(first: number, last: number): PortSet {
  return first > last ? NO_PORTS : { ranges: [[first, last]] };
}

export function has(set: PortSet, port: number): boolean {
  let low = 0;
  let high = set.ranges.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const [first, last] = set.ranges[middle] as Range;
    if (port < first) high = middle - 1;
    else if (port > last) low = middle + 1;
    else return true;
  }
  return false;
}

export function count(set: PortSet): number {
  return set.ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
}

/** Every port, ascending. */
export function* ports(set: PortSet): Generator<number, void> {
  for (const [first, last] of set.ranges) for (let port = first; port <= last; port++) yield port;
}

export function union(a: PortSet, b: PortSet): PortSet {
  return normalise([...a.ranges, ...b.ranges]);
}

export function intersect(a: PortSet, b: PortSet): PortSet {
  const ranges: Range[] = [];
  for (let i = 0, j = 0; i < a.ranges.length && j < b.ranges.length;) {
    const [firstA, lastA] = a.ranges[i] as Range;
    const [firstB, lastB] = b.ranges[j] as Range;
    const first = Math.max(firstA, firstB);
    const last = Math.min(lastA, lastB);
    if (first <= last) ranges.push([first, last]);
    if (lastA < lastB) i++;
    else j++;
  }
  return { ranges };
}

/** The ports of `a` that are not in `b`. */
export function difference(a: PortSet, b: PortSet): PortSet {
  return intersect(a, complement(b));
}

function complement(set: PortSet): PortSet {
  const ranges: Range[] = [];
  let next = 0;
  for (const [first, last] of set.ranges) {
    if (next < first) ranges.push([next, first - 1]);
    next = last + 1;
  }
  if (next <= 65535) ranges.push([next, 65535]);
  return { ranges };
}

export function isSubset(inner: PortSet, outer: PortSet): boolean {
  return difference(inner, outer).ranges.length === 0;
}

export function equal(a: PortSet, b: PortSet): boolean {
  return formatPorts(a) === formatPorts(b);
}

/**
 * The set, grown by the cheapest gaps until its text fits into `maxBytes`; no port is ever dropped. A port of a gap costs
 * something only inside `within` (the ephemeral range: reserving a port outside it has no effect), so gaps outside
 * are closed first. A set that fits is returned as it is.
 * @throws RangeError where maxBytes is less than 11, which one range may need.
 */
export function coalesce(set: PortSet, maxBytes = ONE_WRITE, within: { first: number; last: number } = WHOLE): PortSet {
  if (maxBytes < ONE_RANGE) throw new RangeError(`a list of ports needs ${ONE_RANGE} bytes, not ${maxBytes}`);
  const { ranges } = set;
  let bytes = formatPorts(set).length;
  if (bytes <= maxBytes) return set;

  const gaps = gapsByCost(ranges, within);
  // Of each run of joined ranges only the entries at its two ends are kept true: start[end] and end[start].
  const start = ranges.map((_, index) => index);
  const end = ranges.map((_, index) => index);
  const length = (from: number, to: number) => formatRange([ranges[from]?.[0] ?? 0, ranges[to]?.[1] ?? 0]).length;
  for (const gap of gaps) {
    const from = start[gap] as number;
    const to = end[gap + 1] as number;
    bytes += length(from, to) - length(from, gap) - length(gap + 1, to) - 1;
    end[from] = to;
    start[to] = from;
    if (bytes <= maxBytes) break;
  }
  return normalise(joinedRuns(ranges, end));
}

const WHOLE = { first: 0, last: 65535 };

/** Indices i of the gaps between ranges i and i+1, cheapest first; equal ones from the left, so that runs grow. */
function gapsByCost(ranges: readonly Range[], within: { first: number; last: number }): number[] {
  const cost: number[] = [];
  for (let i = 0; i + 1 < ranges.length; i++) {
    const first = (ranges[i]?.[1] ?? 0) + 1;
    const last = (ranges[i + 1]?.[0] ?? 0) - 1;
    const inside = Math.max(0, Math.min(last, within.last) - Math.max(first, within.first) + 1);
    cost.push(inside * 65536 + (last - first));
  }
  return cost.map((_, index) => index).sort((a, b) => (cost[a] ?? 0) - (cost[b] ?? 0) || a - b);
}

function joinedRuns(ranges: readonly Range[], end: readonly number[]): Range[] {
  const joined: Range[] = [];
  for (let from = 0; from < ranges.length; from = (end[from] ?? from) + 1) {
    const to = end[from] ?? from;
    const [first, firstLast] = ranges[from] as Range;
    const [lastFirst, last] = ranges[to] as Range;
    // `5,7` is as long as `5-7`: joining just two single ports wins nothing and would cost the gap.
    if (to === from + 1 && first === firstLast && lastFirst === last) joined.push([first, first], [last, last]);
    else joined.push([first, last]);
  }
  return joined;
}

function formatRange([first, last]: Range): string {
  return first === last ? String(first) : `${first}-${last}`;
}

function normalise(ranges: readonly Range[]): PortSet {
  const merged: [number, number][] = [];
  for (const [first, last] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const before = merged.at(-1);
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else merged.push([first, last]);
  }
  return { ranges: merged };
}
