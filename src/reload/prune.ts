/** What is no longer needed goes: old generations beyond the number to keep, and what a crash left half made. */
import { readdir, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf, removeTree, stateWriteError } from './files.js';
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
 * Remove what a Berth that died, or could not write any more, has left: generations that were being made or removed, and
 * files written aside. The caller holds the lock, so that nobody is making one.
 * @param pidFile of the HAProxy that serves, where it is not Berth's own
 * @returns the names removed, `.7.staging`
 */
export async function sweep(state: StateDir, pidFile = join(state.run, 'haproxy.pid')): Promise<string[]> {
  const generations = await removeThose(state.generations, /^\.\d+\.(staging|removing)$/);
  // The agent notes what it has applied without the lock.
  const aside = await removeThose(state.path, /^(?!applied\.json).*\.new$/);
  const beside = `${basename(pidFile)}.berth`;
  const started = [];
  for (const directory of new Set([state.run, dirname(pidFile)]))
    started.push(...(await removeThose(directory, (name) => name === beside || OUTPUT.test(name))));
  return [...generations, ...aside, ...started];
}

/** The same for the files of one generation; one that does not exist has none. */
export function sweepGeneration(state: StateDir, number: number): Promise<string[]> {
  return removeThose(join(state.generations, String(number)), /\.new$/);
}

/** What HAProxy says at its start goes there; without a name but for the moment of its making (haproxy/start.ts). */
const OUTPUT = /^\.haproxy-output-[0-9a-f]{12}$/;

async function removeThose(directory: string, which: RegExp | ((name: string) => boolean)): Promise<string[]> {
  try {
    const names = await readdir(directory);
    const left = names.filter((name) => (typeof which === 'function' ? which(name) : which.test(name)));
    for (const name of left) await removeTree(join(directory, name));
    return left;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw stateWriteError(error, 'remove what a crash left', directory);
  }
}
