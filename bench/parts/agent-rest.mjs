/** What the agent costs when there is nothing to do. */
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { ADDRESS, AgentProcess, BACKEND, cpuOf, FIRST, memoryOf, Sources } from '../agent-lab.mjs';
import { crowd, crowdThrough } from '../lab.mjs';

const INTERVAL_MS = 10_000;

/** @typedef {import('../measure.mjs').Bench} Bench */

/** Memory and processor time of an agent that has nothing to do, without connections and with many. */
export async function rest(/** @type {Bench} */ bench) {
  const { baseline, directory, haproxy } = bench;
  const [listeners, connections, restMs] = [
    bench.amount(2000, 50),
    bench.amount(50_000, 200),
    // A minute: five looks and the thorough one of the default interval.
    bench.amount(60_000, 500),
  ];
  // A connection through HAProxy is two of its descriptors: what the limit does not allow is there between others.
  const limit = Number(execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }));
  const through = Math.min(connections / 2, Math.floor((limit - listeners - 1000) / 2));
  const others = connections - 2 * through;
  const sources = new Sources(directory, { listeners, maxconn: through + 100 });
  sources.stage(undefined)();
  const agent = new AgentProcess({ sources, haproxy, settings: { reconcile: { intervalMs: INTERVAL_MS } } });
  await agent.start();
  const used = async () => {
    const before = cpuOf(agent.pid);
    await sleep(restMs);
    return (100 * (cpuOf(agent.pid) - before)) / restMs;
  };
  /** @type {Record<string, ReturnType<typeof memoryOf>>} */
  const memory = { 'after start': memoryOf(agent.pid) };
  const idle = await used();
  const goHome = await crowdThrough(baseline, {
    address: ADDRESS,
    first: FIRST,
    count: listeners,
    connections: through,
    backend: BACKEND,
  });
  const disperse = others > 0 ? await crowd(baseline, others) : () => Promise.resolve();
  const busy = await used();
  memory['with the connections'] = memoryOf(agent.pid);
  const [begin, spent] = [performance.now(), cpuOf(agent.pid)];
  const reconciliations = await repeat(bench, bench.amount(200, 2), () => agent.client.reconcile());
  const each = {
    ms: (performance.now() - begin) / reconciliations,
    'ms of CPU': (cpuOf(agent.pid) - spent) / reconciliations,
  };
  memory[`after ${reconciliations} reconciliations`] = memoryOf(agent.pid);
  const reloads = await repeat(bench, bench.amount(20, 1), async (round) => {
    const publish = sources.stage(round);
    const ended = agent.event(({ type }) => type === 'reload-ended');
    publish();
    await ended;
    sources.prune();
  });
  memory[`after ${reloads} reloads`] = memoryOf(agent.pid);
  const details = {
    'connections through HAProxy': 2 * through,
    'connections of others': others,
    'MB (resident, PSS)': Object.fromEntries(
      Object.entries(memory).map(([when, { rss, pss }]) => [when, [mb(rss), mb(pss)]]),
    ),
  };
  const values = Object.values(memory);
  bench.row({
    name: 'resident memory, largest',
    ours: max(values.map(({ rss }) => rss)),
    unit: 'MB',
    most: 80,
    details,
  });
  bench.row({ name: '… less what it shares (PSS)', ours: max(values.map(({ pss }) => pss)), unit: 'MB' });
  bench.row({ name: 'CPU at rest', ours: idle, unit: '%', most: 0.2 });
  bench.row({
    name: `CPU at rest, ${connections} connections`,
    ours: busy,
    unit: '%',
    most: 0.2,
    details: { 'a thorough reconciliation': each },
  });
  await agent.stop();
  await goHome();
  await disperse();
}

/** As often as asked, less where the time is over; how often it was. */
async function repeat(
  /** @type {Bench} */ bench,
  /** @type {number} */ times,
  /** @type {(round: number) => Promise<unknown>} */ work,
) {
  let done = 0;
  do await work(done++);
  while (done < times && bench.inTime);
  return done;
}

const mb = (/** @type {number} */ value) => Math.round(value);
const max = (/** @type {number[]} */ values) => Math.max(...values);
