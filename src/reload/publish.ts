/** Which generation serves is one fact, the symlink `current`, and it is changed by one rename(2). */
import { rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { stateWriteError, syncPath } from './files.js';
import { openGeneration, updateMeta, type Generation } from './generations.js';
import type { StateDir } from './state-dir.js';

/**
 * Make this generation the one that serves; durable when it returns. Doing it twice is fine. Whoever looks at `current`
 * meanwhile sees the old one or the new one. Errors: BERTH_STATE_WRITE; `current` is then as before, or already the new one
 * where only the flush failed, which {@link unpublish} takes back.
 */
export async function publish(state: StateDir, generation: Generation): Promise<Generation> {
  await pointTo(state, generation.number);
  return updateMeta(generation, { state: 'serving' });
}

/**
 * Go back to the generation that served before, or to none (a first start that failed).
 * @param why recorded with the generation that is taken back, which is `rolled-back` then
 */
export async function unpublish(
  state: StateDir,
  generation: Generation,
  previous: number | undefined,
  why: string,
): Promise<void> {
  if (previous === undefined) await pointToNone(state);
  else await publish(state, await openGeneration(state, previous));
  await updateMeta(generation, { state: 'rolled-back', failure: why });
}

/**
 * The generation was verified and committed: it is the last good one from now on.
 * @param listeners how many it serves, where that is known
 */
export function markGood(generation: Generation, now = new Date(), listeners?: number): Promise<Generation> {
  const good = { good: true, goodSince: now.toISOString() };
  return updateMeta(generation, listeners === undefined ? good : { ...good, listeners });
}

/** The generation never served; it is kept for inspection. @param why what HAProxy or Berth said */
export function markFailed(generation: Generation, why: string): Promise<Generation> {
  return updateMeta(generation, { state: 'failed', failure: why });
}

async function pointTo(state: StateDir, number: number): Promise<void> {
  const aside = `${state.current}.new`;
  try {
    await rm(aside, { force: true });
    // Relative: the state directory may be moved or mounted elsewhere.
    await symlink(join('generations', String(number)), aside);
    await rename(aside, state.current);
    await syncPath(state.path);
  } catch (error) {
    await rm(aside, { force: true }).catch(() => undefined);
    throw stateWriteError(error, `publish generation ${number}`, state.current);
  }
}

async function pointToNone(state: StateDir): Promise<void> {
  try {
    await rm(state.current, { force: true });
    await syncPath(state.path);
  } catch (error) {
    throw stateWriteError(error, 'take back the published generation', state.current);
  }
}
