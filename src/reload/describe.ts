/** Sentences for people: what is the matter with a port, who holds it, what will be done about it. */
import { formatAddress, formatEndpoint, type Endpoint } from '../model/endpoint.js';
import type { Action } from '../model/plan.js';
import { has, type PortSet } from '../model/ports.js';
import type { SocketRow } from '../model/socket.js';
import type { Holder, Verdict } from '../model/verdict.js';
import type { Settings } from '../settings.js';
import { isExposed, type EphemeralRange } from './reservation.js';

export interface SentenceFacts {
  readonly ephemeral: EphemeralRange;
  readonly reserved: PortSet;
  /** What a reload would do about it, in order. */
  readonly rungs: readonly Action[];
  readonly settings: Pick<Settings, 'conflicts' | 'reserve'>;
  /** For times of day; default: the present moment. */
  readonly now?: Date;
}

/** `NAME what and who; how it can come to that; what berth reload does`. */
export function verdictSentence(endpoint: Endpoint, verdict: Verdict, facts: SentenceFacts): string {
  const name = formatEndpoint(endpoint);
  const parts = [`${name} ${stateOf(verdict, facts)}`];
  const port = endpoint.kind === 'inet' && endpoint.namespace === undefined ? endpoint.port : undefined;
  if (port !== undefined && verdict.kind !== 'forbidden' && verdict.kind !== 'not-local') {
    parts.push(...coverage(port, verdict, facts));
  }
  return [...parts, ...remedies(verdict, port, facts)].join('; ');
}

function stateOf(verdict: Verdict, facts: SentenceFacts): string {
  switch (verdict.kind) {
    case 'free':
      return 'is free';
    case 'harmless':
      return `can be bound beside ${holdersText(verdict.holders, facts, 'a socket that allows it')}`;
    case 'ours':
      return 'is served by the HAProxy that is being reloaded';
    case 'shareable':
      return `taken by ${holdersText(verdict.holders, facts, 'a connection')}`;
    case 'expiring':
      return `taken by ${holdersText(verdict.holders, facts, 'a closed connection')}${remaining(verdict.expiresMs)}`;
    case 'taken':
      return (
        `taken by ${holdersText(verdict.holders, facts, 'another socket')}` +
        (verdict.stale
          ? ', which is not the HAProxy that is being reloaded and would take a part of the connections'
          : '')
      );
    case 'busy':
      return verdict.holders.length === 0
        ? 'taken by a socket that no table of the kernel shows (come and gone, or reset and not yet closed by its owner)'
        : `taken by ${holdersText(verdict.holders, facts, 'a socket')}`;
    case 'forbidden':
      return `may not be bound (${verdict.errno}): it needs ${verdict.need}`;
    case 'not-local':
      return (
        'is not an address of this host (EADDRNOTAVAIL)' +
        (verdict.nonlocalBind ? ' although ip_nonlocal_bind is 1' : ', and ip_nonlocal_bind is 0')
      );
    case 'unusable':
      return `cannot be bound (${verdict.syscall}: ${verdict.errno}): ${verdict.why}`;
    case 'unknown':
      return `is known to HAProxy alone: ${verdict.why}`;
  }
}

/** The first holder in full, the others as a number. */
function holdersText(holders: readonly Holder[], facts: SentenceFacts, none: string): string {
  const [first] = holders;
  if (first === undefined) return none;
  const more = holders.length - 1;
  return holderText(first, facts) + (more === 0 ? '' : ` and ${more} more`);
}

/** `an outgoing connection 10.0.0.1:58824 → 10.0.0.9:443 ESTABLISHED, haproxy[12] (draining since 14:02)` */
export function holderText(holder: Holder, facts: Pick<SentenceFacts, 'ephemeral' | 'now'>): string {
  return `${socketText(holder.socket, facts.ephemeral)}, ${ownerText(holder, facts.now ?? new Date())}`;
}

function socketText(row: SocketRow, { first, last }: EphemeralRange): string {
  const local = formatAddress(row.family, row.localAddress, row.localPort) + (row.device ? `%${row.device}` : '');
  if (row.state === 'LISTEN') return `a listener on ${local}`;
  if (row.state === 'UNCONN') return `a UDP socket on ${local}`;
  if (row.state === 'BOUND') return `a socket on ${local} that is bound and silent`;
  // Which end opened it stands in no table; a port that the kernel gave out was opened from here.
  const outgoing = row.localPort >= first && row.localPort <= last;
  const remote = formatAddress(row.family, row.remoteAddress, row.remotePort);
  return `${outgoing ? 'an outgoing' : 'a'} ${row.transport === 'udp' ? 'UDP ' : ''}connection ${local} → ${remote} ${row.state}`;
}

function ownerText({ socket, owners, draining }: Holder, now: Date): string {
  const [owner] = owners;
  if (owner === undefined) {
    return socket.inode === 0
      ? 'owned by nobody any more'
      : `of a process that cannot be seen from here (uid ${socket.uid})`;
  }
  const unit = owner.unit === undefined || owner.unit === '' ? '' : ` of ${owner.unit}`;
  const others = owners.length > 1 ? ` and ${owners.length - 1} more processes` : '';
  const since = draining?.since === undefined ? '' : ` since ${timeText(draining.since, now)}`;
  return `${owner.comm}[${owner.pid}]${unit}${others}${draining === undefined ? '' : ` (draining${since})`}`;
}

/** `14:02` today, `2026-11-22 14:02` on another day; local time. */
export function timeText(iso: string, now: Date): string {
  const time = new Date(iso);
  const two = (n: number) => String(n).padStart(2, '0');
  const clock = `${two(time.getHours())}:${two(time.getMinutes())}`;
  if (time.toDateString() === now.toDateString()) return clock;
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${clock}`;
}

function remaining(expiresMs: number | undefined): string {
  return expiresMs === undefined ? '' : `, for ${Math.max(1, Math.ceil(expiresMs / 1000))} s more`;
}

function coverage(port: number, verdict: Verdict, { ephemeral, reserved }: SentenceFacts): string[] {
  const { first, last } = ephemeral;
  if (port < first || port > last) return [];
  const range = `ephemeral range ${first}–${last} covers this port`;
  if (!has(reserved, port)) return [`${range} and it is not reserved`];
  // A reserved port says nothing new about a free one, and much about one that is held all the same.
  return verdict.kind === 'free' || verdict.kind === 'ours' ? [] : [`${range}, but it is reserved by now`];
}

/** What a reload does or would do: the first thing tried, and what else has to be done for it to help. */
function remedies(verdict: Verdict, port: number | undefined, facts: SentenceFacts): string[] {
  const { rungs, settings, ephemeral, reserved } = facts;
  const reserves = settings.reserve.enabled && port !== undefined && isExposed(port, ephemeral, reserved);
  const alsoReserves = reserves ? ' and reserves it' : '';
  const [first] = rungs;
  if (first === undefined) return [];
  switch (first) {
    case 'guard':
      return reserves ? ['berth reload reserves it'] : [];
    case 'share': {
      const dead = rungs.includes('destroy') ? ', removes what closed connections left on it' : '';
      return [`berth reload shares the port${dead}${alsoReserves}`];
    }
    case 'destroy': {
      const what = verdict.kind === 'expiring' ? 'removes what is left of the connection' : 'ends the connection';
      return [`berth reload ${what}${alsoReserves}`];
    }
    case 'wait': {
      const seconds = settings.conflicts.wait.deadlineMs / 1000;
      return [
        `berth reload waits for it, at most ${seconds} s, and ${ENDS[settings.conflicts.onUnsolved]} if that is too short`,
      ];
    }
    case 'quarantine':
    case 'abort':
      return [...adviceFor(verdict), `until then berth reload ${ENDS[first]}`];
  }
}

const ENDS = {
  quarantine: 'leaves this listener out and serves all others',
  abort: 'stops before anything is changed',
} as const;

function adviceFor(verdict: Verdict): string[] {
  switch (verdict.kind) {
    case 'taken':
      return [verdict.stale ? 'end that HAProxy' : 'only its owner can give it up'];
    case 'shareable':
      return ['the settings leave it alone (conflicts.share, conflicts.wait)'];
    case 'expiring':
      return ['the settings leave it alone (conflicts.destroy, conflicts.wait)'];
    case 'forbidden':
      return ['grant that'];
    case 'not-local':
      return ['add the address, or set ip_nonlocal_bind, or `transparent` on the bind'];
    case 'ours':
      return [
        'under noreuseport two such sockets cannot stand side by side, so the old HAProxy has to be stopped first',
      ];
    default:
      return [];
  }
}
