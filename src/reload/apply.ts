/**
 * The sentence, as code: read the configuration, find its listeners, secure each one's port, hand the sockets to a new
 * HAProxy, verify in the kernel, commit or go back.
 *
 * Order of side effects: lock, stage, check, reserve, secure, journal *handing over*, publish, hand over, verify, journal
 * *committed*, retire the old, release what is no longer needed. Undo runs backwards.
 */
import { toBerthError } from '../errors.js';
import type { Bind } from '../model/bind.js';
import { endpointKey } from '../model/endpoint.js';
import type { SecureStep } from '../model/plan.js';
import { NO_PORTS, parsePorts } from '../model/ports.js';
import { type Assessment, assess } from './assess.js';
import { checkStaged } from './check-staged.js';
import { commit, pidFileAsItIs, pidFileOf, removeRunFiles, tidyUp } from './commit.js';
import type { Reading, ReloadContext, ReloadRequest } from './context.js';
import type { Descriptor, HAProxyBuild } from './env.js';
import { type Generation, recordListeners } from './generations.js';
import { conflictError } from './plan.js';
import { markFailed } from './publish.js';
import { canLeaveOut } from './quarantine.js';
import type { RecoveryReport, ReloadReport } from './reports.js';
import { type Outcome, listenerRecords, reportOf } from './reload-report.js';
import { addReservations, releaseReservations } from './reserve.js';
import { secure } from './secure.js';
import { stageGeneration } from './stage-generation.js';
import { retire } from './standalone.js';
import { switchOver } from './switch.js';
import { Transaction } from './transaction.js';
import { refuseStarved, unservable } from './unsolved.js';

/**
 * One try to bring a configuration into service, under the lock. Rejects where it cannot go live: then the HAProxy that
 * served before serves, and everything else is as it was.
 * @param without binds by endpointKey that an earlier try could not secure
 */
export async function apply(
  context: ReloadContext,
  request: ReloadRequest,
  without: ReadonlyMap<string, SecureStep>,
  recovery: RecoveryReport | undefined,
): Promise<ReloadReport> {
  const transaction = new Transaction(context.observer, context.signal);
  const guards = new Map<string, Descriptor>();
  let begun: Generation | undefined;
  try {
    const build = await context.haproxy.build();
    const reading = await transaction.phase('read', () => context.read(request, build));
    const assessment = await transaction.phase('plan', () => lookAround(context, reading, build, without));
    for (const [key, guard] of assessment.guards) guards.set(key, guard);

    const leftOut = [...assessment.plan.quarantine, ...without.values()];
    const generation = await transaction.phase('stage', () =>
      stageGeneration(context, request, reading, leftOut, assessment, build),
    );
    begun = generation;
    await context.journal.begin(beginEntry(generation, assessment));
    await transaction.phase('check', () =>
      together([
        checkStaged(context, generation, reading),
        // Before the commit: a recovery that goes forward has nobody left to ask for them.
        recordListeners(generation, listenerRecords(reading, leftOut)),
      ]),
    );
    await context.journal.append({ kind: 'staged' }, { kind: 'checked' });

    await transaction.phase('reserve', () => reserve(context, transaction, assessment));
    const secured = await transaction.phase('secure', () => secure(context, assessment, guards));
    await context.keeper?.release(endingInodes(assessment));
    const outcome = await switchOver(context, transaction, { request, reading, build, assessment, generation, guards });
    transaction.onRollBack('put the pid file back', pidFileAsItIs(pidFileOf(context)));
    const { process: newcomer, verification } = outcome.switched;
    const good = await transaction.phase('commit', () =>
      commit(context, generation, newcomer, assessment.mode, verification.served),
    );
    transaction.settled();
    return await conclude(context, transaction, {
      ...outcome,
      secured,
      leftOut,
      build,
      reading,
      assessment,
      generation: good,
      recovery,
    });
  } catch (error) {
    const failure = toBerthError(error, 'reload');
    context.kernel.close([...guards.values()]);
    guards.clear();
    if (begun) await goBack(context, transaction, begun, failure.message);
    throw failure;
  } finally {
    context.kernel.close([...guards.values()]);
  }
}

/** Where one fails the others come to their end first: the way back must not meet them. */
async function together(works: readonly Promise<unknown>[]): Promise<void> {
  for (const ended of await Promise.allSettled(works))
    if (ended.status === 'rejected') throw toBerthError(ended.reason, 'check');
}

async function lookAround(
  context: ReloadContext,
  reading: Reading,
  build: HAProxyBuild,
  without: ReadonlyMap<string, SecureStep>,
): Promise<Assessment> {
  const wanted = without.size === 0 ? reading : withoutListeners(reading, without);
  const leftOut = [...without.values()].map(({ bind }) => bind);
  const assessment = await assess(context, wanted, build, { keepGuards: true, leftOut });
  try {
    const { plan } = assessment;
    if (plan.conflicts.length > 0) throw conflictError(plan.conflicts);
    const stuck = plan.quarantine.filter(({ bind }) => !canLeaveOut(bind));
    if (stuck.length > 0) throw unservable(stuck, ', and it cannot be left out');
    refuseStarved(plan.quarantine);
    if (context.settings.conflicts.onUnsolved === 'abort' && plan.quarantine.length > 0)
      throw unservable(plan.quarantine);
    return assessment;
  } catch (error) {
    context.kernel.close([...assessment.guards.values()]);
    throw error;
  }
}

function withoutListeners(reading: Reading, without: ReadonlyMap<string, SecureStep>): Reading {
  const binds = reading.listeners.binds.filter(({ endpoint }: Bind) => !without.has(endpointKey(endpoint)));
  return { ...reading, listeners: { ...reading.listeners, binds } };
}

/** Sockets of the old HAProxy that the new one does not get: of listeners that go, and of those that it binds anew. */
function endingInodes({ plan }: Assessment): number[] {
  const anew = plan.keep.filter(({ handedOver }) => !handedOver).flatMap(({ served }) => served);
  return [...plan.close, ...anew].map(({ inode }) => inode);
}

function beginEntry(generation: Generation, { running, mode }: Assessment) {
  const { number, meta } = generation;
  return {
    kind: 'begin' as const,
    transaction: `${process.pid}-${Date.now()}`,
    generation: number,
    mode,
    ...(meta.parent === undefined ? {} : { previous: meta.parent }),
    ...(running ? { old: { pid: running.worker.pid, startTicks: running.worker.startTicks } } : {}),
  };
}

async function reserve(context: ReloadContext, transaction: Transaction, { plan }: Assessment): Promise<void> {
  const add = parsePorts(plan.reserve.add);
  if (add.ranges.length === 0) return;
  await context.journal.append({ kind: 'reserving', ports: plan.reserve.add });
  transaction.onRollBack('release the ports reserved', async () => {
    await releaseReservations(context.kernel, context.ledger, add);
  });
  await addReservations(context.kernel, context.ledger, add);
  await context.journal.append({ kind: 'reserved' });
}

async function goBack(
  context: ReloadContext,
  transaction: Transaction,
  generation: Generation,
  reason: string,
): Promise<void> {
  // What can't be written now (disk full) is found by the next run's recovery: going back does not stop for it.
  const tell = (work: Promise<unknown>) =>
    work.catch((error: unknown) => context.observer({ type: 'warning', text: String(error) }));
  await tell(context.journal.append({ kind: 'aborting', reason }));
  const left = await transaction.rollBack();
  for (const text of left) context.observer({ type: 'warning', text });
  await tell(Promise.resolve().then(() => removeRunFiles(context, generation.number, 'ended')));
  await tell(markFailed(generation, reason));
  // A transaction that is not undone in full stays open, for the next run's recovery.
  if (left.length === 0) await tell(context.journal.append({ kind: 'aborted' }));
}

/** The new HAProxy serves and counts. What fails from here on is told, and done by the next run's recovery. */
async function conclude(context: ReloadContext, transaction: Transaction, outcome: Outcome): Promise<ReloadReport> {
  const { assessment, generation, switched, expected } = outcome;
  const warnings = [...outcome.warnings];
  const repairs: string[] = [];
  let released = NO_PORTS;
  try {
    // First: a socket that only the keeper still had would take connections that nobody accepts.
    await context.keeper?.renew(switched.process);
    const old = assessment.running?.worker;
    if (old) {
      const serving = { process: switched.process, expected, lenient: true };
      const after = await transaction.phase('retire', () => retire(context, old, assessment.mode, serving));
      repairs.push(...after.repairs);
      warnings.push(...after.warnings);
    }
    const removable = parsePorts(assessment.plan.reserve.remove);
    released = await transaction.phase('release', () => tidyUp(context, generation, removable, generation.meta.parent));
    await context.journal.append({ kind: 'finished' });
  } catch (error) {
    warnings.push(`${toBerthError(error, 'release').message}; the listeners are served, the next run finishes this`);
  }
  for (const text of warnings) context.observer({ type: 'warning', text });
  return reportOf({ ...outcome, repairs, warnings, released, phases: transaction.phases });
}
