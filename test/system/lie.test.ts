/**
 * The known lie: HAProxy reports success while listeners are not in LISTEN. On every version from 2.2 to 3.5-dev a
 * pause (SIGTTOU) that hits the old process while it shares its sockets with the new one takes them out of LISTEN for
 * both, and the new one never listens again: exit 0, a clean `show proc`, nobody served.
 */
import { writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { openHost } from '../../src/host.js';
import { reload } from '../../src/reload/reload.js';
import type { HostContext } from '../../src/reload/context.js';
import { Lab, cannotRun, configuration, haproxyBinaries } from '../support/haproxy.js';

const why = cannotRun();
const addresses = Array.from({ length: 50 }, (_, at) => `127.0.0.1:${8000 + at}`);

describe.skipIf(why !== undefined)('the known lie', () => {
  let lab: Lab;
  afterEach(async () => lab.close());

  describe.each(haproxyBinaries())('HAProxy $version', ({ path }) => {
    const prepare = async () => {
      lab = await Lab.open();
      const config = lab.write('haproxy.cfg', configuration(addresses));
      const host = await openHost({
        settings: { stateDir: lab.path('state'), netns: lab.netns, haproxy: { binary: path } },
      });
      const context = await host.writing();
      const request = { sources: [config], workingDirectory: lab.directory, reason: 'reload' };
      const first = await reload(context, request);
      writeFileSync(config, configuration([...addresses, '127.0.0.1:9100']));
      return { host, context, request, first };
    };
    /** HAProxy that tells its old process to pause `times` times, each time right after a start that reported success. */
    const pausing = (context: HostContext, old: { pid: number }, times: number, deaf = false): HostContext => {
      let left = times;
      const { haproxy, kernel } = context;
      return {
        ...context,
        haproxy: {
          ...haproxy,
          start: async (...start) => {
            const started = await haproxy.start(...start);
            const process = await kernel.process(old.pid);
            if (process && left-- > 0) await haproxy.signal(process, 'SIGTTOU');
            for (let tries = 0; lab.listeners().size > 1 && tries < 100; tries++)
              await new Promise((go) => setTimeout(go, 10));
            return started;
          },
          signal: (target, signal) =>
            deaf && signal === 'SIGTTIN' && target.pid !== old.pid
              ? Promise.resolve(true)
              : haproxy.signal(target, signal),
        },
      };
    };

    test('exit 0 with every kept listener out of LISTEN is detected and repaired by SIGTTIN', async () => {
      const { host, context, request, first } = await prepare();
      const report = await reload(pausing(context, first.haproxy, 1), request);
      expect(report.outcome).toBe('served');
      expect(report.repairs[0]).toMatch(/50 not served.*told it to listen again \(SIGTTIN\)/);
      expect(lab.listeners().size).toBe(51);
      await host.close();
    });

    test('where SIGTTIN does not help, the reload is tried once more', async () => {
      const { host, context, request, first } = await prepare();
      const report = await reload(pausing(context, first.haproxy, 1, true), request);
      expect(report.outcome).toBe('served');
      expect(report.repairs.at(-1)).toMatch(/started once more/);
      expect(lab.listeners().size).toBe(51);
      await host.close();
    });

    test('where that does not help either, the old HAProxy is made to listen again and goes on serving', async () => {
      const { host, context, request, first } = await prepare();
      const before = lab.listeners();
      await expect(reload(pausing(context, first.haproxy, 2, true), request)).rejects.toMatchObject({
        code: 'BERTH_VERIFY_FAILED',
      });
      expect(lab.listeners()).toEqual(before);
      expect(lab.haproxies().map(({ pid }) => pid)).toEqual([first.haproxy.pid]);
      const next = await reload(context, request);
      expect(next).toMatchObject({ outcome: 'served', listeners: { kept: 50, sameSocket: 50 } });
      await host.close();
    });
  });
});
