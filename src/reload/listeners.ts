/** The listeners of the serving generation, one page at a time, and those that cannot be served. Changes nothing. */
import type { SourcePlace } from '../model/bind.js';
import {
  type Endpoint,
  formatEndpoint,
  type InetEndpoint,
  parseEndpoint,
  type UnixEndpoint,
} from '../model/endpoint.js';
import type { Verdict } from '../model/verdict.js';
import type { HostContext } from './context.js';
import { verdictSentence } from './describe.js';
import { type Generation, type ListenerRecord, openGeneration, readRecords, servingNumber } from './generations.js';
import { isServable, rungsFor } from './plan.js';
import { preflightEndpoints } from './preflight.js';
import type { ConflictsReport, ListenerReport, ListenersReport, ListenerStateReport } from './reports.js';
import { readReservations } from './reserve.js';
import { namespacesOf, socketsServedBy } from './survey.js';

type Context = Pick<HostContext, 'kernel' | 'haproxy' | 'ledger' | 'settings' | 'state'>;

export interface ListenersPage {
  /** Name of the last listener of the page before. */
  readonly after?: string;
  /** Listeners a page; default: the setting `batchSize`. */
  readonly limit?: number;
}

/**
 * What was recorded when the generation went live, held against the sockets that HAProxy listens on now; sorted by name, code
 * unit by code unit, so that a page begins where the one before ended whatever has come or gone between.
 * @throws BERTH_STATE_DIR, and what finding the running HAProxy throws
 */
export async function listeners(context: Context, { after, limit }: ListenersPage = {}): Promise<ListenersReport> {
  const generation = await servingGeneration(context);
  if (generation === undefined) return { total: 0, listeners: [] };
  const records = byName(await readRecords(generation));
  const leftOut = generation.meta.quarantined.filter((name) => !records.has(name));
  const names = [...new Set([...records.keys(), ...leftOut])].sort(byCodeUnit);
  const from = after === undefined ? 0 : names.findIndex((name) => byCodeUnit(name, after) > 0);
  const size = limit ?? context.settings.batchSize;
  const page = from < 0 ? [] : names.slice(from, from + size);
  const inodes = await servedInodes(context, page);
  const last = page.at(-1);
  return {
    generation: generation.number,
    total: names.length,
    listeners: page.map((name) => stateOf(name, records.get(name), inodes.get(name))),
    ...(last !== undefined && last !== names.at(-1) ? { next: last } : {}),
  };
}

/**
 * The listeners that the serving generation left out, each with what the kernel says of it now: `servable` tells of one
 * whose port has become free that the next reload serves it.
 */
export async function conflicts(context: Context): Promise<ConflictsReport> {
  const quarantined = (await servingGeneration(context))?.meta.quarantined ?? [];
  const endpoints = quarantined.flatMap((name) => parseEndpoint(name) ?? []);
  const inet = endpoints.filter((endpoint): endpoint is InetEndpoint => endpoint.kind === 'inet');
  const unix = endpoints.filter((endpoint): endpoint is UnixEndpoint => endpoint.kind === 'unix');
  const tried = inet.length === 0 ? [] : (await preflightEndpoints(context, inet)).listeners;
  return { listeners: [...tried, ...(await Promise.all(unix.map((endpoint) => tryPath(context, endpoint))))] };
}

async function servingGeneration({ state }: Context): Promise<Generation | undefined> {
  const number = await servingNumber(state);
  return number === undefined ? undefined : openGeneration(state, number);
}

/** Of several records of one name (two binds on one place share their sockets) the first tells where it stands. */
function byName(records: readonly ListenerRecord[]): Map<string, ListenerRecord> {
  const found = new Map<string, ListenerRecord>();
  for (const record of records) if (!found.has(record.endpoint)) found.set(record.endpoint, record);
  return found;
}

/** name → inode, of what the running HAProxy listens on. */
async function servedInodes({ kernel, haproxy }: Context, names: readonly string[]): Promise<Map<string, number>> {
  const running = names.length === 0 ? undefined : await haproxy.find();
  if (!running) return new Map();
  const wanted = names.flatMap((name): Endpoint[] => {
    const endpoint = parseEndpoint(name);
    return endpoint ? [endpoint] : [];
  });
  const served = await socketsServedBy(kernel, running.worker, namespacesOf(wanted));
  return new Map(served.map(({ endpoint, inode }) => [formatEndpoint(endpoint), inode]));
}

function stateOf(name: string, record: ListenerRecord | undefined, inode: number | undefined): ListenerStateReport {
  // A generation of a Berth before this one has no record of what it left out.
  if (!record) return { name, section: '', state: 'quarantined' };
  const place: SourcePlace = { file: record.file, line: record.line };
  const about = { name, section: record.section, place };
  if (record.quarantined) return { ...about, state: 'quarantined' };
  return inode === undefined ? { ...about, state: 'missing' } : { ...about, state: 'served', inode };
}

/** A path on which somebody else listens; a test bind would leave a file behind. */
async function tryPath({ kernel, ledger, settings }: Context, endpoint: UnixEndpoint): Promise<ListenerReport> {
  const holder = endpoint.abstract ? undefined : await kernel.unixListenerAt(endpoint.path);
  const who = holder?.comm === undefined ? 'another process' : `${holder.comm}[${holder.pid}]`;
  const verdict: Verdict = holder
    ? { kind: 'unusable', errno: 'EADDRINUSE', syscall: 'bind', why: `${who} listens there` }
    : { kind: 'free' };
  const reservations = await readReservations(kernel, ledger);
  return {
    endpoint,
    name: formatEndpoint(endpoint),
    verdict,
    servable: isServable(verdict, settings.conflicts),
    exposed: false,
    sentence: verdictSentence(endpoint, verdict, {
      ...reservations,
      rungs: rungsFor(verdict, settings.conflicts),
      settings,
    }),
  };
}

function byCodeUnit(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
