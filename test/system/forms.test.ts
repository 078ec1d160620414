/**
 * Every way of binding that Berth has to know of, on real HAProxy: served, kept over a reload of a changed configuration,
 * and the sockets that HAProxy takes are the same ones.
 */
import { writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { openBerth, type Berth } from '../../src/berth.js';
import { Lab, cannotRun, configuration, haproxyBinaries, type ConfigurationOptions } from '../support/haproxy.js';

const why = cannotRun();
const NEXT = '127.0.0.1:9500';

describe.skipIf(why !== undefined)('forms of binding', () => {
  let lab: Lab;
  let berth: Berth;
  afterEach(async () => {
    await berth.close();
    await lab.close();
  });

  describe.each(haproxyBinaries())('HAProxy $version', ({ path, version }) => {
    const open = async (settings: object = {}, addresses: string[] = []) => {
      lab = await Lab.open({ addresses });
      berth = await openBerth({
        settings: { stateDir: lab.path('state'), netns: lab.netns, haproxy: { binary: path }, ...settings },
      });
    };
    /** What listens: TCP and unix sockets of HAProxy with their inodes, by what ss(8) calls them. */
    const sockets = async (): Promise<string[]> => {
      const pid = lab.haproxies().map((one) => `pid=${one.pid},`);
      const rows = `${await lab.exec('ss', ['-tlnHeOp'])}\n${await lab.exec('ss', ['-xlHOp'])}`.split('\n');
      return rows
        .filter((row) => pid.some((one) => row.includes(one)) && !row.includes('/state/run/'))
        .map((row) => {
          const words = row.trim().split(/\s+/);
          return words[0] === 'LISTEN'
            ? `${words[3]} ${/ino:(\d+)/.exec(row)?.[1]}`
            : `${words[4]?.replace(/\.\d+\.tmp$/, '')} ${words[5]}`;
        })
        .sort();
    };
    const expectServed = async (binds: readonly string[], count: number, options: ConfigurationOptions = {}) => {
      const config = lab.write('haproxy.cfg', configuration(binds, options));
      const first = await berth.reload([config]);
      expect(first, JSON.stringify(first)).toMatchObject({
        outcome: 'served',
        warnings: [],
        repairs: [],
        quarantined: [],
      });
      const before = await sockets();
      expect(before).toHaveLength(count);
      const more = await expectKept(binds, options, before);
      return { first, more };
    };
    const expectKept = async (binds: readonly string[], options: ConfigurationOptions, before: readonly string[]) => {
      for (const next of [[NEXT], []]) {
        writeFileSync(lab.path('haproxy.cfg'), configuration([...binds, ...next], options));
        const report = await berth.reload([lab.path('haproxy.cfg')]);
        expect(report, JSON.stringify(report)).toMatchObject({ outcome: 'served', warnings: [], repairs: [] });
        const now = await sockets();
        expect(now.filter((row) => !row.startsWith(NEXT))).toEqual(before);
        expect(await berth.status()).toMatchObject({ ok: true, listeners: { missing: [], extra: [] } });
      }
      return lab.haproxies();
    };

    test('four threads', async () => {
      await open();
      await expectServed(['127.0.0.1:8001', '127.0.0.1:8002'], 2, { global: ['nbthread 4'] });
    });

    if (version !== '2.2')
      test('shards: as many sockets as shards, all of them kept', async () => {
        await open();
        await expectServed(['127.0.0.1:8001 shards 4', '127.0.0.1:8002'], 5, { global: ['nbthread 4'] });
      });

    if (version !== '2.2')
      test('shards by-thread', async () => {
        await open();
        await expectServed(['127.0.0.1:8001 shards by-thread'], 4, { global: ['nbthread 4'] });
      });

    test('noreuseport', async () => {
      await open();
      await expectServed(['127.0.0.1:8001', '127.0.0.1:8002'], 2, { global: ['noreuseport'] });
    });

    test.each(['standalone', 'master-worker'])('%s: HAProxy drops root for another user', async (mode) => {
      await open({ haproxy: { binary: path, mode } });
      const options = { global: ['user nobody', 'group nogroup'] };
      if (mode === 'standalone') await expectServed(['127.0.0.1:8001', '127.0.0.1:80'], 2, options);
      else {
        const config = lab.write('haproxy.cfg', configuration(['127.0.0.1:8001', '127.0.0.1:80'], options));
        for (let round = 0; round < 3; round++) {
          expect(await berth.reload([config])).toMatchObject({
            outcome: 'served',
            warnings: [],
            listeners: { served: 2 },
          });
        }
      }
      const uids = lab.haproxies().map(({ uid }) => uid);
      expect(uids).toContain(65534);
    });

    test('a chroot', async () => {
      await open();
      await lab.exec('mkdir', ['-p', lab.path('empty')]);
      await expectServed(['127.0.0.1:8001'], 1, { global: [`chroot ${lab.path('empty')}`, 'user nobody'] });
    });

    test('unix and abstract sockets', async () => {
      await open();
      const binds = [
        `unix@${lab.path('a.sock')}`,
        `${lab.path('b.sock')} mode 666`,
        'abns@berth-form',
        '127.0.0.1:8001',
      ];
      await expectServed(binds, 4);
    });

    test('the stats socket of the configuration', async () => {
      await open();
      await expectServed(['127.0.0.1:8001'], 2, {
        global: [`stats socket ${lab.path('stats.sock')} mode 660 level admin expose-fd listeners`],
      });
      expect(await lab.haproxy().command(lab.path('stats.sock'), 'show info', 2000)).toMatch(/^Pid: /m);
    });

    test('tied to an interface', async () => {
      await open();
      await expectServed(['127.0.0.1:8001 interface lo', '*:8002 interface lo', '127.0.0.1:8003'], 3);
    });

    // 2.2 takes no handed socket for a bind with `v6only` or `v4v6`: it binds anew beside it.
    if (version !== '2.2')
      test('v6only, dual stack and wildcards', async () => {
        await open();
        await expectServed([':::8001 v6only', ':::8002 v4v6', '*:8003', ':::8004', '[::1]:8005 v6only'], 5);
      });

    test('specific IPv6 addresses: the copy says `v6only`, and HAProxy takes them over', async () => {
      await open({}, ['fd00::1']);
      await expectServed(['[::1]:8001', '[fd00::1]:8002', '[fd00::1]:8003-8004,[::1]:8003'], 5);
    });

    test('specific IPv6 addresses on a line that is not plain: bound anew beside a guard, and said so', async () => {
      await open({}, ['fd00::1']);
      const config = lab.write('haproxy.cfg', configuration(['"[::1]:8001"', '[fd00::1]:8002 # x', ':::8003 v6only']));
      for (let round = 0; round < 3; round++) {
        expect(await berth.reload([config])).toMatchObject({
          outcome: 'served',
          listeners: { served: 3 },
          warnings: [],
        });
        expect(await berth.status()).toMatchObject({ ok: true });
      }
    });

    test('ranges and several addresses', async () => {
      await open();
      await expectServed(['127.0.0.1:8000-8019', '127.0.0.1:8100-8101,127.0.0.2:8100'], 23);
    });

    test('transparent, on an address that is not here', async () => {
      await open();
      const config = lab.write('haproxy.cfg', configuration(['10.9.9.9:8001 transparent', '127.0.0.1:8002']));
      for (let round = 0; round < 3; round++) {
        const report = await berth.reload([config]);
        expect(report, JSON.stringify(report)).toMatchObject({ outcome: 'served', listeners: { served: 2 } });
      }
    });
  });
});
