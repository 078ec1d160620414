/**
 * kill -9 of Berth before and after each record of the journal, in the middle of a reload of a master that Berth started:
 * a worker serves all the time, and the next run recovers, says what it did, and leaves nothing behind.
 */
import { fork } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openBerth } from '../../src/berth.js';
import type { RecordKind } from '../../src/reload/journal-records.js';
import { Lab, cannotRun, configuration, haproxyBinaries } from '../support/haproxy.js';
import { transpile } from '../support/transpile.js';

const why = cannotRun();
const steady = Array.from({ length: 6 }, (_, at) => `127.0.0.1:${8000 + at}`);

/** What a reload of a master does differently than one without: from the handover on. Before it, two stand for all. */
const RECORDS: readonly RecordKind[] = [
  'staged',
  'reserved',
  'handing-over',
  'published',
  'started',
  'verified',
  'committing',
  'committed',
  'released',
  'finished',
];

describe.skipIf(why !== undefined)('kill -9 of Berth, master-worker', () => {
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

  describe.each(haproxyBinaries().slice(0, 1))('HAProxy $version', ({ path }) => {
    test('before and after each record', { timeout: 300_000 }, async () => {
      lab = await Lab.open();
      await lab.startBackend([{ host: '127.0.0.1', port: 9000 }]);
      const settings = {
        stateDir: lab.path('state'),
        netns: lab.netns,
        haproxy: { binary: path, mode: 'master-worker' },
      };
      const config = lab.write('haproxy.cfg', configuration(steady));
      const request = { sources: [config], workingDirectory: lab.directory, reason: 'reload' };
      const berth = await openBerth({ settings });
      await berth.reload([config], { workingDirectory: lab.directory });
      const master = masterOf();
      const load = await lab.startLoad({ targets: steady, rate: 60, held: 3 });

      let port = 40_000;
      for (const record of RECORDS) {
        for (const when of ['before', 'after'] as const) {
          const story = `${when}:${record}`;
          // In the ephemeral range: each reload reserves the new port and releases the one before.
          const wanted = [...steady, `127.0.0.1:${++port}`];
          writeFileSync(config, configuration(wanted));
          expect(await runAndDie(story, settings, request), story).toBe('SIGKILL');
          for (const address of steady) expect(lab.listeners().has(address), story).toBe(true);

          const report = await berth.reload([config], { workingDirectory: lab.directory });
          expect(report, story).toMatchObject({ outcome: 'served', listeners: { served: 7 } });
          if (story !== 'after:finished') expect(report.recovery?.done, story).not.toEqual([]);
          expect(masterOf(), story).toBe(master);
          expect(listening(), story).toEqual([...wanted, '127.0.0.1:9000'].sort());
          expect(await berth.status(), story).toMatchObject({ ok: true, listeners: { missing: [], extra: [] } });
          expect(await berth.reservations(), story).toMatchObject({ ours: String(port), foreign: '', lost: '' });
          expectNoFilesLeft(story);
        }
      }
      const seen = await load.stop();
      await berth.close();
      const { refused, reset, eof, hung, held } = seen;
      expect({ refused, reset, eof, hung, cut: held.cut }).toEqual({ refused: 0, reset: 0, eof: 0, hung: 0, cut: 0 });
    });

    const masterOf = (): number => Number(readFileSync(lab.path('state/run/haproxy.pid'), 'utf8'));
    const listening = (): string[] => [...lab.listeners().keys()].sort();

    const expectNoFilesLeft = (story: string): void => {
      const left = readdirSync(lab.path('state/run')).filter((name) => /handoff|^\d+\.(pid|stats)$/.test(name));
      expect(left, story).toEqual([]);
      const staging = readdirSync(lab.path('state/generations')).filter((name) => name.startsWith('.'));
      expect(staging, story).toEqual([]);
    };
  });
});
