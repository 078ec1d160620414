/** How fast the agent is: as it runs, after its start. */
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { openBerth } from '../../dist/index.js';
import { ADDRESS, AgentProcess, ANOTHER, Sources } from '../agent-lab.mjs';
import { clocked, namespace } from '../lab.mjs';
import { median } from '../measure.mjs';

const LISTENERS = 2000;

/** @typedef {import('../measure.mjs').Bench} Bench */

/** From the rename of lbagent's directory to the commit, against HAProxy's own reload of the same. */
export async function change(/** @type {Bench} */ bench) {
  const { baseline, directory, haproxy } = bench;
  const listeners = bench.amount(LISTENERS, 50);
  for (const files of /** @type {const} */ (['many', 'one'])) {
    const [ours, bare] = [await namespace(), await namespace()];
    const of = (/** @type {string} */ who) => new Sources(join(directory, `${files}-${who}`), { listeners, files });
    const [mine, theirs] = [of('ours'), of('bare')];
    for (const sources of [mine, theirs]) sources.stage(undefined)();
    const agent = new AgentProcess({ sources: mine, haproxy, netns: ours.netns });
    await agent.start();
    await clocked(baseline, ['time', haproxy, ...theirs.words({ reload: false })], bare.netns);
    /** @type {Record<string, number[]>} */
    const phases = {};
    const times = await bench.inTurn({
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
    bench.row({
      name: `rename to commit, ${listeners} listeners in ${files === 'one' ? 'one file' : 'a file each'}`,
      ours: times.ours,
      against: 'haproxy -sf -x',
      peer: times.peer,
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

/** Endpoints asked about over the socket, and in this process. */
export async function preflight(/** @type {Bench} */ bench) {
  const { directory, haproxy } = bench;
  const listeners = bench.amount(LISTENERS, 50);
  const sources = new Sources(directory, { listeners });
  sources.stage(undefined)();
  const agent = new AgentProcess({ sources, haproxy });
  await agent.start();
  const library = await openBerth({ settings: agent.settings });
  const timed = async (
    /** @type {{ preflight(targets: string[]): Promise<unknown> }} */ berth,
    /** @type {number} */ count,
  ) => {
    const targets = Array.from({ length: count }, (_, at) => `tcp:${ADDRESS}:${ANOTHER + at}`);
    const begin = performance.now();
    await berth.preflight(targets);
    return performance.now() - begin;
  };
  for (const [count, most] of /** @type {const} */ ([
    [1, 10],
    [1000, undefined],
  ])) {
    const times = await bench.inTurn({
      ours: () => timed(agent.client, count),
      peer: () => timed(library, count),
    });
    bench.row({
      name: `preflight of ${count} by the API`,
      ours: times.ours,
      against: 'the library',
      peer: times.peer,
      ...(most === undefined ? {} : { most }),
    });
  }
  await library.close();
  await agent.stop();
}

/** A thousand changes in ten seconds: the first and the last are applied, and what fits between them. */
export async function burst(/** @type {Bench} */ bench) {
  const { directory, haproxy } = bench;
  const listeners = bench.amount(LISTENERS, 50);
  const [changes, everyMs] = [bench.amount(1000, 50), 10];
  const sources = new Sources(directory, { listeners, files: 'one' });
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
  await sleep(bench.amount(1000, 100));
  bench.row({
    name: `${changes} changes in ${((last - begin) / 1000).toFixed(1)} s: last change to live`,
    ours: live,
    details: { reloads: ends().length, failed },
  });
  await agent.stop();
}

/** From SIGKILL to a HAProxy that has every listener, against a start from nothing. */
export async function restart(/** @type {Bench} */ bench) {
  const { baseline, directory, haproxy } = bench;
  const listeners = bench.amount(LISTENERS, 50);
  const [ours, bare] = [await namespace(), await namespace()];
  const of = (/** @type {string} */ who) => new Sources(join(directory, who), { listeners });
  const [mine, theirs] = [of('ours'), of('bare')];
  for (const sources of [mine, theirs]) sources.stage(undefined)();
  const agent = new AgentProcess({ sources: mine, haproxy, netns: ours.netns });
  await agent.start();
  /** @type {Record<string, number[]>} */
  const phases = {};
  const times = await bench.inTurn({
    ours: async () => {
      const since = agent.events.length;
      const begin = performance.now();
      process.kill(mine.pid, 'SIGKILL');
      const died = await agent.event(({ type }) => type === 'haproxy-died', since);
      const restarted = await agent.event(({ type }) => type === 'haproxy-restarted', since);
      if (restarted.report.sameSocket < listeners) throw new Error(JSON.stringify(restarted));
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
  bench.row({
    name: `killed, to ${listeners} listeners served again`,
    ours: times.ours,
    against: 'a start of haproxy',
    peer,
    most: peer + 100,
    details: medians(phases),
  });
  await agent.stop();
  for (const space of [ours, bare]) space.close();
}
