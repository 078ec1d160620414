import { BerthError } from '../errors.js';
import type { ReloadRequest } from './context.js';
import { lastGood, listGenerations, openGeneration, servingNumber, stagedFiles } from './generations.js';
import type { StateDir } from './state-dir.js';

/**
 * A rollback is a reload of an older generation's files, through the same path: a new generation with a new number.
 * @param wanted default: the last good one before the one that serves
 * @throws BERTH_GENERATION_UNKNOWN
 */
export async function rollbackTarget(state: StateDir, wanted?: number): Promise<ReloadRequest> {
  const generation = await openGeneration(state, wanted ?? (await before(state)));
  const { number, meta } = generation;
  return {
    sources: meta.sources,
    ...(meta.workingDirectory === undefined ? {} : { workingDirectory: meta.workingDirectory }),
    staged: await stagedFiles(generation),
    reason: `rollback to ${number}`,
  };
}

async function before(state: StateDir): Promise<number> {
  const serving = await servingNumber(state);
  const target = lastGood(await listGenerations(state), serving);
  if (target) return target.number;
  throw new BerthError('BERTH_GENERATION_UNKNOWN', `There is no good generation before ${serving ?? 'the first'}`, {
    step: 'state',
  });
}
