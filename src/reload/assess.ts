/** From what is wanted and what serves now to the plan: survey, probe, diagnose. Changes nothing; may keep guards. */
import { endpointKey } from '../model/endpoint.js';
import type { Bind } from '../model/bind.js';
import type { Endpoint, InetEndpoint } from '../model/endpoint.js';
import type { Plan } from '../model/plan.js';
import type { Verdict } from '../model/verdict.js';
import type { Reading, ReloadContext } from './context.js';
import { type DiagnosisContext, diagnose } from './diagnose.js';
import type { Descriptor, HAProxyBuild, Kernel, ProbeResult } from './env.js';
import { makePlan, match } from './plan.js';
import { type Reservations, readReservations } from './reserve.js';
import { stopTimes } from './stop-times.js';
import { namespacesOf, type Survey, survey } from './survey.js';

export interface Assessment extends Survey {
  readonly mode: 'standalone' | 'master-worker';
  readonly reservations: Reservations;
  readonly verdicts: ReadonlyMap<string, Verdict>;
  readonly plan: Plan;
  /** endpointKey → guard, where guards were asked for; whoever called closes them. */
  readonly guards: Map<string, Descriptor>;
  readonly diagnosis: DiagnosisContext;
}

type AssessContext = Pick<ReloadContext, 'kernel' | 'haproxy' | 'ledger' | 'settings' | 'state'>;

export interface AssessOptions {
  /** Keep the sockets of the successful test binds; on a throw none is left open. */
  readonly keepGuards: boolean;
  /** Binds that are not in the reading any more because nothing frees their port: it stays reserved for the next reload. */
  readonly leftOut?: readonly Bind[];
}

export async function assess(
  context: AssessContext,
  reading: Reading,
  build: HAProxyBuild,
  { keepGuards, leftOut = [] }: AssessOptions,
): Promise<Assessment> {
  const { kernel, haproxy, ledger, settings } = context;
  const namespaces = namespacesOf(reading.listeners.binds.map(({ endpoint }) => endpoint));
  const [{ running, served }, reservations] = await Promise.all([
    survey(kernel, haproxy, namespaces),
    readReservations(kernel, ledger),
  ]);
  const mode = modeOf(settings.haproxy.mode, running?.mode, reading.listeners.global.masterWorker);
  const matched = match({ listeners: reading.listeners, served, build, mode });
  // What HAProxy will bind anew beside its own old socket gets a guard too, so that nobody comes in between.
  const anew = matched.keep.filter(({ handedOver }) => !handedOver).map(({ bind }) => bind);
  const diagnosis: DiagnosisContext = { running, stoppedAt: stopTimes(context.state) };
  const guards = new Map<string, Descriptor>();
  try {
    const results = await kernel.probe(inetEndpoints([...matched.open, ...anew].map(({ endpoint }) => endpoint)), {
      keep: keepGuards,
    });
    for (const { endpoint, guard } of results) if (guard !== undefined) guards.set(endpointKey(endpoint), guard);
    const verdicts = new Map([
      ...(await verdictsOf(context, results, diagnosis)),
      ...(await unixStrangers(kernel, matched.open)),
    ]);
    dropUnsafeGuards(context, guards, verdicts);
    const plan = makePlan({
      listeners: reading.listeners,
      served,
      verdicts,
      reservations,
      settings,
      build,
      mode,
      harden: reading.harden,
      leftOut,
    });
    return { running, served, mode, reservations, verdicts, plan, guards, diagnosis };
  } catch (error) {
    kernel.close([...guards.values()]);
    throw error;
  }
}

export async function verdictsOf(
  context: Pick<ReloadContext, 'kernel'>,
  results: readonly ProbeResult[],
  diagnosis: DiagnosisContext,
): Promise<Map<string, Verdict>> {
  const verdicts = await diagnose(context.kernel, results, diagnosis);
  return new Map(verdicts.map(({ endpoint, verdict }) => [endpointKey(endpoint), verdict]));
}

/** Paths on which somebody else listens: HAProxy would put its own socket in the place of his. */
async function unixStrangers(kernel: Kernel, open: readonly Bind[]): Promise<[string, Verdict][]> {
  const strangers: [string, Verdict][] = [];
  for (const { endpoint } of open) {
    if (endpoint.kind !== 'unix' || endpoint.abstract) continue;
    const found = await kernel.unixListenerAt(endpoint.path);
    if (!found) continue;
    const who = found.comm === undefined ? 'another process' : `${found.comm}[${found.pid}]`;
    const why = `${who} listens there, and HAProxy would put its own socket in the place of that`;
    strangers.push([endpointKey(endpoint), { kind: 'unusable', errno: 'EADDRINUSE', syscall: 'bind', why }]);
  }
  return strangers;
}

/** The running HAProxy decides, else the setting, else the configuration. */
function modeOf(
  setting: 'auto' | 'standalone' | 'master-worker',
  running: 'standalone' | 'master-worker' | undefined,
  configured: boolean,
): 'standalone' | 'master-worker' {
  if (running) return running;
  if (setting !== 'auto') return setting;
  return configured ? 'master-worker' : 'standalone';
}

/** Each place once. */
function inetEndpoints(endpoints: readonly Endpoint[]): InetEndpoint[] {
  const own = new Map<string, InetEndpoint>();
  for (const endpoint of endpoints) {
    if (endpoint.kind === 'inet') own.set(endpointKey(endpoint), endpoint);
  }
  return [...own.values()];
}

/** Beside a listener of somebody else HAProxy's own options do bind, and half of the traffic would be theirs. */
function dropUnsafeGuards(
  { kernel }: Pick<ReloadContext, 'kernel'>,
  guards: Map<string, Descriptor>,
  verdicts: ReadonlyMap<string, Verdict>,
): void {
  for (const [key, guard] of guards) {
    if (verdicts.get(key)?.kind !== 'taken') continue;
    kernel.close([guard]);
    guards.delete(key);
  }
}
