/** How it grows: with the listeners, with the host's connections, with the generations kept. */
import { cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { openBerth } from '../../dist/index.js';
import { Balancer, berthOnce, clocked, crowd, namespace } from '../lab.mjs';
import { probed, probeLoop } from './kernel.mjs';

/** @typedef {import('../measure.mjs').Bench} Bench */

/** One new listener beside so many that stay. */
export async function listeners(/** @type {Bench} */ bench) {
  const { baseline, directory, haproxy } = bench;
  for (const count of bench.amount([100, 300, 1000, 3000, 10_000, 19_000], [20, 40])) {
    const [mine, theirs] = [await namespace(), await namespace()];
    const of = (/** @type {string} */ who, /** @type {string} */ netns) =>
      new Balancer({ directory: join(directory, `${who}-${count}`), haproxy, netns, listeners: count });
    const [ours, bare] = [of('ours', mine.netns), of('bare', theirs.netns)];
    for (const one of [ours, bare]) await one.start(baseline);
    const library = await openBerth({ settings: ours.settings() });
    const timed = async (/** @type {() => Promise<unknown>} */ work) => {
      const begin = performance.now();
      await work();
      return performance.now() - begin;
    };
    await library.reload([ours.next(500)]);
    // The first round is not counted, and costs seconds where there are many.
    const times = await bench.inTurn(
      {
        'berth reload': (round) => ours.berthReload(baseline, round),
        'reload by the library': (round) => timed(() => library.reload([ours.next(100 + round)])),
        'haproxy -sf -x': (round) => bare.bareReload(baseline, round),
        'haproxy -c': (round) => clocked(baseline, ['time', haproxy, '-c', '-f', bare.next(round)]),
        'preflight by the library': (round) => timed(() => library.preflight([ours.next(200 + round)])),
        verify: () => berthOnce('verify', { pid: ours.pid, first: 10_000, count, netns: ours.netns }),
      },
      count > 3000 ? 1 : bench.rounds,
    );
    bench.points('listeners', count, times);
    await library.close();
    for (const one of [ours, bare]) one.stop();
    for (const space of [mine, theirs]) space.close();
  }
}

/** Looking at the kernel while so many connections stand, both ends of each on this host. */
export async function connections(/** @type {Bench} */ bench) {
  const { baseline, directory, haproxy } = bench;
  const count = bench.amount(2000, 50);
  const balancer = new Balancer({ directory, haproxy, listeners: count });
  await balancer.start(baseline);
  const { pid } = balancer;
  /** @type {(() => Promise<unknown>)[]} */
  const crowds = [];
  let [standing, number] = [0, 1];
  for (const wanted of bench.amount([0, 1000, 10_000, 30_000, 100_000, 300_000], [0, 100])) {
    const more = wanted - standing;
    if (more > 0) crowds.push(await crowd(baseline, more, number));
    [standing, number] = [wanted, number + 100];
    const tables = await bench.inTurn({
      snapshot: () => berthOnce('snapshot', { atLeast: 2 * wanted }),
      'ss -tan': () => clocked(baseline, ['time', 'ss', '-tanH']),
      'the kernel alone': () => clocked(baseline, ['dump', '0xfff']),
    });
    bench.points('snapshot', 2 * wanted, tables);
    const asked = await bench.inTurn({
      [`verify ${count} listeners`]: () => berthOnce('verify', { pid, first: 10_000, count }),
      'ss -tln': () => clocked(baseline, ['time', 'ss', '-tlnH']),
      [`probe ${count} ports`]: () => berthOnce('probe', probed(count)),
      'the same calls in C': () => probeLoop(bench, count),
    });
    bench.points('connections', wanted, asked);
  }
  for (const disperse of crowds) await disperse();
  balancer.stop();
}

/** The same with so many generations in the state directory. */
export async function generations(/** @type {Bench} */ bench) {
  const { baseline, directory, haproxy } = bench;
  const space = await namespace();
  const one = new Balancer({ directory, haproxy, netns: space.netns, listeners: bench.amount(100, 10) });
  await one.start(baseline);
  const keepAll = ['--set', 'dataPreserveN=5000'];
  const clock = (/** @type {string[]} */ words) =>
    clocked(baseline, ['time', ...one.berth([...words, ...keepAll])], one.netns);
  await clock(['reload', one.next(0)]);
  const state = join(directory, 'state', 'generations');
  let [reloads, numbers] = [0, [1]];
  for (const wanted of bench.amount([1, 10, 100, 1000], [1, 5])) {
    const [last = 1] = numbers.slice(-1);
    const added = Array.from({ length: Math.max(0, wanted - numbers.length) }, (_, index) => last + 1 + index);
    for (const number of added) copyGeneration(state, last, number);
    numbers = [...numbers, ...added];
    serve(state, numbers.at(-1) ?? 1);
    const listing = await bench.inTurn({
      'berth status': () => clock(['status']),
      'berth history': () => clock(['history']),
    });
    const made = numbers.length;
    const reload = await bench.inTurn({
      'berth reload': () => {
        numbers.push((numbers.at(-1) ?? 0) + 1);
        return clock(['reload', one.next(++reloads)]);
      },
    });
    bench.points('generations', made, { ...listing, ...reload });
    const size = execFileSync('du', ['-s', '--block-size=1', state], { encoding: 'utf8' });
    bench.points('disk', numbers.length, { 'KiB of the state directory': parseInt(size, 10) / 1024 });
  }
  one.stop();
  space.close();
}

/** What a generation holds of its own number and place is in its JSON files. */
function copyGeneration(/** @type {string} */ state, /** @type {number} */ from, /** @type {number} */ to) {
  const [source, target] = [join(state, String(from)), join(state, String(to))];
  cpSync(source, target, { recursive: true, verbatimSymlinks: true });
  for (const file of ['meta.json', 'manifest.json']) {
    const text = readFileSync(join(target, file), 'utf8').replaceAll(`${source}/`, `${target}/`);
    writeFileSync(join(target, file), text.replace(/"number": ?\d+/, `"number": ${to}`));
  }
}

/** The newest one serves: the same configuration, which nobody but HAProxy's command line tells apart. */
function serve(/** @type {string} */ state, /** @type {number} */ number) {
  const current = join(state, '..', 'current');
  rmSync(current);
  symlinkSync(`generations/${number}`, current);
  writeFileSync(join(state, 'last'), `${number}\n`);
}
