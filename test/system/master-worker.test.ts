/** Master-worker mode: Berth's own master, a master that reads the user's files, and what a failed reload leaves behind. */
import { writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { openBerth } from '../../src/berth.js';
import { Lab, cannotRun, configuration, haproxyBinaries } from '../support/haproxy.js';

const why = cannotRun();

describe.skipIf(why !== undefined)('master-worker mode', () => {
  let lab: Lab;
  afterEach(async () => lab.close());

  describe.each(haproxyBinaries())('HAProxy $version', ({ path, version }) => {
    const open = (settings: Record<string, unknown> = {}) =>
      openBerth({
        settings: {
          stateDir: lab.path('state'),
          netns: lab.netns,
          haproxy: { binary: path, mode: 'master-worker', ...(settings['haproxy'] as object) },
        },
      });

    test('Berth starts the master, reloads it and rolls it back; kept listeners keep their sockets', async () => {
      lab = await Lab.open();
      const config = lab.write('haproxy.cfg', configuration(['127.0.0.1:8001', '127.0.0.1:8002', ':::8004']));
      const berth = await open();
      const first = await berth.reload([config]);
      expect(first).toMatchObject({ outcome: 'served', mode: 'master-worker', listeners: { served: 3, opened: 3 } });
      const before = lab.listeners();
      writeFileSync(config, configuration(['127.0.0.1:8001', '127.0.0.1:8005', ':::8004']));
      const second = await berth.reload([config]);
      expect(second).toMatchObject({ outcome: 'served', generation: 2, listeners: { served: 3, kept: 2, opened: 1 } });
      if (version !== '2.2') expect(second.listeners.sameSocket).toBe(2);
      expect([...lab.listeners().keys()].sort()).toEqual(['127.0.0.1:8001', '127.0.0.1:8005']);
      if (version !== '2.2') expect(lab.listeners().get('127.0.0.1:8001')).toEqual(before.get('127.0.0.1:8001'));
      expect(second.haproxy.pid).not.toBe(first.haproxy.pid);
      const back = await berth.rollback();
      expect(back).toMatchObject({ outcome: 'served', generation: 3 });
      expect([...lab.listeners().keys()].sort()).toEqual(['127.0.0.1:8001', '127.0.0.1:8002']);
      expect(await berth.status()).toMatchObject({ ok: true, listeners: { wanted: 3, served: 3 } });
      await berth.close();
    });
  });
});
