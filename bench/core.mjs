/**
 * How fast Berth is, each time against the program that does just that and no more; see README.md beside this file.
 * Runs itself once more in network, pid and mount namespaces of its own: when that process ends, all of it ends.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { openBerth } from '../dist/index.js';
import { runBench, versionOf } from './harness.mjs';
import { BERTH, Balancer, berthOnce, clocked, configuration, crowd, namespace } from './lab.mjs';
import { inTurn, median } from './measure.mjs';

const HELP = `usage: npm run bench -- [options]      or: node bench/core.mjs [options]

Measures the built Berth (dist/, build/) against bare C, ss and HAProxy, in private namespaces. Needs root, cc, ss.

  --haproxy BIN   the haproxy binary                    [haproxy]
  --rounds N      counted rounds of each measurement    [9]
  --only PART     probe, reload, read or tables
  --help

One JSON line a result on standard output, then the table. Exit status 1 where a goal is missed.
`;

const LISTENERS = 2000;
const MANY = 60_000;
/** Guards at once: below the usual hard limit of open files. */
const BATCH = 15_000;
/** 12 × 8400 connections; both ends of each are sockets of this host. */
const CROWD = /** @type {const} */ ([12, 8400]);
/** Where listeners stand whose ports no connection of the crowd can have. */
const PROBED = { address: '127.0.0.1', first: 2000 };

/** @typedef {import('./harness.mjs').Bench} Bench */

const probed = (/** @type {number} */ count) => ({ ...PROBED, count, batch: Math.min(count, BATCH) });

function probeLoop(/** @type {Bench} */ { baseline }, /** @type {number} */ count) {
  const { address, first, batch } = probed(count);
  return clocked(baseline, ['probe', address, ...[first, count, batch].map(String)]);
}

/** Guards against the bare loop of the same system calls, then Berth with the crowd against Berth without. */
async function probe(/** @type {Bench} */ bench) {
  const { baseline, rounds, results } = bench;
  for (const count of [LISTENERS, MANY]) {
    const times = await inTurn(rounds, {
      ours: () => berthOnce('probe', probed(count)),
      peer: () => probeLoop(bench, count),
    });
    results.add({
      name: `probe and guard ${count}`,
      ours: median(times.ours),
      against: 'bare C loop',
      peer: median(times.peer),
      goal: 1.3,
    });
  }
  /** @type {Record<'alone' | 'crowded', Record<string, number[]>>} */
  const times = { alone: {}, crowded: {} };
  const cycle = async (/** @type {'alone' | 'crowded'} */ where) => {
    for (const count of [LISTENERS, MANY]) {
      const some = await inTurn(3, {
        ours: () => berthOnce('probe', probed(count)),
        peer: () => probeLoop(bench, count),
      });
      (times[where][`ours ${count}`] ??= []).push(...some.ours);
      (times[where][`peer ${count}`] ??= []).push(...some.peer);
    }
  };
  for (let turn = 0; turn < 2; turn++) {
    await cycle('alone');
    const disperse = await crowd(baseline, ...CROWD);
    await cycle('crowded');
    await disperse();
  }
  for (const count of [LISTENERS, MANY]) {
    const of = (/** @type {'alone' | 'crowded'} */ where, /** @type {string} */ who) =>
      median(times[where][`${who} ${count}`] ?? []);
    results.add({
      name: `probe and guard ${count} among 100k connections`,
      ours: of('crowded', 'ours'),
      against: 'bare C loop there',
      peer: of('crowded', 'peer'),
      goal: 1.3,
      details: {
        'times as long as without the connections': of('crowded', 'ours') / of('alone', 'ours'),
        'the same for the C loop': of('crowded', 'peer') / of('alone', 'peer'),
      },
    });
  }
}

/** 2000 kept listeners and a new one, the whole command, against HAProxy's own reload. */
async function reload(/** @type {Bench} */ { baseline, directory, haproxy, rounds, results }) {
  const spaces = [await namespace(), await namespace(), await namespace()];
  const [ours, bare, warm] = spaces.map(
    ({ netns }, index) =>
      new Balancer({ directory: join(directory, `reload-${index}`), haproxy, netns, listeners: LISTENERS }),
  );
  if (!ours || !bare || !warm) throw new Error('no balancers');
  for (const one of [ours, bare, warm]) await one.start(baseline);
  const library = await openBerth({ settings: warm.settings() });
  const node = [process.execPath, '-e', '0'];
  const times = await inTurn(rounds, {
    ours: (round) => ours.berthReload(baseline, round),
    peer: (round) => bare.bareReload(baseline, round),
    warm: async (round) => {
      const file = warm.next(round);
      const begin = performance.now();
      await library.reload([file]);
      return performance.now() - begin;
    },
    check: (round) => clocked(baseline, ['time', haproxy, '-c', '-f', bare.next(round)]),
    node: () => clocked(baseline, ['time', ...node]),
    version: () => clocked(baseline, ['time', process.execPath, BERTH, '--version']),
  });
  /** @type {Record<string, number[]>} */
  const phases = {};
  for (let round = 0; round < rounds; round++) {
    const report = await ours.berthReport(1000 + round);
    if (report.outcome !== 'served' || report.listeners.sameSocket <= LISTENERS) {
      throw new Error(`a reload went wrong: ${JSON.stringify({ ...report, phases: undefined })}`);
    }
    for (const { name, ms } of report.phases) (phases[name] ??= []).push(ms);
  }
  const node0 = median(times.node);
  results.add({
    name: `berth reload of ${LISTENERS} less node's start`,
    ours: median(times.ours) - node0,
    against: 'haproxy -sf -x',
    peer: median(times.peer),
    goal: 1.3,
    details: {
      'whole command': median(times.ours),
      'node -e 0': node0,
      'haproxy -c': median(times.check),
      'berth --version': median(times.version),
      phases: Object.fromEntries(Object.entries(phases).map(([name, ms]) => [name, Number(median(ms).toFixed(1))])),
    },
  });
  results.add({
    name: 'the same by the library, second call on',
    ours: median(times.warm),
    against: 'haproxy -c, then -sf -x',
    peer: median(times.check) + median(times.peer),
  });
  await library.close();
  for (const one of [ours, bare, warm]) one.stop();
  for (const space of spaces) space.close();
}

/** All listeners of one file of 20000 against `haproxy -c` on it. */
async function read(/** @type {Bench} */ { baseline, directory, haproxy, rounds, results }) {
  const file = join(directory, 'many.cfg');
  const count = 20_000;
  writeFileSync(file, configuration({ address: '127.0.0.1', first: 10_000, count }));
  const version = versionOf(haproxy);
  const times = await inTurn(rounds, {
    ours: () => berthOnce('read', { file, count, version }),
    peer: () => clocked(baseline, ['time', haproxy, '-c', '-f', file]),
  });
  results.add({
    name: `read ${count} listeners`,
    ours: median(times.ours),
    against: 'haproxy -c',
    peer: median(times.peer),
    goal: 0.5,
  });
}

/** The kernel's tables among 100k connections, against ss. */
async function tables(/** @type {Bench} */ { baseline, directory, haproxy, rounds, results }) {
  const balancer = new Balancer({ directory: join(directory, 'tables'), haproxy, listeners: LISTENERS });
  await balancer.start(baseline);
  const { pid } = balancer;
  const disperse = await crowd(baseline, ...CROWD);
  const verified = await inTurn(rounds, {
    ours: () => berthOnce('verify', { pid, first: 10_000, count: LISTENERS }),
    peer: () => clocked(baseline, ['time', 'ss', '-tlnH']),
  });
  results.add({
    name: `verify ${LISTENERS} listeners among 100k connections`,
    ours: median(verified.ours),
    against: 'ss -tlnH',
    peer: median(verified.peer),
    goal: 1,
  });
  await disperse();
  const half = await crowd(baseline, CROWD[0] / 2, CROWD[1]);
  const taken = await inTurn(rounds, {
    ours: () => berthOnce('snapshot', { atLeast: 100_000 }),
    peer: () => clocked(baseline, ['time', 'ss', '-tanH']),
  });
  results.add({
    name: 'snapshot of 100k sockets',
    ours: median(taken.ours),
    against: 'ss -tanH',
    peer: median(taken.peer),
    goal: 0.5,
  });
  await half();
  balancer.stop();
}

await runBench({ url: import.meta.url, help: HELP, rounds: 9, parts: { probe, reload, read, tables } });
