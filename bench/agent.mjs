/**
 * What the agent costs and how fast it is, with 2000 listeners; see README.md beside this file. Runs itself once more in
 * network, pid and mount namespaces of its own: when that process ends, all of it ends.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { openBerth } from '../dist/index.js';
import { ADDRESS, AgentProcess, ANOTHER, BACKEND, cpuOf, FIRST, memoryOf, Sources } from './agent-lab.mjs';
import { runBench } from './harness.mjs';
import { clocked, crowd, crowdThrough, namespace } from './lab.mjs';
import { inTurn, median } from './measure.mjs';

const HELP = `usage: npm run bench:agent -- [options]      or: node bench/agent.mjs [options]

Measures the built Berth (dist/, build/) as the agent of a host with 2000 listeners, in private namespaces. Needs root, cc.

  --haproxy BIN   the haproxy binary                    [haproxy]
  --rounds N      counted rounds of each measurement    [7]
  --only PART     rest, change, dropIn, preflight, burst or restart
  --help

One JSON line a result on standard output, then the table. Exit status 1 where a goal is missed.
`;

const LISTENERS = 2000;
const CONNECTIONS = 50_000;
const RELOADS = 20;
const RECONCILIATIONS = 200;
const REST_MS = 60_000;
const INTERVAL_MS = 10_000;
const DROP_IN = fileURLToPath(new URL('../bin/berth-haproxy', import.meta.url));

/** @typedef {import('./harness.mjs').Bench} Bench */

/** Memory and processor time of an agent that has nothing to do, without connections and with many. */
async function rest(/** @type {Bench} */ { baseline, directory, haproxy, results }) {
  // A connection through HAProxy is two of its descriptors: what the limit does not allow is there between others.
  const limit = Number(execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }));
  const through = Math.min(CONNECTIONS / 2, Math.floor((limit - LISTENERS - 1000) / 2));
  const others = CONNECTIONS - 2 * through;
  const sources = new Sources(join(directory, 'rest'), { listeners: LISTENERS, maxconn: through + 100 });
  sources.stage(undefined)();
  const agent = new AgentProcess({ sources, haproxy, settings: { reconcile: { intervalMs: INTERVAL_MS } } });
  await agent.start();
  const used = async () => {
    const before = cpuOf(agent.pid);
    await sleep(REST_MS);
    return (100 * (cpuOf(agent.pid) - before)) / REST_MS;
  };
  /** @type {Record<string, ReturnType<typeof memoryOf>>} */
  const memory = { 'after start': memoryOf(agent.pid) };
  const idle = await used();
  const goHome = await crowdThrough(baseline, {
    address: ADDRESS,
    first: FIRST,
    count: LISTENERS,
    connections: through,
    backend: BACKEND,
  });
  const disperse = others > 0 ? await crowd(baseline, 4, Math.ceil(others / 4)) : () => Promise.resolve();
  const busy = await used();
  memory['with the connections'] = memoryOf(agent.pid);
  const [begin, spent] = [performance.now(), cpuOf(agent.pid)];
  for (let round = 0; round < RECONCILIATIONS; round++) await agent.client.reconcile();
  const thorough = { ms: performance.now() - begin, 'ms of CPU': cpuOf(agent.pid) - spent };
  memory[`after ${RECONCILIATIONS} reconciliations`] = memoryOf(agent.pid);
  for (let round = 0; round < RELOADS; round++) {
    const publish = sources.stage(round);
    const ended = agent.event(({ type }) => type === 'reload-ended');
    publish();
    await ended;
    sources.prune();
  }
  memory[`after ${RELOADS} reloads`] = memoryOf(agent.pid);
  const each = Object.fromEntries(Object.entries(thorough).map(([name, ms]) => [name, ms / RECONCILIATIONS]));
  const details = {
    'connections through HAProxy': 2 * through,
    'connections of others': others,
    memory: Object.fromEntries(Object.entries(memory).map(([when, { rss, pss }]) => [when, { rss, pss }])),
  };
  const values = Object.values(memory);
  results.add({
    name: 'resident memory, largest',
    ours: max(values.map(({ rss }) => rss)),
    unit: 'MB',
    most: 80,
    details,
  });
  results.add({ name: '… less what it shares (PSS)', ours: max(values.map(({ pss }) => pss)), unit: 'MB' });
  results.add({ name: 'CPU at rest', ours: idle, unit: '%', most: 0.2 });
  results.add({
    name: `CPU at rest, ${CONNECTIONS} connections`,
    ours: busy,
    unit: '%',
    most: 0.2,
    details: { 'a thorough reconciliation': each },
  });
  await agent.stop();
  await goHome();
  await disperse();
}

const max = (/** @type {number[]} */ values) => Math.max(...values);

/** From the rename of lbagent's directory to the commit, against HAProxy's own reload of the same. */
async function change(/** @type {Bench} */ { baseline, directory, haproxy, rounds, results }) {
  for (const files of /** @type {const} */ (['many', 'one'])) {
    const [ours, bare] = [await namespace(), await namespace()];
    const of = (/** @type {string} */ who) =>
      new Sources(join(directory, `change-${files}-${who}`), { listeners: LISTENERS, files });
    const [mine, theirs] = [of('ours'), of('bare')];
    for (const sources of [mine, theirs]) sources.stage(undefined)();
    const agent = new AgentProcess({ sources: mine, haproxy, netns: ours.netns });
    await agent.start();
    await clocked(baseline, ['time', haproxy, ...theirs.words({ reload: false })], bare.netns);
    /** @type {Record<string, number[]>} */
    const phases = {};
    const times = await inTurn(rounds, {
      ours: async (round) => {
        const publish = mine.stage(round);
        const since = agent.events.length;
        const begin = performance.now();
        publish();
        const committed = await agent.event(
          ({ type, event }) => type === 'reload-progress' && event.name === 'commit' && event.state === 'end',
          since,
        );
        const ended = await agent.event(({ type }) => type === 'reload-ended', since);
        const begun = await agent.event(({ type }) => type === 'reload-begun', since);
        note(phases, 'until it begins', begun.seen - begin);
        for (const { name, ms } of ended.report.phases) note(phases, name, ms);
        note(phases, 'until it has ended', ended.seen - begin);
        mine.prune();
        return committed.seen - begin;
      },
      peer: async (round) => {
        const publish = theirs.stage(round);
        const begin = performance.now();
        publish();
        const linked = performance.now() - begin;
        const reload = await clocked(baseline, ['time', haproxy, ...theirs.words({ reload: true })], bare.netns);
        theirs.prune();
        return linked + reload;
      },
      check: () => clocked(baseline, ['time', haproxy, '-c', '-C', theirs.current, '-f', theirs.current]),
    });
    results.add({
      name: `rename to commit, ${LISTENERS} listeners in ${files === 'one' ? 'one file' : 'a file each'}`,
      ours: median(times.ours),
      against: 'haproxy -sf -x',
      peer: median(times.peer),
      goal: 1.5,
      details: { 'haproxy -c': median(times.check), phases: medians(phases) },
    });
    await agent.stop();
    for (const space of [ours, bare]) space.close();
  }
}

function note(/** @type {Record<string, number[]>} */ lists, /** @type {string} */ name, /** @type {number} */ value) {
  (lists[name] ??= []).push(value);
}

function medians(/** @type {Record<string, number[]>} */ lists) {
  return Object.fromEntries(Object.entries(lists).map(([name, values]) => [name, Number(median(values).toFixed(1))]));
}

/** lbagent's own calls, of the drop-in and of the real program. */
async function dropIn(/** @type {Bench} */ { baseline, directory, haproxy, rounds, results }) {
  const binary = execFileSync('sh', ['-c', `command -v ${haproxy}`], { encoding: 'utf8' }).trim();
  const spaces = [await namespace(), await namespace(), await namespace()];
  const [asked, alone, bare] = spaces.map(({ netns }, at) => ({
    netns,
    sources: new Sources(join(directory, `drop-in-${at}`), { listeners: LISTENERS }),
  }));
  if (!asked || !alone || !bare) throw new Error('no namespaces');
  for (const { sources } of [asked, alone, bare]) sources.stage(undefined)();
  const agent = new AgentProcess({ sources: asked.sources, haproxy: binary, netns: asked.netns });
  await agent.start();
  const own = ({ netns, sources }) => [
    `BERTH_STATE_DIR=${join(sources.base, 'state')}`,
    `BERTH_AGENT_SOCKET=${join(sources.base, 'agent.sock')}`,
    `BERTH_NETNS=${netns}`,
    `BERTH_HAPROXY_BINARY=${binary}`,
  ];
  const call = (/** @type {{ netns: string, sources: Sources }} */ where, program, reload) =>
    clocked(baseline, ['time', 'env', ...own(where), program, ...where.sources.words({ reload })], where.netns);
  await call(alone, DROP_IN, false);
  await call(bare, binary, false);
  const reload = async (where, program, round) => {
    where.sources.stage(round)();
    const took = await call(where, program, true);
    where.sources.prune();
    return took;
  };
  const times = await inTurn(rounds, {
    asked: (round) => reload(asked, DROP_IN, round),
    alone: (round) => reload(alone, DROP_IN, round),
    bare: (round) => reload(bare, binary, round),
    version: () => clocked(baseline, ['time', 'env', ...own(alone), DROP_IN, '-v']),
    bareVersion: () => clocked(baseline, ['time', 'env', ...own(alone), binary, '-v']),
    node: () => clocked(baseline, ['time', process.execPath, '-e', '0']),
  });
  const peer = { against: 'haproxy -sf -x', peer: median(times.bare) };
  results.add({ name: 'berth-haproxy -sf -x, asks the agent', ours: median(times.asked), ...peer });
  results.add({
    name: 'berth-haproxy -sf -x, without an agent',
    ours: median(times.alone),
    ...peer,
    details: { 'node -e 0': median(times.node) },
  });
  results.add({
    name: 'berth-haproxy -v',
    ours: median(times.version),
    against: 'haproxy -v',
    peer: median(times.bareVersion),
  });
  await agent.stop();
  for (const space of spaces) space.close();
}

/** Endpoints asked about over the socket, and in this process. */
async function preflight(/** @type {Bench} */ { directory, haproxy, rounds, results }) {
  const sources = new Sources(join(directory, 'preflight'), { listeners: LISTENERS });
  sources.stage(undefined)();
  const agent = new AgentProcess({ sources, haproxy });
  await agent.start();
  const library = await openBerth({ settings: agent.settings });
  const timed = async (/** @type {{ preflight(targets: string[]): Promise<unknown> }} */ berth, count) => {
    const targets = Array.from({ length: count }, (_, at) => `tcp:${ADDRESS}:${ANOTHER + at}`);
    const begin = performance.now();
    await berth.preflight(targets);
    return performance.now() - begin;
  };
  for (const [count, most] of /** @type {const} */ ([
    [1, 10],
    [1000, undefined],
  ])) {
    const times = await inTurn(5 * rounds, {
      ours: () => timed(agent.client, count),
      peer: () => timed(library, count),
    });
    results.add({
      name: `preflight of ${count} by the API`,
      ours: median(times.ours),
      against: 'the library',
      peer: median(times.peer),
      ...(most === undefined ? {} : { most }),
    });
  }
  await library.close();
  await agent.stop();
}

/** A thousand changes in ten seconds: the first and the last are applied, and what fits between them. */
async function burst(/** @type {Bench} */ { directory, haproxy, results }) {
  const [changes, everyMs] = [1000, 10];
  const sources = new Sources(join(directory, 'burst'), { listeners: LISTENERS, files: 'one' });
  sources.stage(undefined)();
  const agent = new AgentProcess({ sources, haproxy });
  await agent.start();
  const since = agent.events.length;
  const begin = performance.now();
  for (let change = 0; change < changes; change++) {
    sources.stage(change)();
    if (change % 50 === 0) sources.prune();
    await sleep(Math.max(0, begin + (change + 1) * everyMs - performance.now()));
  }
  const last = performance.now();
  const state = async () => (await agent.client.listeners({ after: `${ADDRESS}:${ANOTHER}` })).listeners;
  const ends = () => agent.events.slice(since).filter(({ type }) => type === 'reload-ended');
  const wanted = `${ADDRESS}:${ANOTHER + changes - 1}/tcp`;
  for (;;) {
    const page = await state();
    if (page.some(({ name, state }) => name === wanted && state === 'served')) break;
    await sleep(10);
  }
  const live = performance.now() - last;
  const failed = agent.events.slice(since).filter(({ type }) => type === 'reload-failed').length;
  await sleep(1000);
  results.add({
    name: `${changes} changes in ${((last - begin) / 1000).toFixed(1)} s: last change to live`,
    ours: live,
    details: { reloads: ends().length, failed },
  });
  await agent.stop();
}

/** From SIGKILL to a HAProxy that has every listener, against a start from nothing. */
async function restart(/** @type {Bench} */ { baseline, directory, haproxy, rounds, results }) {
  const [ours, bare] = [await namespace(), await namespace()];
  const of = (/** @type {string} */ who) => new Sources(join(directory, `restart-${who}`), { listeners: LISTENERS });
  const [mine, theirs] = [of('ours'), of('bare')];
  for (const sources of [mine, theirs]) sources.stage(undefined)();
  const agent = new AgentProcess({ sources: mine, haproxy, netns: ours.netns });
  await agent.start();
  /** @type {Record<string, number[]>} */
  const phases = {};
  const times = await inTurn(rounds, {
    ours: async () => {
      const since = agent.events.length;
      const begin = performance.now();
      process.kill(mine.pid, 'SIGKILL');
      const died = await agent.event(({ type }) => type === 'haproxy-died', since);
      const restarted = await agent.event(({ type }) => type === 'haproxy-restarted', since);
      if (restarted.report.sameSocket < LISTENERS) throw new Error(JSON.stringify(restarted));
      note(phases, 'until it is noticed', died.seen - begin);
      note(phases, 'the restart', restarted.report.ms);
      return restarted.seen - begin;
    },
    peer: async () => {
      const took = await clocked(baseline, ['time', haproxy, ...theirs.words({ reload: false })], bare.netns);
      process.kill(theirs.pid, 'SIGKILL');
      await sleep(100);
      return took;
    },
  });
  const peer = median(times.peer);
  results.add({
    name: `killed, to ${LISTENERS} listeners served again`,
    ours: median(times.ours),
    against: 'a start of haproxy',
    peer,
    most: peer + 100,
    details: medians(phases),
  });
  await agent.stop();
  for (const space of [ours, bare]) space.close();
}

const parts = { rest, change, dropIn, preflight, burst, restart };
await runBench({ url: import.meta.url, help: HELP, rounds: 7, parts });
