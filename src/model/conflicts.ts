/** Binds of one configuration against each other: which HAProxy itself would refuse, and which are probably not meant. */
import type { Bind } from './bind.js';
import { ANY, coveredV4, coveredV6, endpointKey, type InetEndpoint } from './endpoint.js';
import type { BindConflict } from './plan.js';

/**
 * Binds that keep HAProxy from starting, each with the first one before it that stands in its way. O(n log n).
 * Tried with HAProxy 2.6: with SO_REUSEPORT (the default) any TCP binds stand beside each other, wildcards and exact
 * duplicates alike; under `noreuseport` overlapping ones get EADDRINUSE; UDP never conflicts (SO_REUSEADDR is enough there);
 * an abstract unix name conflicts always, a path never (see {@link duplicateBinds}).
 * @param major of HAProxy's version: from 3.0 `shards` opens one socket under `noreuseport`, before it conflicts with itself
 */
export function bindConflicts(binds: readonly Bind[], major: number): BindConflict[] {
  const conflicts: BindConflict[] = [];
  const names = new Map<string, Bind>();
  const ports = new Map<string, TakenPort>();
  const allReuse = binds.every(({ reusePort }) => reusePort);
  for (const bind of binds) {
    const { endpoint } = bind;
    if (endpoint.kind === 'unix') {
      const first = endpoint.abstract ? firstOf(names, endpointKey(endpoint), bind) : undefined;
      if (first !== undefined) conflicts.push({ first, second: bind, reason: 'both bind the same abstract name' });
      continue;
    }
    if (allReuse || endpoint.transport === 'udp') continue;
    if (!bind.reusePort && bind.sockets > 1 && major < 3) {
      conflicts.push({
        first: bind,
        second: bind,
        reason: 'several shards need SO_REUSEPORT, which noreuseport takes away',
      });
    }
    const place = `${endpoint.port}|${endpoint.namespace ?? ''}`;
    const taken = ports.get(place) ?? new TakenPort();
    ports.set(place, taken);
    const first = taken.add(bind, endpoint);
    if (first !== undefined) {
      conflicts.push({ first, second: bind, reason: 'they overlap, and noreuseport lets only one of them be bound' });
    }
  }
  return conflicts;
}

/**
 * Exact duplicates that HAProxy accepts: of two TCP or UDP binds each gets a share of the traffic, of two unix binds on one
 * path the second replaces the first, which is then never reached.
 */
export function duplicateBinds(binds: readonly Bind[]): BindConflict[] {
  const duplicates: BindConflict[] = [];
  const seen = new Map<string, Bind>();
  for (const bind of binds) {
    const unix = bind.endpoint.kind === 'unix';
    if (bind.endpoint.kind === 'unix' && bind.endpoint.abstract) continue;
    if (!bind.reusePort && bind.endpoint.kind === 'inet' && bind.endpoint.transport === 'tcp') continue;
    const first = firstOf(seen, endpointKey(bind.endpoint), bind);
    if (first === undefined) continue;
    const reason = unix
      ? 'the second replaces the first on its path'
      : 'the kernel divides the traffic between the two';
    duplicates.push({ first, second: bind, reason });
  }
  return duplicates;
}

function firstOf(seen: Map<string, Bind>, key: string, bind: Bind): Bind | undefined {
  const first = seen.get(key);
  if (first === undefined) seen.set(key, bind);
  return first;
}

/** First bind by device ('' for none). */
type ByDevice = Map<string, Bind>;

/** What is taken of one TCP port: per address, and per family by anyone at all. */
class TakenPort {
  private readonly byAddress = new Map<string, ByDevice>();
  /** Binds that allow no reuse; one such partner is enough for a conflict. */
  private readonly exclusive = new Map<string, ByDevice>();

  /** Takes the endpoint; returns the first bind before it that excludes it. */
  add(bind: Bind, endpoint: InetEndpoint): Bind | undefined {
    const device = endpoint.device ?? '';
    const covered = [
      ['4', coveredV4(endpoint)],
      ['6', coveredV6(endpoint)],
    ] as const;
    // A bind with SO_REUSEPORT meets only those without; a bind without meets all.
    const others = bind.reusePort ? this.exclusive : this.byAddress;
    let first: Bind | undefined;
    for (const [family, address] of covered) {
      if (address === undefined) continue;
      for (const name of address === ANY ? [`${family} any`] : [`${family} ${address}`, `${family} ${ANY}`]) {
        first ??= meeting(others.get(name), device);
      }
    }
    for (const [family, address] of covered) {
      if (address === undefined) continue;
      for (const index of bind.reusePort ? [this.byAddress] : [this.byAddress, this.exclusive]) {
        for (const name of [`${family} ${address}`, `${family} any`]) {
          const devices = index.get(name) ?? new Map<string, Bind>();
          index.set(name, devices);
          if (!devices.has(device)) devices.set(device, bind);
        }
      }
    }
    return first;
  }
}

function meeting(devices: ByDevice | undefined, device: string): Bind | undefined {
  if (device === '') return devices?.values().next().value;
  return devices?.get(device) ?? devices?.get('');
}
