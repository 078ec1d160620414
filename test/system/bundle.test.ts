/**
 * A directory whose file names, joined, exceed 128 KiB: the masters of 2.2 to 3.0 cannot be given them one by one (2.6 and
 * 3.0 die at boot, 2.2 at its first reload). Berth joins the files; messages still name the user's own.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
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
  });
});
