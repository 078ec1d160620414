/** HAProxy is killed, stopped or hangs, and the clock is set, at every call that a reload makes of the system. */
import { describe, test } from 'vitest';
import { amount, form } from '../support/figures.js';
import { cannotRun } from '../support/haproxy.js';
import { runMatrix } from '../support/faults/matrix.js';
import { KILLS, STOPS } from '../support/faults/processes.js';
import type { Mode } from '../support/faults/scene.js';

const why = cannotRun();

/** What failed before it was mended. */
const FOUND = [
  // The old HAProxy was told to finish for one that had died a moment after it was proven.
  'kill -9 of the new HAProxy at after verify: readFile run/haproxy.pid',
];

describe.skipIf(why !== undefined)('processes and time', () => {
  test.each<Mode>(['standalone', 'master-worker'])('%s', { timeout: 720_000 }, async (mode) => {
    await runMatrix({
      part: 'faults',
      name: 'HAProxy killed, stopped or hung, the clock set',
      promise:
        'Whichever HAProxy dies or hangs at whichever moment of a reload, the other one serves or the next command brings it back; waits end by the time limits of the settings, whatever the clock says.',
      mode,
      kinds: form === 'full' ? ['reload', 'first'] : ['reload'],
      faults: [...KILLS, ...STOPS],
      found: FOUND,
      cases: amount('processes', { short: 5, full: 140 }),
    });
  });
});
