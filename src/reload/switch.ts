/** Publish the generation and switch to it, in whichever way this HAProxy runs. */
import { BerthError } from '../errors.js';
import { endpointKey } from '../model/endpoint.js';
import type { StatsSocket } from '../model/bind.js';
import type { Assessment } from './assess.js';
import { pidFileOf } from './commit.js';
import type { Reading, ReloadContext, Sources } from './context.js';
import type { Descriptor, HAProxyBuild, HAProxyCommand, ProcessInfo, RunningHAProxy, StartedHAProxy } from './env.js';
import { type Generation, openGeneration } from './generations.js';
import { type Guard, inodeOf } from './handover.js';
import { reloadAwayFrom, switchWorkers, whatMasterReads } from './master-worker.js';
import { whyNeverTaken } from './match.js';
import { describeProof, endProcess, isAlive, prove } from './prove.js';
import { publish, unpublish } from './publish.js';
import { type SwitchInput, type Switched, handoverPaths, switchStandalone } from './standalone.js';
import type { Transaction } from './transaction.js';
import type { Expectation } from './verify.js';

export interface SwitchRequest {
  readonly request: Sources;
  readonly reading: Reading;
  readonly build: HAProxyBuild;
  readonly assessment: Assessment;
  readonly generation: Generation;
  readonly guards: ReadonlyMap<string, Descriptor>;
}

export interface SwitchedOver {
  readonly switched: Switched;
  readonly expected: readonly Expectation[];
  readonly warnings: readonly string[];
}

export async function switchOver(
  context: ReloadContext,
  transaction: Transaction,
  request: SwitchRequest,
): Promise<SwitchedOver> {
  const { mode, running } = request.assessment;
  if (mode === 'standalone') return standalone(context, transaction, request);
  return running ? reloadMaster(context, transaction, request) : startMaster(context, transaction, request);
}

async function standalone(
  context: ReloadContext,
  transaction: Transaction,
  request: SwitchRequest,
): Promise<SwitchedOver> {
  const { generation, assessment, reading } = request;
  const { handoff, pidFile } = handoverPaths(context, generation.number);
  await context.journal.append({ kind: 'handing-over', handoff, pidFile });
  await publishGeneration(context, transaction, generation);
  const expected = expectations(request, true);
  const input: SwitchInput = {
    generation: generation.number,
    command: generation.command,
    old: assessment.running && {
      running: assessment.running,
      served: assessment.served,
      statsSockets: statsSocketsOf(context, generation, reading.listeners.global.statsSockets),
    },
    guards: guardsOf(request),
    expected,
    lenient: isLenient(reading),
  };
  return { switched: await switchStandalone(context, transaction, input), expected, warnings: [] };
}

async function reloadMaster(
  context: ReloadContext,
  transaction: Transaction,
  request: SwitchRequest,
): Promise<SwitchedOver> {
  const { assessment, generation, reading } = request;
  const { running } = assessment;
  if (!running?.master)
    throw new BerthError('BERTH_INTERNAL', 'Master-worker mode without a master', { step: 'hand-over' });
  const { files } = publishedCommand(context, generation);
  const reads = whatMasterReads(
    running.master,
    files,
    request.request.sources,
    request.request.workingDirectory ?? process.cwd(),
  );
  if (reads === 'own-files') refuseChangedFiles(generation, running.master);
  const warnings: string[] = [];
  const lost = await context.haproxy.handoffLost(running);
  if (lost) {
    warnings.push(
      `After its last failed reload the master haproxy[${running.master.pid}] hands no sockets over this time: connections that wait to be accepted may be reset`,
    );
  }
  await context.journal.append({ kind: 'handing-over' });
  if (reads === 'published') {
    const { master } = running;
    await publishGeneration(context, transaction, generation, () => serveAgain(context, running, master, generation));
  }
  const expected = expectations(request, false, !lost);
  const switched = await switchWorkers(context, transaction, running, { expected, lenient: isLenient(reading) });
  return { switched, expected, warnings };
}

/**
 * The generation before is published again; the master is to load it, if it has loaded the new one. A master ends with its
 * worker (`exit-on-failure`, mworker.c): one that is gone, and was Berth's, is started anew.
 */
async function serveAgain(
  context: ReloadContext,
  running: RunningHAProxy,
  master: ProcessInfo,
  { meta }: Generation,
): Promise<void> {
  if (meta.parent === undefined || (await isAlive(context.kernel, master))) {
    const now = await context.haproxy.find();
    if (now && now.worker.pid !== running.worker.pid) await reloadAwayFrom(context, now, now.worker);
    return;
  }
  const { pid } = await launchMaster(context, await openGeneration(context.state, meta.parent));
  const text = `Master haproxy[${master.pid}] died with the new worker; haproxy[${pid}] serves generation ${meta.parent} again`;
  context.observer({ type: 'repair', text });
}

/** @param handoff our own `_getsocks` socket, where listening sockets outlived the master before */
export function launchMaster(
  context: ReloadContext,
  generation: Generation,
  { signal, handoff }: { readonly signal?: AbortSignal | undefined; readonly handoff?: string } = {},
): Promise<StartedHAProxy> {
  const { haproxy, settings, state } = context;
  return haproxy.start(publishedCommand(context, generation), {
    mode: 'master-worker',
    pidFile: pidFileOf(context),
    masterSocket: settings.haproxy.masterSocket ?? state.socket('master'),
    timeoutMs: settings.timeouts.startMs,
    ...(handoff === undefined ? {} : { handoff }),
    ...(signal ? { signal } : {}),
  });
}

/** First start of a master: it reads the generation by way of `current`, so that later reloads and rollbacks reach it. */
async function startMaster(
  context: ReloadContext,
  transaction: Transaction,
  request: SwitchRequest,
): Promise<SwitchedOver> {
  const { haproxy, settings, signal, journal } = context;
  const { generation, reading } = request;
  const pidFile = pidFileOf(context);
  await journal.append({ kind: 'handing-over', pidFile });
  await publishGeneration(context, transaction, generation);
  const started = await transaction.phase('hand over', () => launchMaster(context, generation, { signal }));
  transaction.onRollBack(`end master haproxy[${started.pid}]`, async () => {
    const master = await context.kernel.process(started.pid);
    if (master) await endProcess(context, master);
  });
  const worker = (await haproxy.find())?.worker;
  if (!worker)
    throw new BerthError('BERTH_RELOAD_FAILED', `Master haproxy[${started.pid}] has no worker`, { step: 'hand-over' });
  await journal.append({ kind: 'started', pid: worker.pid, startTicks: worker.startTicks });
  const expected = expectations(request, false);
  const proof = await transaction.phase('verify', () =>
    prove({ ...context, settleMs: settings.timeouts.settleMs }, worker, expected, isLenient(reading)),
  );
  if (!proof.verification.ok || !proof.alive) {
    throw new BerthError('BERTH_VERIFY_FAILED', `Worker haproxy[${worker.pid}]: ${describeProof(proof)}`, {
      step: 'verify',
    });
  }
  await journal.append({ kind: 'verified' });
  return {
    switched: { process: worker, verification: proof.verification, repairs: proof.repairs },
    expected,
    warnings: [],
  };
}

async function publishGeneration(
  context: ReloadContext,
  transaction: Transaction,
  generation: Generation,
  afterwards: () => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  transaction.onRollBack('publish the generation before', async () => {
    await unpublish(context.state, generation, generation.meta.parent, 'the switch to it failed');
    await afterwards();
  });
  await publish(context.state, generation);
  await context.journal.append({ kind: 'published' });
}

/** The generation as seen by way of `current`. */
function publishedCommand({ state }: Pick<ReloadContext, 'state'>, { command, directory }: Generation): HAProxyCommand {
  const through = (path: string) =>
    path.startsWith(`${directory}/`) ? state.current + path.slice(directory.length) : path;
  const { files, workingDirectory, extraArguments } = command;
  return { files: files.map(through), workingDirectory: workingDirectory && through(workingDirectory), extraArguments };
}

function refuseChangedFiles({ meta, number }: Generation, master: ProcessInfo): void {
  if (meta.quarantined.length === 0 && !meta.reason.startsWith('rollback')) return;
  throw new BerthError(
    'BERTH_HAPROXY_UNSUITABLE',
    `The master haproxy[${master.pid}] reads the user's own files, so generation ${number} (${meta.quarantined.length} listeners left out) cannot be given to it`,
    {
      step: 'hand-over',
      advice:
        'Change these files, or let Berth start the master (berth reload with no HAProxy running, --set haproxy.mode=master-worker)',
    },
  );
}

/**
 * What must be served, in the order of the configuration: kept sockets by their inode, new ones by their guard's where
 * HAProxy gets it.
 */
function expectations(
  { assessment, guards, build, reading }: SwitchRequest,
  guardsHanded: boolean,
  keptHanded = true,
): Expectation[] {
  const { keep, open } = assessment.plan;
  const place = new Map(reading.listeners.binds.map(({ endpoint }, at) => [endpointKey(endpoint), at]));
  const placeOf = ({ bind }: Expectation): number => place.get(endpointKey(bind.endpoint)) ?? -1;
  const expected = [
    ...keep.map(({ bind, served, handedOver }) => ({
      bind,
      inodes: handedOver && keptHanded ? served.map(({ inode }) => inode) : [],
    })),
    ...open.map(({ bind }) => {
      const taken = guardsHanded && whyNeverTaken(bind, build) === undefined;
      const guard = taken ? guards.get(endpointKey(bind.endpoint)) : undefined;
      return { bind, inodes: guard === undefined ? [] : [inodeOf(guard)] };
    }),
  ];
  return expected.sort((one, other) => placeOf(one) - placeOf(other));
}

/** The guards of new listeners are handed over; those beside a socket that HAProxy binds anew just stay bound. */
function guardsOf({ assessment, guards }: SwitchRequest): Guard[] {
  return assessment.plan.open.flatMap(({ bind: { endpoint } }) => {
    const descriptor = guards.get(endpointKey(endpoint));
    return descriptor === undefined ? [] : [{ endpoint, descriptor }];
  });
}

/** Our own private one of the generation that serves, then those of the configuration that give sockets away. */
function statsSocketsOf(context: ReloadContext, { meta }: Generation, declared: readonly StatsSocket[]): string[] {
  const own = meta.parent === undefined ? [] : [context.state.socket(`${meta.parent}.stats`)];
  const theirs = declared.filter(({ address, exposeFdListeners }) => exposeFdListeners && address.startsWith('/'));
  return [...own, ...theirs.map(({ address }) => address)];
}

function isLenient({ listeners }: Reading): boolean {
  return listeners.unknown.length > 0;
}
