/** What Berth asks the kernel: probes and guards against the bare system calls, tables of sockets against ss. */
import { berthOnce, Balancer, clocked, crowd } from '../lab.mjs';
import { median } from '../measure.mjs';

/** Guards at once: below the usual hard limit of open files. */
const BATCH = 15_000;
/** Where listeners stand whose ports no connection of the crowd can have. */
const PROBED = { address: '127.0.0.1', first: 2000 };

/** @typedef {import('../measure.mjs').Bench} Bench */

export const probed = (/** @type {number} */ count) => ({ ...PROBED, count, batch: Math.min(count, BATCH) });

export function probeLoop(/** @type {Bench} */ { baseline }, /** @type {number} */ count) {
  const { address, first, batch } = probed(count);
  return clocked(baseline, ['probe', address, ...[first, count, batch].map(String)]);
}

/** Guards against the bare loop of the same system calls, without connections and among many. */
export async function probe(/** @type {Bench} */ bench) {
  const counts = [2000, bench.amount(60_000, 3000)];
  /** @type {Record<string, number>} */
  const alone = {};
  const measure = async (/** @type {string} */ where) => {
    for (const count of counts) {
      const { ours, peer } = await bench.inTurn({
        ours: () => berthOnce('probe', probed(count)),
        peer: () => probeLoop(bench, count),
      });
      const details = {
        'times as long as without': median(ours) / (alone[`ours ${count}`] ??= median(ours)),
        'the same for C': median(peer) / (alone[`peer ${count}`] ??= median(peer)),
      };
      const name = `probe and guard ${count}${where}`;
      bench.row({ name, ours, against: 'the same calls in C', peer, goal: 1.3, ...(where && { details }) });
    }
  };
  await measure('');
  const disperse = await crowd(bench.baseline, bench.amount(100_800, 200));
  await measure(' among 100k connections');
  await disperse();
}

const LISTEN = '0x400';
const ALL = '0xfff';

/** The kernel's tables among many connections, against ss and against what the kernel itself takes to tell them. */
export async function tables(/** @type {Bench} */ bench) {
  const { baseline, directory, haproxy } = bench;
  const count = bench.amount(2000, 100);
  const balancer = new Balancer({ directory, haproxy, listeners: count });
  await balancer.start(baseline);
  const { pid } = balancer;
  const disperse = await crowd(baseline, bench.amount(100_800, 200));
  const verified = await bench.inTurn({
    ours: () => berthOnce('verify', { pid, first: 10_000, count }),
    peer: () => clocked(baseline, ['time', 'ss', '-tlnH']),
    kernel: () => clocked(baseline, ['dump', LISTEN]),
  });
  bench.row({
    name: `verify ${count} listeners among 100k connections`,
    ours: verified.ours,
    against: 'ss -tlnH',
    peer: verified.peer,
    goal: 1,
    details: { 'the kernel alone': median(verified.kernel) },
  });
  await disperse();
  const half = await crowd(baseline, bench.amount(50_400, 100));
  const taken = await bench.inTurn({
    ours: () => berthOnce('snapshot', { atLeast: bench.amount(100_000, 200) }),
    peer: () => clocked(baseline, ['time', 'ss', '-tanH']),
    kernel: () => clocked(baseline, ['dump', ALL]),
  });
  bench.row({
    name: 'snapshot of 100k sockets',
    ours: taken.ours,
    against: 'ss -tanH',
    peer: taken.peer,
    goal: 0.5,
    details: { 'the kernel alone': median(taken.kernel) },
  });
  await half();
  balancer.stop();
}
