/**
 * What is broken in master-worker mode: with a master of Berth's own, and with one that reads the user's files, as a
 * service manager starts it. Under load the old worker serves all the time.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { openBerth, type Berth } from '../../src/berth.js';
import { ask } from '../../src/haproxy/cli.js';
import { Lab, cannotRun, configuration, haproxyBinaries } from '../support/haproxy.js';
import type { Load } from '../support/load.js';
import { expectNobodyNoticed, serving, watchListening } from '../support/unchanged.js';

const why = cannotRun();
const steady = Array.from({ length: 8 }, (_, at) => `127.0.0.1:${8000 + at}`);
const good = configuration([...steady, '127.0.0.1:40000']);

type Master = 'a master of its own' | "a master on the user's files";

describe.skipIf(why !== undefined)('broken, master-worker', () => {
  let lab: Lab;
  afterEach(async () => lab.close());

  describe.each(haproxyBinaries())('HAProxy $version', ({ path, version }) => {
    interface Scene {
      readonly berth: Berth;
      readonly config: string;
      readonly load: Load;
    }

    const open = async (kind: Master, timeouts = {}): Promise<Scene> => {
      lab = await Lab.open();
      await lab.startBackend([{ host: '127.0.0.1', port: 9000 }]);
      const config = lab.write('haproxy.cfg', configuration(steady));
      const users = kind === "a master on the user's files";
      const named = { pidFile: lab.path('haproxy.pid'), masterSocket: lab.path('master.sock') };
      if (users) {
        const { pidFile, masterSocket } = named;
        await lab.exec(path, ['-W', '-D', '-f', config, '-p', pidFile, '-S', masterSocket]);
      }
      const haproxy = { binary: path, mode: 'master-worker', ...(users ? named : {}) };
      const berth = await openBerth({
        settings: { stateDir: lab.path('state'), netns: lab.netns, haproxy, timeouts },
      });
      expect(await berth.reload([config])).toMatchObject({ outcome: 'served', mode: 'master-worker' });
      await untilOneWorker();
      const load = await lab.startLoad({ targets: steady, rate: 60, held: 5 });
      return { berth, config, load };
    };

    /** A master of 2.2 that ends its own start by exit(3) removes its pid file before it goes back to waiting. */
    const comparable = ({ pidFile, ...all }: Record<string, unknown>) =>
      version === '2.2' ? all : { ...all, pidFile };

    const untilOneWorker = async () => {
      for (let tries = 0; lab.haproxies().length > 2 && tries < 500; tries++)
        await new Promise((go) => setTimeout(go, 10));
    };

    const expectNothingHappened = async ({ berth, config, load }: Scene, text: string, failure: object) => {
      const before = await serving(lab);
      const inodes = lab.listeners();
      const stop = watchListening(lab, steady);
      writeFileSync(config, text);
      await expect(berth.reload([config])).rejects.toMatchObject(failure);
      const { looks, missed } = stop();
      expect(looks).toBeGreaterThan(0);
      expect(missed).toEqual([]);
      await untilOneWorker();
      expect(comparable(await serving(lab))).toEqual(comparable(before));
      expect((await berth.history()).generations.find(({ number }) => number === 2)).toMatchObject({
        serving: false,
        lastGood: false,
        state: expect.stringMatching(/^(failed|rolled-back)$/) as string,
        reason: expect.stringMatching(/./) as string,
      });
      await expectNobodyNoticed(load);
      return inodes;
    };

    const expectNextReloadWorks = async ({ berth, config }: Scene) => {
      writeFileSync(config, good);
      const report = await berth.reload([config]);
      expect(report, JSON.stringify(report)).toMatchObject({
        outcome: 'served',
        generation: 3,
        previous: 1,
        listeners: { served: 9, kept: 8, opened: 1 },
      });
      expect(await berth.status()).toMatchObject({ ok: true, listeners: { wanted: 9, served: 9 } });
      return report;
    };

    describe.each<Master>(['a master of its own', "a master on the user's files"])('%s', (kind) => {
      test('a configuration that HAProxy cannot parse never reaches the master', async () => {
        const scene = await open(kind);
        const inodes = await expectNothingHappened(scene, `${good}listen odd\n  no_such_word here\n`, {
          code: 'BERTH_CONFIG_REFUSED',
          message: expect.stringMatching(/no_such_word/) as string,
        });
        const report = await expectNextReloadWorks(scene);
        expect(report.warnings).toEqual([]);
        if (version !== '2.2') for (const name of steady) expect(lab.listeners().get(name)).toEqual(inodes.get(name));
      });

      test('a certificate that is missing', async () => {
        const scene = await open(kind);
        await expectNothingHappened(
          scene,
          `${good}listen tls\n  bind 127.0.0.1:8500 ssl crt ${lab.path('missing.pem')}\n  server s 127.0.0.1:9000\n`,
          { code: 'BERTH_CONFIG_REFUSED', message: expect.stringMatching(/missing\.pem/) as string },
        );
        await expectNextReloadWorks(scene);
      });

      test('a configuration that passes haproxy -c and dies at its start', async () => {
        const scene = await open(kind);
        await expectNothingHappened(scene, withLua(`if not checking then os.exit(3) end`), {
          code: 'BERTH_RELOAD_FAILED',
          message: expect.stringMatching(/master haproxy\[\d+\] could not start a new worker/) as string,
        });
        await expectNextReloadWorks(scene);
      });

      test('a configuration that hangs at its start, until it goes on', async () => {
        const scene = await open(kind, { reloadMs: 1500 });
        lab.write('hang', '');
        const wait = `if not checking then while io.open('${lab.path('hang')}') do os.execute('sleep 0.05') end os.exit(3) end`;
        const before = lab.listeners();
        writeFileSync(scene.config, withLua(wait));
        await expect(scene.berth.reload([scene.config])).rejects.toMatchObject({ code: 'BERTH_TIMEOUT' });
        for (const name of steady) expect(lab.listeners().get(name)).toEqual(before.get(name));
        rmSync(lab.path('hang'));
        await expectNobodyNoticed(scene.load);
        await expectNextReloadWorks({ ...scene, berth: scene.berth });
      });
    });

    if (version === '3.2')
      test('after a reload that somebody else made fail, the next one works and says what it costs', async () => {
        const { berth, config, load } = await open("a master on the user's files");
        const before = lab.listeners();
        writeFileSync(config, 'listen odd\n  no_such_word here\n');
        const answer = await ask(lab.path('master.sock'), 'reload', { timeoutMs: 10_000, untilEmptyLine: true });
        expect(answer).toMatch(/^Success=0/);
        writeFileSync(config, configuration(steady));
        const report = await berth.reload([config]);
        expect(report).toMatchObject({ outcome: 'served', listeners: { served: 8, kept: 8, sameSocket: 0 } });
        expect(report.warnings).toEqual([expect.stringMatching(/after its last failed reload.*no sockets/i)]);
        for (const name of steady) expect(lab.listeners().get(name)).not.toEqual(before.get(name));
        // What waits in the old sockets' queues at that moment is the kernel's to reset; nobody is refused or kept waiting.
        const { refused, hung, held, ok } = await load.stop();
        expect({ refused, hung, cut: held.cut }).toEqual({ refused: 0, hung: 0, cut: 0 });
        expect(ok).toBeGreaterThan(0);
        const next = await berth.reload([config]);
        expect(next).toMatchObject({ listeners: { sameSocket: 8 }, warnings: [] });
      });

    // HAProxy's master ends with a worker of its that dies: what went through the two is lost, whoever reloads.
    test('a configuration whose worker dies right after a good start takes the master with it: it is started anew', async () => {
      const { berth, config, load } = await open('a master of its own', { settleMs: 1500 });
      const before = lab.haproxies().map(({ pid }) => pid);
      const dies = 'if not checking then core.register_task(function() core.msleep(100) os.exit(3) end) end';
      writeFileSync(config, withLua(dies));
      await expect(berth.reload([config])).rejects.toMatchObject({
        code: expect.stringMatching(/^BERTH_(RELOAD|VERIFY)_FAILED$/) as string,
      });
      expect(lab.haproxies().filter(({ pid }) => before.includes(pid))).toEqual([]);
      for (const name of steady) expect(lab.listeners().get(name), name).toHaveLength(1);
      expect(await berth.status()).toMatchObject({ ok: true, generation: { number: 1 }, listeners: { served: 8 } });
      await load.stop();
      await expectNextReloadWorks({ berth, config, load });
    });

    /** The good configuration with a Lua program that runs while HAProxy reads it; `checking` is true under `-c`. */
    const withLua = (program: string): string => {
      const arguments_ = `io.open('/proc/self/cmdline', 'rb'):read('a')`;
      lab.write('start.lua', `local checking = ${arguments_}:find('\\0-c\\0', 1, true) ~= nil\n${program}\n`);
      return good.replace('global\n', `global\n  lua-load ${lab.path('start.lua')}\n`);
    };
  });
});
