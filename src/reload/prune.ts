/** What is no longer needed goes: old generations beyond the number to keep, and what a crash left half made. */
import { readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTree, stateWriteError } from './files.js';
import { generationNumbers, lastGood, listGenerations, servingNumber } from './generations.js';
import type { StateDir } from './state-dir.js';

/**
 * Remove generations beyond the newest `keep`; failed ones count, they are kept for inspection like the others. The
 * serving one, the last good one and those of `protect` always stay. The caller holds the lock.
 * @param keep 0 keeps all
 * @returns the numbers removed, ascending. Errors: BERTH_STATE_WRITE.
 */
export async function prune(state: StateDir, keep: number, protect: readonly number[] = []): Promise<number[]> {
  if (keep === 0) return [];
  const [numbers, serving, metas] = await Promise.all([
    generationNumbers(state),
    servingNumber(state),
    listGenerations(state),
  ]);
  const stay = new Set([...numbers.slice(-keep), ...protect, serving, lastGood(metas)?.number]);
  const removed = numbers.filter((number) => !stay.has(number));
  for (const number of removed) {
    const aside = join(state.generations, `.${number}.removing`);
    try {
      // Renamed first: a crash in the middle of it must not leave half a generation that looks whole.
      await rename(join(state.generations, String(number)), aside);
      await removeTree(aside);
    } catch (error) {
      throw stateWriteError(error, `remove generation ${number}`, aside);
    }
  }
  return removed;
}

/**
 * Remove what a Berth that died has left of generations that were being made or removed. The caller holds the lock, so
 * that nobody is making one.
 * @returns the names removed, `.7.staging`
 */
export async function sweep(state: StateDir): Promise<string[]> {
  try {
    const names = await readdir(state.generations);
    const left = names.filter((name) => /^\.\d+\.(staging|removing)$/.test(name));
    for (const name of left) await removeTree(join(state.generations, name));
    return left;
  } catch (error) {
    throw stateWriteError(error, 'remove what a crash left', state.generations);
  }
}
