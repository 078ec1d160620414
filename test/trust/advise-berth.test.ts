/** With everything: new listeners on random ports among churning connections and their TIME_WAITs are all served. */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { openBerth } from '../../src/berth.js';
import { openKernel } from '../../src/kernel/kernel.js';
import { ADDRESS, busyAmong, portsOf, RANGE } from '../support/advise-lab.js';
import { startChurn } from '../support/churn.js';
import { amount, form, recordFigure } from '../support/figures.js';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';
import { randomOf } from '../support/random.js';

const why = cannotRun();
const binaries = why === undefined ? haproxyBinaries() : [];
const count = { reloads: 0, listeners: 0, held: 0 };
const leftOut: string[] = [];
const versions: string[] = [];

vi.setConfig({ testTimeout: 120_000 });

describe.skipIf(why !== undefined)('with everything', () => {
  it.each(form === 'full' ? binaries : binaries.slice(0, 1))('HAProxy $version', async ({ version, path }) => {
    const lab = await Lab.open();
    const kernel = await openKernel({ netns: lab.netns });
    // The connections are of another program than HAProxy: they are shared on demand only.
    const settings = {
      netns: lab.netns,
      stateDir: lab.path('state'),
      haproxy: { binary: path },
      conflicts: { share: 'all' },
    };
    const berth = await openBerth({ settings, environment: {} });
    const end = new AbortController();
    let churning = Promise.resolve();
    try {
      await lab.exec('sysctl', ['-qw', `net.ipv4.ip_local_port_range=${RANGE.first} ${RANGE.last}`]);
      const netns = {
        spawn: (command: string, ...args: string[]) => spawn('nsenter', [`--net=${lab.netns}`, '--', command, ...args]),
      };
      const churns = await Promise.all([
        startChurn(netns, { servers: [10_000, 10_001], rate: 100, lifetime: 2 }),
        startChurn(netns, { servers: [10_002], rate: 40, lifetime: 0.1, close: 'fin' }),
      ]);
      await Promise.all([churns[0].pass(8), churns[1].pass(1)]);
      churning = (async () => {
        // A little at a time, so that its TIME_WAITs, a minute each, do not fill the range.
        while (!end.signal.aborted) {
          await Promise.all([churns[0].pass(0.1), churns[1].pass(0.02)]);
          await sleep(100);
        }
      })();
      versions.push(version);
      const random = randomOf(Number(version.replace('.', '')));
      const left = portsOf(RANGE);
      const listeners: number[] = [];
      for (let reload = 0; reload < amount('reloads', { short: 2, full: 6 }); reload++) {
        const fresh = Array.from({ length: 40 }, () => left.splice(Math.floor(random() * left.length), 1)[0] ?? 0);
        listeners.push(...fresh);
        count.held += (await busyAmong(kernel, fresh)).size;
        const report = await berth.reload([
          lab.write('haproxy.cfg', configuration(listeners.map((port) => `${ADDRESS}:${port}`))),
        ]);
        count.reloads++;
        count.listeners += fresh.length;
        leftOut.push(...report.quarantined.map(({ verdict, sentence }) => `${verdict.kind} at last; ${sentence}`));
        expect(lab.listeners().size).toBeGreaterThanOrEqual(report.listeners.served);
      }
    } finally {
      end.abort();
      await churning;
      await berth.close();
      await kernel.closeNamespace();
      await lab.close();
    }
  });
});

afterAll(() => {
  if (why !== undefined) return;
  recordFigure({
    part: 'advise',
    name: 'with everything',
    promise: 'A new listener gets its port, whatever outgoing connection or TIME_WAIT sits on it.',
    figure:
      `${count.listeners} new listeners on random ports in ${count.reloads} reloads: ${count.held} met a held port, ` +
      `${leftOut.length} were left out`,
    kept: leftOut.length === 0 && count.held > 0,
    haproxy: versions,
  });
  expect(count.held).toBeGreaterThan(0);
  expect(leftOut).toEqual([]);
});
