/**
 * What a start does with a transaction that did not end. Before the journal says *committing* the way leads back, after it
 * forward; except where going back would leave no HAProxy: then the new one, if it serves, stays.
 */
import { rmSync } from 'node:fs';
import { BerthError } from '../errors.js';
import { NO_PORTS, parsePorts } from '../model/ports.js';
import { commit, pidFileOf, removeRunFiles, tidyUp, writePidFile } from './commit.js';
import type { ReloadContext } from './context.js';
import type { ProcessInfo } from './env.js';
import { type Generation, generationNumbers, openGeneration, servingNumber } from './generations.js';
import type { JournalRecord } from './journal.js';
import { reloadAwayFrom } from './master-worker.js';
import { endProcess, isAlive } from './prove.js';
import { sweep, sweepGeneration } from './prune.js';
import { markFailed, unpublish } from './publish.js';
import type { RecoveryReport } from './reports.js';
import { addReservations, readReservations, releaseReservations } from './reserve.js';
import { rememberProcess } from './serving.js';
import { retire } from './standalone.js';
import type { StateDir } from './state-dir.js';
import { socketsServedBy } from './survey.js';

type Record<K extends JournalRecord['kind']> = Extract<JournalRecord, { kind: K }>;

/** Bring an unfinished transaction to an end; undefined where there is none. The caller holds the lock. */
export async function recover(context: ReloadContext): Promise<RecoveryReport | undefined> {
  const records = context.journal.unfinished;
  const swept = (await sweep(context.state, pidFileOf(context))).map((name) => `removed ${name}`);
  if (records.length === 0) swept.push(...(await nameAbandoned(context.state)));
  const begin = find(records, 'begin');
  if (!begin) {
    if (records.length > 0)
      throw new BerthError('BERTH_JOURNAL', `${context.journal.path} has no beginning`, { step: 'recover' });
    return swept.length > 0
      ? { found: 'what a run that died had not finished', direction: 'back', done: swept }
      : undefined;
  }
  for (const number of [begin.generation, begin.previous])
    if (number !== undefined) await sweepGeneration(context.state, number);
  const last = records.at(-1)?.kind ?? 'begin';
  const found = `a reload to generation ${begin.generation} that ended after "${last}"`;
  const generation = await openGeneration(context.state, begin.generation).catch(() => undefined);
  const newcomer = await newProcess(context, begin, find(records, 'started'));
  const forward = generation !== undefined && (await leadsForward(context, begin, records, newcomer));
  const done = forward
    ? await goForward(context, begin, records, generation, newcomer)
    : await goBack(context, begin, records, generation, newcomer);
  await context.journal.append({ kind: 'recovered', outcome: forward ? 'forward' : 'back', detail: done.join('; ') });
  const serving = await servingNumber(context.state);
  return {
    found,
    direction: forward ? 'forward' : 'back',
    done,
    ...(serving === undefined ? {} : { generation: serving }),
  };
}

async function leadsForward(
  context: ReloadContext,
  begin: Record<'begin'>,
  records: readonly JournalRecord[],
  newcomer: ProcessInfo | undefined,
): Promise<boolean> {
  if (!find(records, 'handing-over') || !newcomer) return false;
  const served = await socketsServedBy(context.kernel, newcomer);
  // In master-worker mode the old worker has gone into its drain as soon as the new one was ready.
  const decided = find(records, 'committing') ?? (begin.mode === 'master-worker' && find(records, 'verified'));
  // One that a way back has told to finish lives on for its clients, and listens no more.
  if (decided) return served.length > 0;
  if (begin.mode === 'master-worker') return false;
  const oldServes = begin.old !== undefined && (await isAlive(context.kernel, begin.old));
  return !oldServes && served.some(({ endpoint }) => endpoint.kind === 'inet');
}

async function goForward(
  context: ReloadContext,
  begin: Record<'begin'>,
  records: readonly JournalRecord[],
  generation: Generation,
  newcomer: ProcessInfo | undefined,
): Promise<string[]> {
  const standalone = begin.mode !== 'master-worker';
  const good = await commit(context, generation, newcomer, begin.mode ?? 'standalone', undefined);
  const done = [`generation ${generation.number} serves${newcomer ? `, by haproxy[${newcomer.pid}]` : ''}`];
  if (standalone && begin.old && newcomer) {
    const old = await context.kernel.process(begin.old.pid);
    if (old?.startTicks === begin.old.startTicks && old.comm === 'haproxy') {
      await retire(context, old, 'standalone', { process: newcomer, expected: [], lenient: true });
      done.push(`told haproxy[${old.pid}] to finish`);
    }
  }
  // A way back that was not gone to its end may have released these: the listeners are served, and need them.
  const reserving = find(records, 'reserving');
  if (reserving) await addReservations(context.kernel, context.ledger, parsePorts(reserving.ports));
  await forgetLost(context);
  await tidyUp(context, good, NO_PORTS, begin.previous);
  return done;
}

async function goBack(
  context: ReloadContext,
  begin: Record<'begin'>,
  records: readonly JournalRecord[],
  generation: Generation | undefined,
  newcomer: ProcessInfo | undefined,
): Promise<string[]> {
  const done: string[] = [];
  const firstMaster = begin.mode === 'master-worker' && begin.old === undefined;
  const unproven = firstMaster ? await masters(context) : await newcomers(context, begin, newcomer);
  if (firstMaster || begin.mode !== 'master-worker') {
    for (const process of unproven) {
      await endProcess(context, process);
      done.push(`ended haproxy[${process.pid}], which was not proven`);
    }
  }
  if (find(records, 'committing') && begin.mode !== 'master-worker') done.push(await takeBackPid(context, begin));
  let unwanted = begin.mode === 'master-worker' && !firstMaster ? newcomer : undefined;
  if (generation) {
    const why = `the run that made it ended after "${records.at(-1)?.kind ?? 'begin'}"`;
    if ((await servingNumber(context.state)) === generation.number) {
      await unpublish(context.state, generation, begin.previous, why);
      done.push(
        begin.previous === undefined ? 'no generation is published' : `generation ${begin.previous} is published again`,
      );
    } else {
      await markFailed(generation, why);
      // A way back that could not ask the master any more has published the previous one already.
      if (!find(records, 'handing-over') || (await masters(context)).length === 0) unwanted = undefined;
    }
    if (unwanted) done.push(await reloadPrevious(context, unwanted));
  }
  const reserving = find(records, 'reserving');
  if (reserving) {
    const released = await releaseReservations(context.kernel, context.ledger, parsePorts(reserving.ports));
    if (released.ranges.length > 0) done.push('released the ports that it had reserved');
  }
  await forgetLost(context);
  removeRunFiles(context, begin.generation, 'ended');
  return done.length > 0 ? done : ['nothing had been changed'];
}

/** The master of a first start; whoever serves the user's own files under another was there before. */
async function masters(context: ReloadContext): Promise<ProcessInfo[]> {
  const named = (word: string) => word.startsWith(`${context.state.current}/`);
  const found = (await context.kernel.haproxyProcesses()).filter(({ argv }) => argv.some(named));
  return found.filter(({ ppid }) => !found.some(({ pid }) => pid === ppid));
}

/** A commit that was cut off may have written the newcomer's. */
async function takeBackPid(context: ReloadContext, { old }: Record<'begin'>): Promise<string> {
  const pidFile = pidFileOf(context);
  if (!old || !(await isAlive(context.kernel, old))) {
    rmSync(pidFile, { force: true });
    return `removed ${pidFile}`;
  }
  writePidFile(pidFile, old.pid);
  rememberProcess(context.state.path, old);
  return `${pidFile} names haproxy[${old.pid}] again`;
}

/** Ports that were released in the kernel, and of which the ledger could not be told. */
async function forgetLost({ kernel, ledger }: ReloadContext): Promise<void> {
  const { lost } = await readReservations(kernel, ledger);
  if (lost.ranges.length > 0) await releaseReservations(kernel, ledger, lost);
}

/** A generation that was staged and never begun, by a run that could write no more; the next one has a new number. */
async function nameAbandoned(state: StateDir): Promise<string[]> {
  const newest = (await generationNumbers(state)).at(-1);
  const generation = newest === undefined ? undefined : await openGeneration(state, newest).catch(() => undefined);
  if (generation?.meta.state !== 'staged') return [];
  await markFailed(generation, 'the run that made it ended before it was begun');
  return [`generation ${generation.number} counts as failed: it was never begun`];
}

/** The master may have loaded the generation that is taken back. */
async function reloadPrevious(context: ReloadContext, unwanted: ProcessInfo): Promise<string> {
  const running = await context.haproxy.find();
  if (running?.mode !== 'master-worker') return 'no master runs';
  const worker = await reloadAwayFrom(context, running, unwanted);
  return `the master loaded it again, worker haproxy[${worker.pid}]`;
}

/**
 * The HAProxy that the transaction started: by the journal, or, where Berth died before it could write that, by a command
 * line that names the generation.
 */
async function newProcess(
  context: ReloadContext,
  begin: Record<'begin'>,
  started: Record<'started'> | undefined,
): Promise<ProcessInfo | undefined> {
  if (started) {
    const found = await context.kernel.process(started.pid);
    // What goes back is ended: whatever the journal says, nothing but a HAProxy.
    return found?.startTicks === started.startTicks && found.comm === 'haproxy' ? found : undefined;
  }
  if (begin.mode === 'master-worker') {
    const worker = (await context.haproxy.find().catch(() => undefined))?.worker;
    return worker && (worker.pid !== begin.old?.pid || worker.startTicks !== begin.old.startTicks) ? worker : undefined;
  }
  return (await newcomers(context, begin, undefined))[0];
}

/** All of them: a start that was cut off may have a parent that waits and a child that serves, or have been repeated. */
async function newcomers(
  context: ReloadContext,
  begin: Record<'begin'>,
  known: ProcessInfo | undefined,
): Promise<ProcessInfo[]> {
  const directory = `${context.state.generations}/${begin.generation}/`;
  const others = (await context.kernel.haproxyProcesses()).filter(
    ({ pid, argv }) => pid !== begin.old?.pid && pid !== known?.pid && argv.some((word) => word.startsWith(directory)),
  );
  return known ? [known, ...others] : others;
}

/** Is there anything of ours that needs a look; for `berth status`. */
export function unfinished(records: readonly JournalRecord[]): string | undefined {
  const begin = find(records, 'begin');
  return (
    begin &&
    `a reload to generation ${begin.generation}, begun ${begin.time}, ended after "${records.at(-1)?.kind ?? 'begin'}"`
  );
}

function find<K extends JournalRecord['kind']>(records: readonly JournalRecord[], kind: K): Record<K> | undefined {
  return records.find((record): record is Record<K> => record.kind === kind);
}
