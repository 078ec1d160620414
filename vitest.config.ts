import { defineConfig } from 'vitest/config';

// Files run one after the other: they share two cores with real HAProxy processes and load generators.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    pool: 'forks',
    retry: 0,
  },
});
