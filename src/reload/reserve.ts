/**
 * Keep listener ports out of the ephemeral range. The kernel's list is everybody's: what others put there stays, and the
 * ledger says what is ours, because the kernel merges and sorts and tells nobody who reserved what.
 */
import { BerthError } from '../errors.js';
import {
  NO_PORTS,
  ONE_WRITE,
  coalesce,
  count,
  difference,
  formatPorts,
  intersect,
  portRange,
  union,
} from '../model/ports.js';
import type { PortSet } from '../model/ports.js';
import type { Kernel } from './env.js';
import type { EphemeralFacts, ReservationsReport } from './reports.js';

/** Which reserved ports of this network namespace, in this boot, are ours. */
export interface Ledger {
  ours(): Promise<PortSet>;
  record(ports: PortSet): Promise<void>;
}

export interface Reservations {
  readonly ephemeral: { readonly first: number; readonly last: number };
  readonly reserved: PortSet;
  /** In the ledger and in the kernel. */
  readonly ours: PortSet;
  /** In the ledger, no longer in the kernel: overwritten by somebody. */
  readonly lost: PortSet;
}

export async function readReservations(kernel: Kernel, ledger: Ledger): Promise<Reservations> {
  const [ephemeral, reserved, claimed] = await Promise.all([
    kernel.ephemeralRange(),
    kernel.reservedPorts(),
    ledger.ours(),
  ]);
  return { ephemeral, reserved, ours: intersect(claimed, reserved), lost: difference(claimed, reserved) };
}

/** `reserved` without what it has that `wanted` needs not: which ports are to be added so that all of `wanted` is reserved. */
export function portsToAdd(now: Reservations, wanted: PortSet): PortSet {
  const { first, last } = now.ephemeral;
  const missing = difference(intersect(wanted, portRange(first, last)), now.reserved);
  if (missing.ranges.length === 0) return NO_PORTS;
  // The whole list has to fit one write(2), so that a later release can replace it at once: the smallest gaps are closed.
  return difference(coalesce(union(now.reserved, missing), ONE_WRITE, now.ephemeral), now.reserved);
}

/** Part of the ephemeral range that would be reserved, 0..1. */
export function shareOf(reserved: PortSet, { first, last }: { readonly first: number; readonly last: number }): number {
  return count(intersect(reserved, portRange(first, last))) / (last - first + 1);
}

/** @throws BERTH_RESERVE_LIMIT with the numbers and the alternatives */
export function refuseTooLargeShare(now: Reservations, add: PortSet, maxShare: number): void {
  const share = shareOf(union(now.reserved, add), now.ephemeral);
  if (add.ranges.length === 0 || share <= maxShare) return;
  const { first, last } = now.ephemeral;
  throw new BerthError(
    'BERTH_RESERVE_LIMIT',
    `Reserving ${count(add)} more ports would leave only ${percent(1 - share)} of the ephemeral range ${first}–${last} to outgoing connections; the limit reserve.maxShare is ${percent(maxShare)}`,
    {
      step: 'reserve',
      advice: `Move net.ipv4.ip_local_port_range away from the listeners, or the listeners out of ${first}–${last}, or raise reserve.maxShare`,
      details: { share, maxShare, add: formatPorts(add), reserved: formatPorts(now.reserved) },
    },
  );
}

/** Add ports by additive writes: what others reserve meanwhile is not lost. The ledger is written first. */
export async function addReservations(kernel: Kernel, ledger: Ledger, add: PortSet): Promise<void> {
  if (add.ranges.length === 0) return;
  await ledger.record(union(await ledger.ours(), add));
  await kernel.writeReservedPorts(add, true);
}

/**
 * Release ports, as far as they are ours. Ports that the list cannot do without in one write (4095 bytes) stay reserved
 * until a later release. @returns what was released
 */
export async function releaseReservations(kernel: Kernel, ledger: Ledger, ports: PortSet): Promise<PortSet> {
  const now = await readReservations(kernel, ledger);
  const remove = intersect(ports, now.ours);
  const left = difference(now.reserved, remove);
  const target = coalesce(left, ONE_WRITE, now.ephemeral);
  const released = difference(now.reserved, target);
  if (released.ranges.length > 0) await kernel.writeReservedPorts(target, false);
  // Forget what was overwritten by others too, where it was to go anyway.
  const claimed = union(now.ours, now.lost);
  await ledger.record(union(difference(claimed, union(released, ports)), difference(target, left)));
  return released;
}

export function ephemeralFacts({ ephemeral, reserved }: Reservations): EphemeralFacts {
  return { ...ephemeral, reserved: formatPorts(reserved), reservedShare: shareOf(reserved, ephemeral) };
}

export function reservationsReport(now: Reservations): ReservationsReport {
  return {
    ephemeral: ephemeralFacts(now),
    ours: formatPorts(now.ours),
    foreign: formatPorts(difference(now.reserved, now.ours)),
    lost: formatPorts(now.lost),
  };
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
