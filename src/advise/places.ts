/** Where listeners' ports are: parts of the port space, each with its weight, uniform inside. Pure. */
import { BerthError } from '../errors.js';
import { count, difference, type PortSet } from '../model/ports.js';

export interface Place {
  readonly first: number;
  readonly last: number;
  /** Of all listeners, 0..1; the weights of all places make 1. */
  readonly weight: number;
}

/** Users of Cloudpods' API choose the port of a listener, from 1 to 65535. */
const LBAGENT = '1-65535';

/**
 * `30000-39999`, `80=1,443=3,8000-8999=6`, `lbagent`. Without a weight a place weighs as many as it has ports.
 * @throws BERTH_USAGE
 */
export function parsePlaces(text: string): Place[] {
  const places = (text === 'lbagent' ? LBAGENT : text).split(',').map((item) => {
    const [, from, to = from, weight] = /^(\d{1,5})(?:-(\d{1,5}))?(?:=(\d+(?:\.\d+)?))?$/.exec(item.trim()) ?? [];
    const [first, last] = [Number(from), Number(to)];
    if (from === undefined || first < 1 || last > 65_535 || first > last) throw refused(item);
    return { first, last, weight: weight === undefined ? last - first + 1 : Number(weight) };
  });
  const total = places.reduce((sum, { weight }) => sum + weight, 0);
  if (total === 0) throw refused(text);
  return places.map((place) => ({ ...place, weight: place.weight / total }));
}

function refused(text: string): BerthError {
  return new BerthError('BERTH_USAGE', `"${text.slice(0, 40)}" does not say where listeners' ports are`, {
    step: 'advise',
    advice: 'Write ports and ranges with or without a weight, for example 30000-39999 or 80=1,8000-8999=9; or lbagent',
  });
}

/** The chance that a listener's port, of those that are not `taken`, is one that `counted` counts in its place. */
export function chance(places: readonly Place[], taken: PortSet, counted: (place: PortSet) => number): number {
  return places.reduce((sum, { first, last, weight }) => {
    const place = difference({ ranges: [[first, last]] }, taken);
    const size = count(place);
    return size === 0 ? sum : sum + (weight * counted(place)) / size;
  }, 0);
}

/** The ports of a set that have this parity: 0 even, 1 odd. As sets they would be a range each. */
export function countParity(set: PortSet, parity: number): number {
  const below = (end: number) => Math.floor((end + 1 - parity) / 2);
  return set.ranges.reduce((sum, [first, last]) => sum + below(last + 1) - below(first), 0);
}
