/** lbagent's calls of the drop-in. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { AgentProcess, Sources } from '../agent-lab.mjs';
import { clocked, namespace } from '../lab.mjs';
import { median } from '../measure.mjs';

const DROP_IN = fileURLToPath(new URL('../../bin/berth-haproxy', import.meta.url));

/** @typedef {import('../measure.mjs').Bench} Bench */

/** lbagent's own calls, of the drop-in and of the real program. */
export async function dropIn(/** @type {Bench} */ bench) {
  const { baseline, directory, haproxy } = bench;
  const binary = execFileSync('sh', ['-c', `command -v ${haproxy}`], { encoding: 'utf8' }).trim();
  const spaces = [await namespace(), await namespace(), await namespace()];
  const [asked, alone, bare] = spaces.map(({ netns }, at) => ({
    netns,
    sources: new Sources(join(directory, String(at)), { listeners: bench.amount(2000, 50) }),
  }));
  if (!asked || !alone || !bare) throw new Error('no namespaces');
  for (const { sources } of [asked, alone, bare]) sources.stage(undefined)();
  const agent = new AgentProcess({ sources: asked.sources, haproxy: binary, netns: asked.netns });
  await agent.start();
  /** @typedef {{ netns: string, sources: Sources }} Where */
  const own = (/** @type {Where} */ { netns, sources }) => [
    `BERTH_STATE_DIR=${join(sources.base, 'state')}`,
    `BERTH_AGENT_SOCKET=${join(sources.base, 'agent.sock')}`,
    `BERTH_NETNS=${netns}`,
    `BERTH_HAPROXY_BINARY=${binary}`,
  ];
  const call = (/** @type {Where} */ where, /** @type {string} */ program, /** @type {boolean} */ reload) =>
    clocked(baseline, ['time', 'env', ...own(where), program, ...where.sources.words({ reload })], where.netns);
  await call(alone, DROP_IN, false);
  await call(bare, binary, false);
  const reload = async (/** @type {Where} */ where, /** @type {string} */ program, /** @type {number} */ round) => {
    where.sources.stage(round)();
    const took = await call(where, program, true);
    where.sources.prune();
    return took;
  };
  const times = await bench.inTurn({
    asked: (round) => reload(asked, DROP_IN, round),
    alone: (round) => reload(alone, DROP_IN, round),
    bare: (round) => reload(bare, binary, round),
    version: () => clocked(baseline, ['time', 'env', ...own(alone), DROP_IN, '-v']),
    bareVersion: () => clocked(baseline, ['time', 'env', ...own(alone), binary, '-v']),
    node: () => clocked(baseline, ['time', process.execPath, '-e', '0']),
  });
  const peer = { against: 'haproxy -sf -x', peer: times.bare };
  bench.row({ name: 'berth-haproxy -sf -x, asks the agent', ours: times.asked, ...peer });
  bench.row({
    name: 'berth-haproxy -sf -x, without an agent',
    ours: times.alone,
    ...peer,
    details: { 'node -e 0': median(times.node) },
  });
  bench.row({
    name: 'berth-haproxy -v',
    ours: times.version,
    against: 'haproxy -v',
    peer: times.bareVersion,
  });
  await agent.stop();
  for (const space of spaces) space.close();
}
