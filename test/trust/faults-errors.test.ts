/** Every error at every call that a reload makes of the system, once and from then on. */
import { describe, test } from 'vitest';
import { amount } from '../support/figures.js';
import { cannotRun } from '../support/haproxy.js';
import { ERRORS } from '../support/faults/errors.js';
import { runMatrix } from '../support/faults/matrix.js';
import type { Mode } from '../support/faults/scene.js';

const why = cannotRun();

describe.skipIf(why !== undefined)('errors', () => {
  test.each<Mode>(['standalone', 'master-worker'])('%s', { timeout: 720_000 }, async (mode) => {
    await runMatrix({
      part: 'faults',
      name: 'errors of the system',
      promise:
        'Whatever system call or file operation of a reload fails, what was served or what is new is served whole, and nothing is left behind.',
      mode,
      kinds: ['reload', 'first'],
      faults: ERRORS,
      cases: amount('errors', { short: 10, full: 260 }),
    });
  });
});
