/** Made-up cases that are all tried, also those behind one that fails: else the first failure hides the others. */
import fc from 'fast-check';
import { SEED } from './figures.js';

/** So many failures are likely to have one cause. */
const MOST_FAILURES = 5;

/**
 * A failed case is made as small as it gets; then it goes on from the next seed.
 * @param attempt throws where the case fails; `counts` is false where the case only is a smaller one of one that has failed
 * @returns what failed, with seed and path; with five failures it ends before all are tried
 */
export async function everyCase<T>(
  cases: fc.Arbitrary<T>,
  wanted: number,
  attempt: (one: T, counts: boolean) => Promise<void>,
): Promise<string[]> {
  const failures: string[] = [];
  for (let left = wanted, seed = SEED; left > 0 && failures.length < MOST_FAILURES; seed++) {
    let counts = true;
    const property = fc.asyncProperty(cases, async (one) => {
      try {
        await attempt(one, counts);
      } catch (error) {
        counts = false;
        throw error;
      }
    });
    const outcome = await fc.check(property, { numRuns: left, seed });
    if (!outcome.failed) break;
    left -= outcome.numRuns;
    const { counterexamplePath, errorInstance } = outcome;
    const why = errorInstance instanceof Error ? errorInstance.stack : String(errorInstance);
    failures.push(`seed ${seed}, path ${String(counterexamplePath)}: ${String(why)}`);
  }
  return failures;
}
