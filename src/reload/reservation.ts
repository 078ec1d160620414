/** What of ip_local_reserved_ports a reload changes. Pure; `reserve.ts` writes it. */
import type { Bind } from '../model/bind.js';
import type { Plan } from '../model/plan.js';
import * as Ports from '../model/ports.js';
import type { PortSet } from '../model/ports.js';
import type { Settings } from '../settings.js';
import { portsToAdd, refuseTooLargeShare, shareOf, type Reservations } from './reserve.js';

export interface EphemeralRange {
  readonly first: number;
  readonly last: number;
}

/** Ports of this namespace's listeners, TCP and UDP (the kernel's list is for both). */
export function listenerPorts(binds: readonly Bind[]): PortSet {
  return Ports.portSet(
    binds.flatMap(({ endpoint }) =>
      endpoint.kind === 'inet' && endpoint.namespace === undefined ? [endpoint.port] : [],
    ),
  );
}

/** An outgoing connection may be given this port at any moment: it is in the ephemeral range and not reserved. */
export function isExposed(port: number, { first, last }: EphemeralRange, reserved: PortSet): boolean {
  return port >= first && port <= last && !Ports.has(reserved, port);
}

/**
 * `add` before the new ports are bound, `remove` after commit: of ours, what no listener needs any more and the list can do
 * without in one write(2). Foreign ports are never removed. Nothing at all where reserving is switched off.
 * @throws BERTH_RESERVE_LIMIT
 */
export function planReservation(
  binds: readonly Bind[],
  now: Reservations,
  settings: Settings['reserve'],
): Plan['reserve'] {
  if (!settings.enabled) return { add: '', remove: '', share: shareOf(now.reserved, now.ephemeral) };
  const { ephemeral } = now;
  const wanted = listenerPorts(binds);
  const add = portsToAdd(now, wanted);
  refuseTooLargeShare(now, add, settings.maxShare);
  const during = Ports.union(now.reserved, add);
  const left = Ports.difference(during, Ports.difference(now.ours, wanted));
  const remove = Ports.difference(during, Ports.coalesce(left, Ports.ONE_WRITE, ephemeral));
  return { add: Ports.formatPorts(add), remove: Ports.formatPorts(remove), share: shareOf(during, ephemeral) };
}
