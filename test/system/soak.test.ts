/** A hundred reloads in a row under load, each adding and removing listeners: nobody is refused, nobody is cut. */
import { writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { openBerth } from '../../src/berth.js';
import { Lab, cannotRun, configuration, haproxyBinaries } from '../support/haproxy.js';

const why = cannotRun();
const RELOADS = Number(process.env['BERTH_SOAK_RELOADS'] ?? 100);
/** These are in every generation, and all the load goes to them. */
const steady = Array.from({ length: 20 }, (_, at) => `169.254.0.101:${8000 + at}`);

describe.skipIf(why !== undefined)('a hundred reloads under load', () => {
  let lab: Lab;
  afterEach(async () => lab.close());

  describe.each(haproxyBinaries())('HAProxy $version', ({ path }) => {
    test.each(['standalone', 'master-worker'] as const)(
      '%s: listeners come and go, 0 refused, 0 reset, 0 hung',
      { timeout: 240_000 },
      async (mode) => {
        lab = await Lab.open({ peer: true });
        await lab.startBackend([{ host: '169.254.0.100', port: 9000 }]);
        const others = (round: number) =>
          Array.from({ length: 30 }, (_, at) => `169.254.0.101:${9000 + ((round * 7 + at) % 200)}`);
        const text = (round: number) => configuration([...steady, ...others(round)], { server: '169.254.0.100:9000' });
        const config = lab.write('haproxy.cfg', text(0));
        const berth = await openBerth({
          settings: { stateDir: lab.path('state'), netns: lab.netns, haproxy: { binary: path, mode } },
        });
        await berth.reload([config]);
        const load = await lab.startLoad({ targets: steady, rate: 300, held: 20 });
        for (let round = 1; round <= RELOADS; round++) {
          writeFileSync(config, text(round));
          const report = await berth.reload([config]);
          expect(report, JSON.stringify(report)).toMatchObject({
            outcome: 'served',
            listeners: { served: 50 },
            repairs: [],
          });
          expect(report.warnings).toEqual([]);
          expect([...lab.listeners().keys()].sort()).toEqual([...steady, ...others(round)].sort());
        }
        const seen = await load.stop();
        await berth.close();
        expect(seen.ok).toBeGreaterThan(RELOADS);
        expect({ refused: seen.refused, reset: seen.reset, eof: seen.eof, hung: seen.hung }).toEqual({
          refused: 0,
          reset: 0,
          eof: 0,
          hung: 0,
        });
      },
    );
  });
});
