import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Those that take minutes: begun first, so that none of them is left alone at the end. */
const LONG = ['soak', 'lbagent', 'crash/reload', 'storm', 'keeper', 'crash/agent', 'agent', 'demo', 'broken'];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = LONG.findIndex((name) => moduleId.includes(`/${name}`));
      return at < 0 ? LONG.length : at;
    };
    const sorted = await super.sort(files);
    return sorted.sort((one, other) => rank(one) - rank(other));
  }
}

// Files run one after the other unless the command line says otherwise: they share two cores with real HAProxy processes
// and load generators.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    pool: 'forks',
    retry: 0,
    sequence: { sequencer: LongestFirst },
  },
});
