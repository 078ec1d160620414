/**
 * A full reconciliation: everything that this instance should be, held against what is. Each look is cheap where nothing
 * has changed; what differs is mended, told, or reported as a problem.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { identity } from '../model/process.js';
import type { HostContext } from '../reload/context.js';
import type { ProcessInfo } from '../reload/env.js';
import { openGeneration, servingNumber } from '../reload/generations.js';
import { isHalted } from '../reload/halt.js';
import { processes } from '../reload/processes.js';
import { reload } from '../reload/reload.js';
import { rollbackTarget } from '../reload/rollback.js';
import type { Care } from './care.js';
import type { ReloadDemand } from './contract.js';
import { applyDrain, drainPolicy } from './drain.js';
import { fingerprint } from './fingerprint.js';
import { freedListeners, lostListeners, namesOf, reassertReservations } from './heal.js';

/** HAProxy listens again within one turn of its loop. */
const RESUME_MS = 200;

export interface TendOptions {
  /** Look at every descriptor of HAProxy's too, which costs the more the more connections it has. */
  readonly thorough: boolean;
  /** What is written into the sources is told by the watch. */
  readonly watched: boolean;
  /** Of the sources. */
  readonly outline: () => Promise<string>;
  /** May this configuration be tried (again) now? */
  readonly mayApply: (mark: string) => boolean;
  /** @param mark fingerprint of the sources, where it has just been taken */
  readonly apply: (demand: ReloadDemand, mark?: string) => Promise<unknown>;
  readonly restart: () => Promise<void>;
}

export async function tend(care: Care, options: TendOptions): Promise<void> {
  const context = await care.context();
  const present = await context.kernel.haproxyProcesses();
  const serves = await tendProcess(care, context, present, options);
  await step(care, 'reservations', async () => {
    const state = await reassertReservations(context);
    care.figures.reserved(state);
    if (state.reasserted !== '') care.tell({ type: 'reservations-reasserted', ports: state.reasserted });
  });
  await step(care, 'old processes', () => tendOldProcesses(care, context, present, options));
  // Stopped on purpose, or given up: only a demand starts it again.
  if (isHalted(context.state) || ['stopped', 'failed'].includes(care.figures.phase)) return;
  if (serves) await step(care, 'listeners', () => tendListeners(care, context, options));
  await tendSources(care, options, serves);
}

/** @returns whether a HAProxy serves */
async function tendProcess(
  care: Care,
  context: HostContext,
  present: readonly ProcessInfo[],
  { thorough, restart }: TendOptions,
): Promise<boolean> {
  const { owner } = care.keeper;
  if (!thorough && owner && present.some((one) => identity(one) === identity(owner))) return true;
  const running = await context.haproxy.find();
  if (running) {
    if (thorough) await care.keeper.refresh(running.worker);
    await care.follow(running);
    if (care.keeper.places.length > 0) return true;
    // Every listener closed and the process alive: it drains, because somebody told it to.
    care.figures.gone('stopped');
    return false;
  }
  const ended = ['stopped', 'failed'].includes(care.figures.phase) || isHalted(context.state);
  if (!ended && care.keeps && owner) await restart();
  return (await context.haproxy.find()) !== undefined;
}

async function tendListeners(care: Care, context: HostContext, { apply }: TendOptions): Promise<void> {
  const { owner, places } = care.keeper;
  if (!owner) return;
  const lost = await lostListeners(context, places);
  const names = namesOf(lost);
  if (lost.length > 0) {
    // The cure for a pause.
    await context.haproxy.signal(owner, 'SIGTTIN');
    await sleep(RESUME_MS);
    const still = await lostListeners(context, lost);
    if (still.length > 0) await reloadServing(care, `${still.length} listeners had vanished`);
    care.tell({ type: 'listeners-repaired', names, how: still.length > 0 ? 'reload' : 'SIGTTIN' });
  }
  care.figures.missing(lost.length > 0 ? namesOf(await lostListeners(context, care.keeper.places)) : []);
  if (care.figures.quarantined.length === 0) return;
  const freed = await freedListeners(context);
  if (freed.length === 0) return;
  care.tell({ type: 'quarantine-freed', names: freed });
  // From the sources: the generation's own copy has them left out.
  const serving = await openGeneration(context.state, (await servingNumber(context.state)) ?? 0);
  const { sources, workingDirectory } = serving.meta;
  const reason = `${freed.length} quarantined listeners can be served`;
  await quietly(apply({ sources, reason, ...(workingDirectory === undefined ? {} : { workingDirectory }) }));
}

/** The generation that serves, once more. */
async function reloadServing(care: Care, reason: string): Promise<void> {
  await care.transact(reason, {}, async (context) => {
    const serving = await servingNumber(context.state);
    const target = await rollbackTarget(context.state, serving);
    return reload(context, { ...target, reason });
  });
}

/** Whoever comes or goes is noticed at once; connections are counted in a thorough look, every descriptor being one step. */
async function tendOldProcesses(
  care: Care,
  context: HostContext,
  present: readonly ProcessInfo[],
  { thorough }: TendOptions,
): Promise<void> {
  const own = care.keeper.owner;
  const others = present.filter(({ pid, ppid }) => pid !== own?.pid && pid !== own?.ppid && ppid !== own?.pid);
  if (others.length === 0) {
    care.figures.oldProcesses = [];
    care.lastProcesses = undefined;
    return;
  }
  const who = others.map(identity).join();
  if (thorough || care.lastProcesses?.others !== who) {
    care.lastProcesses = { others: who, all: (await processes(context, { connections: 'old' })).processes };
  }
  const { all } = care.lastProcesses;
  care.figures.oldProcesses = all.filter(({ role }) => role === 'draining' || role === 'stray');
  const decision = drainPolicy(care.oldProcesses.look(all), care.settings.drain);
  care.oldProcesses.told(decision);
  // Ending takes seconds, in which a reload must not wait.
  void applyDrain({ ...context, emit: care.tell }, decision);
}

async function tendSources(care: Care, options: TendOptions, serves: boolean): Promise<void> {
  const { sources } = care.settings;
  if (sources.length === 0) return;
  // Before the look at every file (10 µs each), so that what changes meanwhile shows the next time.
  const shape = await options.outline();
  if (serves && options.watched && !options.thorough && care.settled === shape) return;
  const mark = await fingerprint(sources);
  if (!options.mayApply(mark)) return;
  if (serves && care.isApplied(sources, mark)) {
    care.settled = shape;
    return;
  }
  await quietly(options.apply({ reason: serves ? 'source changed' : 'nothing serves' }, mark));
}

/** A reload tells its failure itself. */
async function quietly(work: Promise<unknown>): Promise<void> {
  await work.catch(() => undefined);
}

/** One part that fails keeps the others from nothing. */
async function step(care: Care, what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
    care.figures.problem(what, undefined);
  } catch (thrown) {
    care.trouble(what, thrown);
  }
}
