/**
 * kill -9 of Berth before and after each record of the journal, in the middle of a reload under load: a HAProxy serves
 * all the time, and the next run recovers, says what it did, and leaves nothing behind.
 */
import { fork, spawn } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openBerth } from '../../src/berth.js';
import type { RecordKind } from '../../src/reload/journal-records.js';
import { Lab, cannotRun, configuration, haproxyBinaries } from '../support/haproxy.js';
import { startHolder } from '../support/holder.js';
import { transpile } from '../support/transpile.js';

const why = cannotRun();
const steady = Array.from({ length: 10 }, (_, at) => `127.0.0.1:${8000 + at}`);

/** Every record of a reload that reserves, shares, hands over and retires, in its order. */
const RECORDS: readonly RecordKind[] = [
  'begin',
  'staged',
  'checked',
  'reserving',
  'reserved',
  'securing',
  'secured',
  'handing-over',
  'published',
  'started',
  'verified',
  'committing',
  'committed',
  'retiring',
  'released',
  'finished',
];

describe.skipIf(why !== undefined)('kill -9 of Berth', () => {
  let lab: Lab;
  let sources: ReturnType<typeof transpile>;
  beforeAll(() => {
    sources = transpile('host', 'reload/reload', 'reload/journal');
  });
  afterAll(() => sources.remove());
  afterEach(async () => lab.close());

  const runAndDie = (failpoint: string, settings: object, request: object): Promise<NodeJS.Signals | null> => {
    const child = fork(
      'test/crash/reload-worker.mjs',
      [dirname(sources.path('host')), JSON.stringify({ failpoint, settings, request })],
      { execArgv: [], env: { ...process.env, BERTH_ADDON: resolve('build/Release/berth.node') } },
    );
    return new Promise((done) => child.on('exit', (_status, signal) => done(signal)));
  };

  describe.each(haproxyBinaries().slice(-1))('HAProxy $version', ({ path }) => {
    test('standalone: before and after each record', { timeout: 300_000 }, async () => {
      lab = await Lab.open();
      await lab.startBackend([{ host: '127.0.0.1', port: 9000 }]);
      const holder = await startHolder({
        spawn: (command, ...args) => spawn('nsenter', [`--net=${lab.netns}`, '--', command, ...args]),
      });
      await holder.listen('127.0.0.1', 9001);
      const settings = {
        stateDir: lab.path('state'),
        netns: lab.netns,
        haproxy: { binary: path },
        conflicts: { share: 'all' },
      };
      const config = lab.write('haproxy.cfg', configuration(steady));
      const request = { sources: [config], workingDirectory: lab.directory, reason: 'reload' };
      const berth = await openBerth({ settings });
      await berth.reload([config], { workingDirectory: lab.directory });
      const load = await lab.startLoad({ targets: steady, rate: 200, held: 10 });

      for (const record of RECORDS) {
        for (const when of ['before', 'after'] as const) {
          const story = `${when}:${record}`;
          // A connection of somebody else on the new listener's port: it is reserved, shared and handed over.
          const { id, port } = await holder.connect('127.0.0.1', 9001);
          const wanted = [...steady, `127.0.0.1:${port}`];
          writeFileSync(config, configuration(wanted));
          expect(await runAndDie(story, settings, request), story).toBe('SIGKILL');
          for (const address of steady) expect(lab.listeners().get(address), story).toHaveLength(1);

          const report = await berth.reload([config], { workingDirectory: lab.directory });
          expect(report, story).toMatchObject({ outcome: 'served', listeners: { served: 11 } });
          if (story !== 'before:begin' && story !== 'after:finished')
            expect(report.recovery?.done, story).not.toEqual([]);
          expect((await holder.echo(id, story)).text).toBe(story);
          await expectNothingLeft(story, report.haproxy.pid);
          expect([...lab.listeners().keys()].sort(), story).toEqual(
            [...wanted, '127.0.0.1:9000', '127.0.0.1:9001'].sort(),
          );
          // Kernel and ledger agree: this port is ours, those of the listeners before are released.
          expect(await berth.reservations(), story).toMatchObject({ ours: String(port), foreign: '', lost: '' });
          await holder.end(id);
        }
      }
      const seen = await load.stop();
      await berth.close();
      expect({ refused: seen.refused, reset: seen.reset, eof: seen.eof, hung: seen.hung }).toEqual({
        refused: 0,
        reset: 0,
        eof: 0,
        hung: 0,
      });
    });

    const expectNothingLeft = async (story: string, serving: number): Promise<void> => {
      // Draining processes end with the last held connection; none of them listens.
      const holding = new Set([...lab.listeners().values()].flat());
      for (const { pid } of lab.haproxies()) {
        const sockets = [...(await lab.kernel.socketsOf(pid)).keys()].filter((inode) => holding.has(inode));
        expect(sockets.length, `${story}: haproxy[${pid}]`).toBe(pid === serving ? 11 : 0);
      }
      const run = readdirSync(lab.path('state/run'));
      expect(
        run.filter((name) => /handoff|^\d+\.pid$/.test(name)),
        story,
      ).toEqual([]);
      expect(
        readdirSync(lab.path('state/generations')).filter((name) => name.startsWith('.')),
        story,
      ).toEqual([]);
      expect(Number(readFileSync(lab.path('state/run/haproxy.pid'), 'utf8')), story).toBe(serving);
    };
  });
});
