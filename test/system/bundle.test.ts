/**
 * A directory of many files: HAProxy loads it slowly, and where the names, joined, exceed 128 KiB the masters of 2.2 to 3.0
 * cannot be given them one by one (2.6 and 3.0 die at boot, 2.2 at its first reload). Berth joins the files; messages still
 * name the user's own.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { openBerth } from '../../src/berth.js';
import { Lab, cannotRun, configuration, haproxyBinaries } from '../support/haproxy.js';

const why = cannotRun();
const FILES = 1500;

describe.skipIf(why !== undefined)('1500 files of one directory', () => {
  let lab: Lab;
  afterEach(async () => lab.close());

  describe.each(haproxyBinaries())('HAProxy $version', ({ path }) => {
    test('a master starts, reloads, and names the file and line of a mistake', { timeout: 120_000 }, async () => {
      lab = await Lab.open();
      const directory = lab.path('configuration-of-load-balancers');
      mkdirSync(directory);
      const name = (at: number) => `${directory}/${String(at).padStart(4, '0')}-${'0123456789abcdef'.repeat(3)}.cfg`;
      const section = (at: number, port: number) =>
        `# one of many\nlisten lb${at}\n  bind 127.0.0.1:${port}\n  server s 127.0.0.1:9000\n`;
      const joined = Array.from({ length: FILES }, (_, at) => name(at)).join(';').length;
      expect(joined).toBeGreaterThan(128 * 1024);
      writeFileSync(`${directory}/0-base.cfg`, configuration([]));
      for (let at = 0; at < FILES; at++)
        writeFileSync(name(at), at < 30 ? section(at, 8000 + at) : `# nothing in ${at}\n`);
      const berth = await openBerth({
        settings: {
          stateDir: lab.path('state'),
          netns: lab.netns,
          haproxy: { binary: path, mode: 'master-worker' },
        },
      });
      const served = { outcome: 'served', mode: 'master-worker', warnings: [], repairs: [] };
      expect(await berth.reload([directory])).toMatchObject({ ...served, listeners: { served: 30 } });
      const before = lab.listeners();

      writeFileSync(name(1000), 'listen odd\n  bind 127.0.0.1:9999\n  no_such_word\n');
      await expect(berth.reload([directory])).rejects.toMatchObject({
        code: 'BERTH_CONFIG_REFUSED',
        message: expect.stringContaining(`${name(1000)}:3`) as string,
        details: {
          messages: expect.arrayContaining([expect.objectContaining({ file: name(1000), line: 3 })]) as object,
        },
      });
      expect(lab.listeners()).toEqual(before);

      writeFileSync(name(1000), section(1000, 9999));
      for (let round = 0; round < 2; round++) {
        expect(await berth.reload([directory])).toMatchObject({ ...served, listeners: { served: 31 } });
      }
      expect(await berth.status()).toMatchObject({ ok: true });
      await berth.close();
    });

    test('standalone: joined but for one file, found again by a rollback, a diff and a status', async () => {
      lab = await Lab.open();
      const directory = lab.path('conf.d');
      mkdirSync(directory);
      const name = (at: number) => `${directory}/${String(at).padStart(4, '0')}.cfg`;
      const put = (at: number, port: number, warned = '') =>
        writeFileSync(
          name(at),
          `# ${at}\nlisten lb${at}\n  bind 127.0.0.1:${port}\n${warned}  server s 127.0.0.1:9000\n`,
        );
      writeFileSync(`${directory}/0-base.cfg`, configuration([]));
      for (let at = 1; at <= 150; at++) put(at, 8000 + at);
      // What it logs is its own name: it has to stay by itself.
      writeFileSync(name(75), `listen lb75\n  bind 127.0.0.1:8075\n  log-tag .FILE\n  server s 127.0.0.1:9000\n`);
      const settings = { stateDir: lab.path('state'), netns: lab.netns, haproxy: { binary: path } };
      const berth = await openBerth({ settings });
      const first = await berth.reload([directory]);
      expect(first).toMatchObject({ outcome: 'served', listeners: { served: 150 }, warnings: [] });
      const command = lab.haproxies().flatMap(({ argv }) => argv.filter((word) => word.startsWith(settings.stateDir)));
      const staged = `${settings.stateDir}/generations/1/root${directory}`;
      expect(command).toEqual(
        expect.arrayContaining([
          `${staged}/.berth-bundle-1.cfg`,
          `${staged}/0075.cfg`,
          `${staged}/.berth-bundle-2.cfg`,
        ]),
      );

      put(140, 8999, '  acl odd src 1.2.3.4\n  use_backend nowhere if odd\n');
      await expect(berth.reload([directory])).rejects.toMatchObject({
        code: 'BERTH_CONFIG_REFUSED',
        message: expect.stringContaining('nowhere') as string,
      });
      put(140, 8999, '  no_such_word\n');
      await expect(berth.reload([directory])).rejects.toMatchObject({
        message: expect.stringContaining(`${name(140)}:4`) as string,
      });
      put(140, 8999);
      const second = await berth.reload([directory]);
      expect(second).toMatchObject({ outcome: 'served', listeners: { served: 150 } });
      const diff = await berth.diff(first.generation, second.generation);
      expect(diff).toMatchObject({
        files: [{ file: name(140), change: 'changed' }],
        listeners: { added: ['127.0.0.1:8999/tcp'], removed: ['127.0.0.1:8140/tcp'] },
      });

      rmSync(directory, { recursive: true });
      expect(await berth.rollback()).toMatchObject({ outcome: 'served', listeners: { served: 150 } });
      expect(await berth.status()).toMatchObject({ ok: true });
      expect([...lab.listeners().keys()]).toContain('127.0.0.1:8140');
      await berth.close();
    });
  });
});
