/**
 * A broken configuration, a missing certificate, a HAProxy that dies at once or hangs: under load the old one serves all
 * the time, without a pause, everything is as before, the failed generation is kept with its reason, and the next good
 * reload works.
 */
import { chmodSync, writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { openBerth, type Berth } from '../../src/berth.js';
import { Lab, cannotRun, configuration, haproxyBinaries } from '../support/haproxy.js';
import type { Load } from '../support/load.js';
import { expectNobodyNoticed, serving, watchListening } from '../support/unchanged.js';

const why = cannotRun();
const steady = Array.from({ length: 8 }, (_, at) => `127.0.0.1:${8000 + at}`);
/** In the ephemeral range, so that a reload reserves its port. */
const added = '127.0.0.1:40000';
const good = configuration([...steady, added]);

describe.skipIf(why !== undefined)('broken', () => {
  let lab: Lab;
  afterEach(async () => lab.close());

  describe.each(haproxyBinaries())('standalone HAProxy $version', ({ path }) => {
    interface Scene {
      readonly berth: Berth;
      readonly config: string;
      readonly load: Load;
    }

    /** A HAProxy that does with its next starts (not `-c`) what `sabotage` says: $REAL is the binary, $PIDFILE its -p. */
    const open = async (sabotage = '', timeouts = {}): Promise<Scene> => {
      lab = await Lab.open();
      await lab.startBackend([{ host: '127.0.0.1', port: 9000 }]);
      const config = lab.write('haproxy.cfg', configuration(steady));
      lab.write(
        'haproxy',
        `#!/bin/sh\nREAL=${path}\ncase " $* " in *" -D "*) [ ! -e ${lab.path('sabotage')} ] || {\n` +
          `  PIDFILE=$(echo "$*" | sed 's/.*-p \\([^ ]*\\).*/\\1/')\n  ${sabotage}\n} ;; esac\nexec $REAL "$@"\n`,
      );
      chmodSync(lab.path('haproxy'), 0o755);
      const berth = await openBerth({
        settings: { stateDir: lab.path('state'), netns: lab.netns, haproxy: { binary: lab.path('haproxy') }, timeouts },
      });
      expect(await berth.reload([config])).toMatchObject({ outcome: 'served', generation: 1 });
      const load = await lab.startLoad({ targets: steady, rate: 60, held: 5 });
      return { berth, config, load };
    };

    /** One reload that fails; then everything is as before, and the next good one works. */
    const expectNothingHappened = async (scene: Scene, text: string, failure: object, reason: RegExp) => {
      const { berth, config } = scene;
      const before = await serving(lab);
      const inodes = lab.listeners();
      const stop = watchListening(lab, steady);
      writeFileSync(config, text);
      await expect(berth.reload([config])).rejects.toMatchObject(failure);
      const { looks, missed } = stop();
      expect(looks).toBeGreaterThan(0);
      expect(missed).toEqual([]);
      await untilDrained();
      expect(await serving(lab)).toEqual(before);
      const { generations } = await berth.history();
      expect(generations.find(({ serving: serves }) => serves)?.number).toBe(1);
      expect(generations.find(({ number }) => number === 2)).toMatchObject({ serving: false, lastGood: false });
      expect(generations.find(({ number }) => number === 2)?.reason).toMatch(reason);
      expect(generations.find(({ number }) => number === 2)?.state).toMatch(/^(failed|rolled-back)$/);

      await lab.exec('rm', ['-f', lab.path('sabotage')]);
      writeFileSync(config, good);
      const report = await berth.reload([config]);
      expect(report).toMatchObject({
        outcome: 'served',
        generation: 3,
        previous: 1,
        listeners: { served: 9, kept: 8, opened: 1 },
        reserved: { added: '40000' },
        repairs: [],
        warnings: [],
      });
      expect(report).not.toHaveProperty('recovery');
      const after = lab.listeners();
      for (const address of steady) expect(after.get(address), address).toEqual(inodes.get(address));
      expect(await berth.status()).toMatchObject({ ok: true });
      await berth.close();
    };

    /** A HAProxy that was taken back finishes the clients that it had got. */
    const untilDrained = async () => {
      for (let tries = 0; lab.haproxies().length > 1 && tries < 500; tries++)
        await new Promise((go) => setTimeout(go, 10));
    };

    test('a configuration that HAProxy cannot parse', async () => {
      const scene = await open();
      const text = `${good}listen odd\n  bind 127.0.0.1:8500\n  no_such_word here\n`;
      const line = text.split('\n').length - 1;
      const failure = {
        code: 'BERTH_CONFIG_REFUSED',
        step: 'check',
        message: expect.stringMatching(/no_such_word/) as string,
        details: {
          messages: expect.arrayContaining([
            expect.objectContaining({ level: 'ALERT', file: scene.config, line }),
          ]) as object[],
        },
      };
      await expectNothingHappened(scene, text, failure, /no_such_word/);
      await expectNobodyNoticed(scene.load);
    });

    test('a certificate that is missing', async () => {
      const scene = await open();
      const text = `${good}listen tls\n  bind 127.0.0.1:8500 ssl crt ${lab.path('missing.pem')}\n  server s 127.0.0.1:9000\n`;
      const failure = { code: 'BERTH_CONFIG_REFUSED', message: expect.stringMatching(/missing\.pem/) as string };
      await expectNothingHappened(scene, text, failure, /missing\.pem/);
      await expectNobodyNoticed(scene.load);
    });

    test('a HAProxy that refuses to start, with its reason', async () => {
      const scene = await open(`echo "[ALERT] (1) : cannot allocate memory for pollers" >&2; exit 1`);
      lab.write('sabotage', '');
      const failure = { code: 'BERTH_RELOAD_FAILED', message: expect.stringMatching(/status 1.*pollers/) as string };
      await expectNothingHappened(scene, good, failure, /pollers/);
      await expectNobodyNoticed(scene.load);
    });

    test('a HAProxy that hangs at its start', async () => {
      const scene = await open('sleep 1000', { startMs: 500 });
      lab.write('sabotage', '');
      await expectNothingHappened(scene, good, { code: 'BERTH_TIMEOUT' }, /not up after 500 ms/);
      await expectNobodyNoticed(scene.load);
    });

    // What the dying process had accepted dies with it, whoever supervises it: resets are its own doing, not counted here.
    test.each([
      ['dies at once after a good start', '"$REAL" "$@" && kill -9 $(cat $PIDFILE); exit 0', {}],
      [
        'dies within the settle time',
        '"$REAL" "$@" && { (sleep 0.3; kill -9 $(cat $PIDFILE)) >/dev/null 2>&1 & }; exit 0',
        { settleMs: 3000 },
      ],
    ])('a HAProxy that %s', async (_, sabotage, timeouts) => {
      const scene = await open(sabotage, timeouts);
      lab.write('sabotage', '');
      const failure = { code: expect.stringMatching(/^BERTH_(RELOAD|VERIFY)_FAILED$/) as string };
      await expectNothingHappened(scene, good, failure, /died|ended right after|settle/);
      const { refused, hung, held, ok } = await scene.load.stop();
      expect({ refused, hung, cut: held.cut }).toEqual({ refused: 0, hung: 0, cut: 0 });
      expect(ok).toBeGreaterThan(0);
    });
  });
});
