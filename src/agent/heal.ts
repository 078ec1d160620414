/** What a full reconciliation looks at and mends, besides the sources: listeners, quarantine, reservations. */
import { formatEndpoint } from '../model/endpoint.js';
import { formatPorts } from '../model/ports.js';
import type { ServedSocket } from '../model/plan.js';
import type { HostContext } from '../reload/context.js';
import { conflicts } from '../reload/listeners.js';
import { addReservations, readReservations, type Reservations, reservationsReport } from '../reload/reserve.js';
import { withJournal } from '../reload/session.js';

/** Listeners of the process whose very socket is not in LISTEN (UDP: bound) any more; one dump of each table that has some. */
export async function lostListeners(
  { kernel }: Pick<HostContext, 'kernel'>,
  places: readonly ServedSocket[],
): Promise<ServedSocket[]> {
  const tables = new Map<string, Promise<readonly number[]>>();
  for (const { endpoint } of places) {
    if (endpoint.kind !== 'inet') continue;
    const { transport, namespace } = endpoint;
    const table = `${transport} ${namespace ?? ''}`;
    if (!tables.has(table)) tables.set(table, kernel.listeningInodes(transport, namespace));
  }
  const there = new Set((await Promise.all(tables.values())).flat());
  return places.filter(({ inode }) => !there.has(inode));
}

/** Listeners that were left out and could be served now. */
export async function freedListeners(context: HostContext): Promise<string[]> {
  const { listeners } = await conflicts(context);
  return listeners.filter(({ servable }) => servable).map(({ name }) => name);
}

export interface ReservationState {
  readonly ours: string;
  readonly foreign: string;
  readonly share: number;
  /** Put back just now; empty where nothing was lost. */
  readonly reasserted: string;
}

/** Reservations of ours that somebody overwrote are put back. */
export async function reassertReservations(context: HostContext): Promise<ReservationState> {
  const before = await readReservations(context.kernel, context.ledger);
  if (before.lost.ranges.length === 0 || !context.settings.reserve.enabled) return described(before, '');
  const { lost, after } = await withJournal(context, 'reassert reservations', async ({ kernel, ledger }) => {
    const now = await readReservations(kernel, ledger);
    await addReservations(kernel, ledger, now.lost);
    return { lost: now.lost, after: await readReservations(kernel, ledger) };
  });
  return described(after, formatPorts(lost));
}

function described(now: Reservations, reasserted: string): ReservationState {
  const { ours, foreign, ephemeral } = reservationsReport(now);
  return { ours, foreign, share: ephemeral.reservedShare, reasserted };
}

export function namesOf(places: readonly ServedSocket[]): string[] {
  return places.map(({ endpoint }) => formatEndpoint(endpoint));
}
