/** Can each listener be bound, why not, who holds it, what to do. Changes nothing. */
import { endpointKey, formatEndpoint } from '../model/endpoint.js';
import type { InetEndpoint } from '../model/endpoint.js';
import type { Bind } from '../model/bind.js';
import type { Plan } from '../model/plan.js';
import { socketEndpoint } from '../model/socket.js';
import type { Verdict } from '../model/verdict.js';
import { type Assessment, assess, verdictsOf } from './assess.js';
import type { Reading, HostContext } from './context.js';
import { verdictSentence } from './describe.js';
import type { HAProxyBuild, HAProxyMessage, RunningHAProxy } from './env.js';
import { isExposed, isServable, rungsFor } from './plan.js';
import type { HAProxyReport, ListenerReport, PlanReport, PreflightReport } from './reports.js';
import { type Reservations, ephemeralFacts, readReservations } from './reserve.js';
import { stopTimes } from './stop-times.js';

type Context = Pick<HostContext, 'kernel' | 'haproxy' | 'ledger' | 'settings' | 'state'>;
export interface Checked {
  readonly ok: boolean;
  readonly messages: readonly HAProxyMessage[];
}

/** Every listener of a configuration. @param check what `haproxy -c` says of these files */
export async function preflightConfiguration(
  context: Context,
  reading: Reading,
  build: HAProxyBuild,
  check: Checked,
): Promise<PreflightReport> {
  const stoppedAt = stopTimes(context.state);
  const assessment = await assess(context, reading, build, { keepGuards: false });
  const { plan, reservations, running } = assessment;
  const describe = describer(context, reservations);
  const listeners = [
    ...plan.keep.map(({ bind }) => describe(bind.endpoint, { kind: 'ours', holders: [] }, bind)),
    ...[...plan.open, ...plan.quarantine].map(({ bind, verdict }) => describe(bind.endpoint, verdict, bind)),
  ];
  const strangers = await strangersBeside(context, assessment, plan);
  return {
    ok:
      check.ok && plan.conflicts.length === 0 && strangers.length === 0 && listeners.every(({ servable }) => servable),
    listeners,
    unknown: plan.unknown,
    conflicts: plan.conflicts,
    check: { ok: check.ok, messages: texts(check.messages) },
    ephemeral: ephemeralFacts(reservations),
    ...(running ? { running: haproxyReport(running, assessment.served.length, stoppedAt) } : {}),
    warnings: [...plan.warnings, ...strangers],
  };
}

/** Bare endpoints, before there is a configuration that has them. */
export async function preflightEndpoints(
  context: Context,
  endpoints: readonly InetEndpoint[],
): Promise<PreflightReport> {
  const stoppedAt = stopTimes(context.state);
  const [running, reservations] = await Promise.all([
    context.haproxy.find(),
    readReservations(context.kernel, context.ledger),
  ]);
  const results = await context.kernel.probe(endpoints, { keep: false });
  const verdicts = await verdictsOf(context, results, { running, stoppedAt });
  const describe = describer(context, reservations);
  const listeners = endpoints.map((endpoint) =>
    describe(endpoint, verdicts.get(endpointKey(endpoint)) ?? { kind: 'free' }),
  );
  return {
    ok: listeners.every(({ servable }) => servable),
    listeners,
    unknown: [],
    conflicts: [],
    ephemeral: ephemeralFacts(reservations),
    ...(running ? { running: haproxyReport(running, undefined, stoppedAt) } : {}),
    warnings: [],
  };
}

/** What a reload would do. */
export async function planConfiguration(
  context: Context,
  reading: Reading,
  build: HAProxyBuild,
  check: Checked,
): Promise<PlanReport> {
  const stoppedAt = stopTimes(context.state);
  const { plan, reservations, running, served } = await assess(context, reading, build, { keepGuards: false });
  return {
    plan,
    ephemeral: ephemeralFacts(reservations),
    ...(running ? { running: haproxyReport(running, served.length, stoppedAt) } : {}),
    check: { ok: check.ok, messages: texts(check.messages) },
  };
}

export function haproxyReport(
  running: RunningHAProxy,
  listening: number | undefined,
  stoppedAt: ReadonlyMap<number, string>,
): HAProxyReport {
  return {
    pid: running.worker.pid,
    ...(running.master ? { masterPid: running.master.pid } : {}),
    mode: running.mode,
    startedAt: running.worker.startedAt,
    ...(listening === undefined ? {} : { listening }),
    draining: running.draining.map(({ pid, startedAt }) => {
      const since = stoppedAt.get(pid);
      return { pid, startedAt, ...(since === undefined ? {} : { since }) };
    }),
  };
}

function describer({ settings }: Context, reservations: Reservations) {
  return (endpoint: Bind['endpoint'], verdict: Verdict, bind?: Bind): ListenerReport => ({
    endpoint,
    name: formatEndpoint(endpoint),
    ...(bind ? { section: bind.section, place: bind.place } : {}),
    verdict,
    servable: verdict.kind === 'ours' || isServable(verdict, settings.conflicts),
    exposed: endpoint.kind === 'inet' && isExposed(endpoint.port, reservations.ephemeral, reservations.reserved),
    sentence: verdictSentence(endpoint, verdict, {
      ...reservations,
      rungs: rungsFor(verdict, settings.conflicts),
      settings,
    }),
  });
}

/** A listener of ours on whose place another process listens too gets a part of its connections only. */
async function strangersBeside({ kernel }: Context, { served }: Assessment, { keep }: Plan): Promise<string[]> {
  const ours = new Set(served.map(({ inode }) => inode));
  const places = new Set(keep.map(({ bind }) => endpointKey(bind.endpoint)));
  const rows = (await kernel.boundSockets()).filter(
    (row) => row.state === 'LISTEN' && !ours.has(row.inode) && places.has(endpointKey(socketEndpoint(row))),
  );
  if (rows.length === 0) return [];
  const owners = await kernel.owners(rows.map(({ inode }) => inode));
  return rows.map((row) => {
    const owner = owners.get(row.inode)?.[0];
    const who = owner ? `${owner.comm}[${owner.pid}]` : 'another process';
    return `${row.localAddress}:${row.localPort} is listened on by ${who} too, which takes a part of its connections; end it`;
  });
}

function texts(messages: readonly HAProxyMessage[]): string[] {
  return messages.map(({ text }) => text);
}
