/** HAProxy is killed, stopped or hangs, and the clock jumps, at every call that a reload makes of the system. */
import { describe, test } from 'vitest';
import { amount } from '../support/figures.js';
import { cannotRun } from '../support/haproxy.js';
import { runMatrix } from '../support/faults/matrix.js';
import { KILLS, STOPS } from '../support/faults/processes.js';
import type { Mode } from '../support/faults/scene.js';

const why = cannotRun();

describe.skipIf(why !== undefined)('processes and time', () => {
  test.each<Mode>(['standalone', 'master-worker'])('%s: killed', { timeout: 720_000 }, async (mode) => {
    await runMatrix({
      part: 'faults',
      name: 'kill -9 of HAProxy',
      promise:
        'Whichever HAProxy dies at whichever moment of a reload: the other one serves, or the next command brings it back, and nothing is left behind.',
      mode,
      kinds: ['reload', 'first'],
      faults: KILLS,
      cases: amount('kills', { short: 6, full: 160 }),
    });
  });

  test.each<Mode>(['standalone', 'master-worker'])('%s: stopped', { timeout: 720_000 }, async (mode) => {
    await runMatrix({
      part: 'faults',
      name: 'hangs and clock jumps',
      promise:
        'A HAProxy that hangs and a clock that is set hold up a reload no longer than the time limits of the settings, and harm nothing.',
      mode,
      kinds: ['reload', 'first'],
      faults: STOPS,
      cases: amount('stops', { short: 6, full: 120 }),
    });
  });
});
