import { lastAttempt } from './attempt.js';
import type { HostContext } from './context.js';
import { listGenerations, openGeneration, stagedFiles, type ListedGeneration } from './generations.js';
import { haproxyReport } from './preflight.js';
import { unfinished } from './recover.js';
import type { GenerationReport, HistoryReport, StatusReport } from './reports.js';
import { readReservations, reservationsReport } from './reserve.js';
import { stopTimes } from './stop-times.js';
import { socketsServedBy } from './survey.js';
import { type Expectation, verify } from './verify.js';
import { formatEndpoint } from '../model/endpoint.js';

/** Is every listener of the serving generation served, by whom, and is anything left undone? Changes nothing. */
export async function status(context: HostContext): Promise<StatusReport> {
  const { kernel, haproxy, ledger, state } = context;
  const [running, generations, reservations] = await Promise.all([
    haproxy.find(),
    listGenerations(state),
    readReservations(kernel, ledger),
  ]);
  const serving = generations.find((generation) => generation.serving);
  const expected = serving ? await wantedBy(context, serving) : { listeners: [], lenient: true };
  const verification = running && (await verify(kernel, running.worker, expected.listeners, expected.lenient));
  const listening = running ? (await socketsServedBy(kernel, running.worker)).length : 0;
  const journal = await context.openJournal();
  const left = unfinished(journal.unfinished);
  await journal.close();
  const holder = state.holder();
  const attempt = lastAttempt(state);
  return {
    ok: verification?.ok === true && left === undefined,
    ...(running ? { running: haproxyReport(running, listening, stopTimes(state)) } : {}),
    ...(serving ? { generation: generationReport(serving) } : {}),
    listeners: {
      wanted: expected.listeners.length,
      served: verification?.served ?? 0,
      missing: (verification?.missing ?? expected.listeners.map(({ bind }) => bind)).map(({ endpoint }) =>
        formatEndpoint(endpoint),
      ),
      extra: (verification?.extra ?? []).map(({ endpoint }) => formatEndpoint(endpoint)),
    },
    quarantined: serving?.quarantined ?? [],
    ...(attempt ? { lastAttempt: attempt } : {}),
    reservations: reservationsReport(reservations),
    ...(left === undefined ? {} : { unfinished: left }),
    ...(holder ? { lock: { pid: holder.pid, doing: holder.doing } } : {}),
  };
}

export async function history(context: Pick<HostContext, 'state'>): Promise<HistoryReport> {
  return { generations: (await listGenerations(context.state)).map(generationReport) };
}

export function generationReport(listed: ListedGeneration): GenerationReport {
  const { number, created, state, serving, lastGood, sources, listeners, quarantined, failure } = listed;
  return {
    number,
    createdAt: created,
    state,
    serving,
    lastGood,
    sources,
    listeners,
    quarantined,
    ...(failure === undefined ? {} : { reason: failure }),
  };
}

/** The listeners of a generation, read from its own copy of the configuration. */
async function wantedBy(
  context: HostContext,
  { number, sources, workingDirectory }: ListedGeneration,
): Promise<{ readonly listeners: readonly Expectation[]; readonly lenient: boolean }> {
  const generation = await openGeneration(context.state, number);
  const staged = await stagedFiles(generation);
  const build = await context.haproxy.build();
  const { listeners } = await context.read(
    { sources, staged, ...(workingDirectory === undefined ? {} : { workingDirectory }) },
    build,
  );
  // Berth's own stats socket of each generation stands in no file of the user's; it is not a TCP listener either.
  return { listeners: listeners.binds.map((bind) => ({ bind, inodes: [] })), lenient: listeners.unknown.length > 0 };
}
