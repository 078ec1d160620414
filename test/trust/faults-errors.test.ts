/** Every error at every call that a reload makes of the system, once and from then on. */
import { describe, test } from 'vitest';
import { amount } from '../support/figures.js';
import { cannotRun } from '../support/haproxy.js';
import { ERRORS } from '../support/faults/errors.js';
import { runMatrix } from '../support/faults/matrix.js';
import type { Mode } from '../support/faults/scene.js';

const why = cannotRun();

/** What failed before it was mended: of a reload and of a first start. */
const FOUND = [
  // The journal's next record went to the place of the file before, and every later run refused it as damaged.
  'ENOMEM at after stage: open .',
  // The new HAProxy stayed, and nobody knew of it.
  'EROFS at hand over: datasync journal (started)',
  // The pid file went on naming the HAProxy that was ended.
  'EROFS from then on at commit: datasync journal (committed)',
  // The ledger kept a port that was released.
  'EPERM at release: sync ledger.json.new',
  // The generation counted as staged for good.
  'EROFS at stage: open generations/N/root/haproxy.cfg',
  // The file for what HAProxy says stayed, and its descriptor.
  'EPERM at hand over: unlink run/.haproxy-output-X',
  // A living HAProxy was taken for a dead one.
  'EMFILE at plan: readFile /proc/PID/stat',
  // The socket of a master that was ended was refused by every later command.
  'ENOMEM at verify: readFile /proc/PID/stat',
];

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
      found: FOUND,
      cases: amount('errors', { short: 20, full: 260 }),
    });
  });
});
