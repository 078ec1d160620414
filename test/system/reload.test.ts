/** From a configuration to served listeners, on real HAProxy, in private network namespaces. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { openBerth } from '../../src/berth.js';
import { Lab, cannotRun, configuration, haproxyBinaries } from '../support/haproxy.js';

const why = cannotRun();

describe.skipIf(why !== undefined)('reload', () => {
  let lab: Lab;
  afterEach(async () => lab.close());

  describe.each(haproxyBinaries())('HAProxy $version', ({ path }) => {
    test('a first start, a reload that adds and removes listeners, and a rollback', async () => {
      lab = await Lab.open();
      const config = join(lab.directory, 'haproxy.cfg');
      const berth = await openBerth({
        settings: { stateDir: join(lab.directory, 'state'), netns: lab.netns, haproxy: { binary: path } },
        observer: (event) => process.env['SHOW'] && console.log(JSON.stringify(event)),
      });
      writeFileSync(config, configuration(['127.0.0.1:8001', '127.0.0.1:8002', '[::1]:8003', ':::8004']));
      const first = await berth.reload([config]);
      expect(first).toMatchObject({ outcome: 'served', generation: 1, listeners: { served: 4, kept: 0, opened: 4 } });
      writeFileSync(config, configuration(['127.0.0.1:8001', '127.0.0.1:8005', '[::1]:8003', ':::8004']));
      const second = await berth.reload([config]);
      expect(second).toMatchObject({ outcome: 'served', generation: 2, previous: 1, listeners: { served: 4, kept: 3, opened: 1, closed: 1 } });
      const back = await berth.rollback();
      expect(back).toMatchObject({ outcome: 'served', generation: 3 });
      console.log(JSON.stringify(back.phases), back.warnings, back.repairs);
      const status = await berth.status();
      expect(status).toMatchObject({ ok: true, listeners: { wanted: 4, served: 4, missing: [] } });
      console.log(JSON.stringify(status));
      await berth.close();
    });
  });
});
