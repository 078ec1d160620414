/** kill -9 of Berth at every call that a reload makes of the system. */
import { fork } from 'node:child_process';
import { dirname, resolve } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { amount, form } from '../support/figures.js';
import { cannotRun } from '../support/haproxy.js';
import { type Fault, runMatrix } from '../support/faults/matrix.js';
import type { Mode } from '../support/faults/scene.js';
import { transpile } from '../support/transpile.js';

const why = cannotRun();

describe.skipIf(why !== undefined)('kill -9 of Berth', () => {
  let sources: ReturnType<typeof transpile>;
  beforeAll(() => {
    sources = transpile('../test/support/faults/reload');
  });
  afterAll(() => sources.remove());

  const killed: Fault = {
    name: 'kill -9 of Berth',
    strikes: () => true,
    begin: (scene, { request }) => {
      let signal: NodeJS.Signals | null = null;
      return {
        strike: () => undefined,
        run: async (at) => {
          const child = fork(
            'test/support/faults/worker.mjs',
            [
              dirname(dirname(sources.path('x'))),
              JSON.stringify({ root: scene.lab.directory, settings: scene.settings, request, at }),
            ],
            { execArgv: [], env: { ...process.env, BERTH_ADDON: resolve('build/Release/berth.node') } },
          );
          signal = await new Promise((done) => child.on('exit', (_status, how) => done(how)));
          return { error: new Error('it died') };
        },
        missed: () => signal !== 'SIGKILL',
      };
    },
  };

  test.each<Mode>(['standalone', 'master-worker'])('%s', { timeout: 720_000 }, async (mode) => {
    await runMatrix({
      part: 'faults',
      name: 'kill -9 of Berth',
      promise:
        'Berth may die at any call: HAProxy serves on, and the next command brings the reload to its end, says so, and leaves nothing behind.',
      mode,
      kinds: form === 'full' ? ['reload', 'first'] : ['reload'],
      faults: [killed],
      cases: amount('berth_kills', { short: 4, full: 80 }),
    });
  });
});
