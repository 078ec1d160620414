/** From a configuration to served listeners, on real HAProxy, in private network namespaces. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { openBerth } from '../../src/berth.js';
import { selfSigned } from '../support/listening.js';
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
      });
      writeFileSync(config, configuration(['127.0.0.1:8001', '127.0.0.1:8002', '[::1]:8003', ':::8004']));
      const first = await berth.reload([config]);
      expect(first).toMatchObject({ outcome: 'served', generation: 1, listeners: { served: 4, kept: 0, opened: 4 } });
      writeFileSync(config, configuration(['127.0.0.1:8001', '127.0.0.1:8005', '[::1]:8003', ':::8004']));
      const second = await berth.reload([config]);
      expect(second).toMatchObject({
        outcome: 'served',
        generation: 2,
        previous: 1,
        listeners: { served: 4, kept: 3, opened: 1, closed: 1 },
      });
      const back = await berth.rollback();
      expect(back).toMatchObject({ outcome: 'served', generation: 3 });
      expect(back).toMatchObject({ warnings: [], repairs: [] });
      const status = await berth.status();
      expect(status).toMatchObject({ ok: true, listeners: { wanted: 4, served: 4, missing: [] } });
      await berth.close();
    });

    test('a directory with -C, as lbagent gives it: certificates and ACL files by relative path go with the generation', async () => {
      lab = await Lab.open();
      mkdirSync(lab.path('configs/one/certs'), { recursive: true });
      symlinkSync('one', lab.path('configs/haproxy.conf.d'));
      const directory = lab.path('configs/haproxy.conf.d');
      writeFileSync(join(directory, 'acl-1'), '10.0.0.0/8\n');
      copyFileSync(selfSigned(), join(directory, 'certs/a.pem'));
      writeFileSync(join(directory, '00-haproxy.cfg'), configuration([]));
      writeFileSync(
        join(directory, 'lb.cfg'),
        [
          'listen lb',
          '  bind 127.0.0.1:8443 ssl crt certs/a.pem',
          '  tcp-request connection reject if { src -f acl-1 }',
          '  server s 127.0.0.1:9000',
          '',
        ].join('\n'),
      );
      const berth = await openBerth({
        settings: { stateDir: join(lab.directory, 'state'), netns: lab.netns, haproxy: { binary: path } },
      });
      const options = { workingDirectory: directory };
      expect(await berth.reload([directory], options)).toMatchObject({ outcome: 'served', listeners: { served: 1 } });
      // What serves does not hang on the user's files any more.
      rmSync(lab.path('configs/one'), { recursive: true });
      expect(await berth.status()).toMatchObject({ ok: true });
      expect(await berth.rollback(1)).toMatchObject({
        outcome: 'served',
        listeners: { served: 1, kept: 1, sameSocket: 1 },
      });
      await berth.close();
    });

    test('harden: source is applied to the staged generation only, and shown in plan and diff', async () => {
      lab = await Lab.open();
      const text = configuration(['127.0.0.1:8001']);
      const config = lab.write('haproxy.cfg', text);
      const settings = { stateDir: lab.path('state'), netns: lab.netns, haproxy: { binary: path } };
      const plain = await openBerth({ settings });
      await plain.reload([config]);
      await plain.close();
      const berth = await openBerth({ settings: { ...settings, harden: 'source' } });
      const { plan } = await berth.plan([config]);
      expect(plan.harden).toMatchObject([{ section: 'defaults', file: config }]);
      expect(await berth.reload([config])).toMatchObject({ outcome: 'served' });
      const { files } = await berth.diff(1, 2);
      expect(files).toHaveLength(1);
      expect(files[0]?.patch).toMatch(/^\+\s+source 0\.0\.0\.0/m);
      expect(readFileSync(config, 'utf8')).toBe(text);
      // HAProxy's words about the hardened copy name the user's own line.
      writeFileSync(config, text.replace('server s', 'srver s'));
      const line = text.split('\n').findIndex((each) => each.includes('server s')) + 1;
      await expect(berth.reload([config])).rejects.toMatchObject({
        code: 'BERTH_CONFIG_REFUSED',
        message: expect.stringContaining(`${config}:${line}`) as unknown,
      });
      await berth.close();
    });

    test('a bind in another network namespace is probed, handed over, verified and kept there', async () => {
      lab = await Lab.open();
      const name = `berth-${process.pid}`;
      await lab.exec('ip', ['netns', 'add', name]);
      try {
        const there = `--net=/run/netns/${name}`;
        execFileSync('nsenter', [there, 'ip', 'link', 'set', 'lo', 'up']);
        const config = lab.write('haproxy.cfg', configuration(['127.0.0.1:8001', `127.0.0.1:8001 namespace ${name}`]));
        const settings = { stateDir: lab.path('state'), netns: lab.netns, haproxy: { binary: path } };
        const berth = await openBerth({ settings });
        expect(await berth.reload([config])).toMatchObject({
          outcome: 'served',
          listeners: { served: 2, opened: 2 },
          warnings: [],
        });
        writeFileSync(
          config,
          configuration(['127.0.0.1:8001', `127.0.0.1:8001 namespace ${name}`, `127.0.0.1:8002 namespace ${name}`]),
        );
        expect(await berth.reload([config])).toMatchObject({
          outcome: 'served',
          listeners: { kept: 2, sameSocket: 2, opened: 1 },
          warnings: [],
        });
        const listening = execFileSync('nsenter', [there, 'ss', '-tlnH'], { encoding: 'utf8' });
        expect(listening.match(/127\.0\.0\.1:800[12]/g)).toHaveLength(2);
        await berth.close();
      } finally {
        await lab.exec('ip', ['netns', 'del', name]);
      }
    });
  });
});
