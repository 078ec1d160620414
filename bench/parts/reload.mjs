/** The command's reload against HAProxy's own, and the reading of a configuration against `haproxy -c`. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { openBerth } from '../../dist/index.js';
import { BERTH, Balancer, berthOnce, clocked, configuration, namespace, versionOf } from '../lab.mjs';
import { median } from '../measure.mjs';

/** @typedef {import('../measure.mjs').Bench} Bench */

/**
 * Kept listeners and a new one, the whole command, against HAProxy's own reload; and the same by the library, which is
 * open already.
 */
export async function reload(/** @type {Bench} */ bench) {
  const { baseline, directory, haproxy, rounds } = bench;
  const listeners = bench.amount(2000, 50);
  const spaces = [await namespace(), await namespace(), await namespace()];
  const [ours, bare, warm] = spaces.map(
    ({ netns }, index) => new Balancer({ directory: join(directory, String(index)), haproxy, netns, listeners }),
  );
  if (!ours || !bare || !warm) throw new Error('no balancers');
  for (const one of [ours, bare, warm]) await one.start(baseline);
  const library = await openBerth({ settings: warm.settings() });
  const times = await bench.inTurn({
    ours: (round) => ours.berthReload(baseline, round),
    peer: (round) => bare.bareReload(baseline, round),
    warm: async (round) => {
      const file = warm.next(round);
      const begin = performance.now();
      await library.reload([file]);
      return performance.now() - begin;
    },
    check: (round) => clocked(baseline, ['time', haproxy, '-c', '-f', bare.next(round)]),
    node: () => clocked(baseline, ['time', process.execPath, '-e', '0']),
    version: () => clocked(baseline, ['time', process.execPath, BERTH, '--version']),
    sync: () => clocked(baseline, ['sync', directory, '1']),
  });
  /** @type {Record<string, number[]>} */
  const phases = {};
  for (let round = 0; round < rounds && (round === 0 || bench.inTime); round++) {
    const report = await ours.berthReport(1000 + round);
    if (report.outcome !== 'served' || report.listeners.sameSocket <= listeners) {
      throw new Error(`a reload went wrong: ${JSON.stringify({ ...report, phases: undefined })}`);
    }
    for (const { name, ms } of report.phases) (phases[name] ??= []).push(ms);
  }
  const node = median(times.node);
  bench.row({
    name: `berth reload of ${listeners}, less Node's start`,
    ours: times.ours.map((ms) => ms - node),
    against: 'haproxy -sf -x',
    peer: times.peer,
    goal: 1.3,
    details: {
      'whole command': median(times.ours),
      'node -e 0': node,
      'haproxy -c': median(times.check),
      'one fsync': median(times.sync),
      phases: Object.fromEntries(Object.entries(phases).map(([name, ms]) => [name, Number(median(ms).toFixed(1))])),
    },
  });
  bench.row({
    name: '… by the library, second call on',
    ours: times.warm,
    against: 'haproxy -c, then -sf -x',
    peer: median(times.check) + median(times.peer),
  });
  bench.row({ name: 'berth --version', ours: times.version, against: 'node -e 0', peer: times.node });
  await library.close();
  for (const one of [ours, bare, warm]) one.stop();
  for (const space of spaces) space.close();
}

/** All listeners of one file of 20000 against `haproxy -c` on it. */
export async function read(/** @type {Bench} */ bench) {
  const { baseline, directory, haproxy } = bench;
  const file = join(directory, 'many.cfg');
  const count = bench.amount(20_000, 500);
  writeFileSync(file, configuration({ address: '127.0.0.1', first: 10_000, count }));
  const version = versionOf(haproxy);
  const times = await bench.inTurn({
    ours: () => berthOnce('read', { file, count, version }),
    peer: () => clocked(baseline, ['time', haproxy, '-c', '-f', file]),
  });
  bench.row({ name: `read ${count} listeners`, ours: times.ours, against: 'haproxy -c', peer: times.peer, goal: 0.5 });
}
