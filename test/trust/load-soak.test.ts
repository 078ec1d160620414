/**
 * Reloads under load, one after the other: listeners come, go and change at random while clients connect thousands of
 * times a second, others stay, and outgoing connections churn through the ephemeral range. In a third of them something
 * is on the new listener's port already.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { AgentMeasure } from '../support/agent-process.js';
import { amount, form, recordFigure, type Figure } from '../support/figures.js';
import { cannotRun, haproxyBinaries } from '../support/haproxy.js';
import { changed, firstListeners, randomChanges } from '../support/soak-changes.js';
import { Soak, type SoakOptions } from '../support/soak.js';
import { buildTraffic, lostOf, type TrafficReport } from '../support/traffic.js';

const why = cannotRun();
const SEED = amount('seed', { short: 42, full: 42 });
/**
 * What the heap may have more after a collection, from the tenth reload to the last: V8 goes on compiling what is called
 * often. Snapshots after 10, 200 and 400 reloads differ by 2 MB of machine code with what belongs to it, and by no object.
 */
const HEAP_ALLOWANCE = 4e6;
/** And the process, with the pages that V8 and malloc keep: what malloc keeps in each thread is given back every minute. */
const MEMORY_ALLOWANCE = 12e6;
/** Measured for the first time when the caches of the first reloads are filled. */
const SETTLED = 10;
/**
 * From here on hardly anything is compiled, so that growth itself is seen: the middle one of the measurements of the first
 * third against that of the last. One object for each listener would be 80 kB a reload, 20 MB in 250 of them; one report
 * that is kept, 10 kB. What is in use at the moment of a measurement is up to 4 MB.
 */
const COMPILED = 100;
const HEAP_DRIFT = 1.5e6;
const MEMORY_DRIFT = 6e6;

const NOBODY = { refused: 0, reset: 0, hung: 0, cut: 0, other: 0 };
const NOTHING_ELSE = { foreign: '', lost: '', exposed: '' };

/** A line and a measurement each so many reloads. */
const PROGRESS = amount('progress', { short: 25, full: 25 });

interface Case extends Omit<SoakOptions, 'traffic'> {
  readonly version: string;
  readonly reloads: number;
  /** Ends it earlier: so that all of it takes less than fifteen minutes of a slow machine, too. */
  readonly seconds?: number;
}

const installed = haproxyBinaries().map(({ version, path }) => ({ version, binary: path }));
const modes = ['standalone', 'master-worker'] as const;
const small = {
  listeners: 300,
  reloads: amount('reloads_300', { short: 12, full: 12 }),
  rate: amount('rate_300', { short: 500, full: 500 }),
  long: 50,
};
const cases: readonly Case[] = [
  ...installed.flatMap((haproxy) => modes.map((mode) => ({ ...haproxy, mode, ...small }))),
  ...(form === 'full' ? large() : []),
];

/** lbagent's HAProxy through all of it, the newest one as a worker of its master. */
function large(): Case[] {
  const usual = installed.find(({ version }) => version === '2.6') ?? installed[0]!;
  const newest = installed.at(-1)!;
  const [standalone, worker] = modes;
  const of = (name: string, full: number) => amount(name, { short: 0, full });
  const load = { listeners: 2000, rate: of('rate', 2000), long: 200 };
  return [
    { ...usual, mode: standalone, ...load, reloads: of('reloads_2000', 1000), seconds: of('seconds_2000', 1000) },
    { ...newest, mode: worker, ...load, reloads: of('reloads_worker', 1000), seconds: of('seconds_worker', 50) },
    { ...usual, mode: standalone, ...load, listeners: 19_000, reloads: 1000, seconds: of('seconds_19000', 90) },
  ];
}

describe.skipIf(why !== undefined)('reloads under load', () => {
  let directory: string;
  let traffic: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'berth-traffic-'));
    traffic = buildTraffic(directory);
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  test.each(cases)(
    'HAProxy $version, $mode, $listeners listeners: nobody is refused, reset, kept waiting or cut',
    { timeout: 1_150_000 },
    async (one) => {
      const soak = await Soak.open({ ...one, traffic });
      onTestFinished(() => soak.close());
      const through = await soakThrough(soak, one);
      const { clients, storm, begun, ended, drift } = through;
      const reservations = await soak.reservations();
      const promises = promised(one, soak, through, reservations);
      for (const promise of promises) recordFigure(promise);
      console.log(promises.map(({ figure }) => figure).join('\n'));

      expect(soak.counts.wrong).toEqual([]);
      expect(lostOf(clients)).toEqual(NOBODY);
      expect(lostOf(storm)).toEqual(NOBODY);
      expect(soak.counts.quarantined).toBe(soak.counts.injected.listener ?? 0);
      expect(reservations).toEqual({ kernel: reservations.ours, ours: reservations.kernel, ...NOTHING_ELSE });
      expect(restOf(ended)).toEqual(restOf(begun));
      expect(ended.heap - begun.heap).toBeLessThan(HEAP_ALLOWANCE);
      expect(ended.memory - begun.memory).toBeLessThan(MEMORY_ALLOWANCE);
      expect(drift?.heap ?? 0).toBeLessThan(HEAP_DRIFT);
      expect(drift?.memory ?? 0).toBeLessThan(MEMORY_DRIFT);
    },
  );
});

/** The changes one after the other; the agent is measured after the tenth and after the last, with nobody served. */
async function soakThrough(soak: Soak, { listeners: usual, reloads, seconds = Infinity }: Case) {
  const changes = randomChanges(reloads, SEED);
  let listeners = firstListeners(usual);
  await soak.reload(listeners);
  soak.counts.reloads = 0;
  const compiled: AgentMeasure[] = [];
  const tell = async (reloads: number) => {
    // What malloc keeps is given back with it; else it depends on how many reloads there were since the last minute began.
    await soak.agent.client.reconcile();
    const measured = await soak.agent.measure();
    if (reloads >= COMPILED) compiled.push(measured);
    const [{ heap, memory }, lost] = [measured, JSON.stringify(lostOf(await soak.reports()))];
    const seconds = Math.round((performance.now() - since) / 1000);
    console.log(`${reloads} reloads in ${seconds} s: lost ${lost}, heap ${mb(heap)} MB, memory ${mb(memory)} MB`);
  };
  const through = async (from: number, to: number) => {
    await soak.startLoad();
    const until = (at: number) =>
      (at >= SETTLED && performance.now() - since > seconds * 1000) || soak.counts.wrong.length > 20;
    for (let at = from; at < to && !until(at); at++) {
      const change = changes[at]!;
      const conflict = at % 3 === 0 ? await soak.inject(change.conflict, change.dice[0]!, listeners) : undefined;
      listeners = changed(listeners, usual, change, conflict);
      await soak.reload(listeners, conflict);
      await conflict?.end();
      if ((at + 1) % PROGRESS === 0) await tell(at + 1);
    }
    return soak.stopLoad();
  };
  const since = performance.now();
  const one = await through(0, SETTLED);
  const begun = await soak.atRest();
  const other = await through(SETTLED, reloads);
  const ended = await soak.atRest();
  return {
    clients: [...one.clients, ...other.clients],
    storm: [one.storm, other.storm],
    begun,
    ended,
    drift: driftOf(compiled),
  };
}

/** Growth from the first third of the measurements to the last; undefined where there are too few to tell. */
function driftOf(measured: readonly AgentMeasure[]): Pick<AgentMeasure, 'heap' | 'memory'> | undefined {
  const third = Math.floor(measured.length / 3);
  if (third < 3) return undefined;
  const of = (what: 'heap' | 'memory') => {
    const [first, last] = [measured.slice(0, third), measured.slice(-third)].map((some) =>
      some.map((one) => one[what]).toSorted((one, other) => one - other),
    );
    return last![Math.floor(third / 2)]! - first![Math.floor(third / 2)]!;
  };
  return { heap: of('heap'), memory: of('memory') };
}

/** In the words of the report. */
function promised(
  { listeners, mode, version }: Case,
  { counts }: Soak,
  { clients, storm, begun, ended, drift }: Awaited<ReturnType<typeof soakThrough>>,
  { kernel, ours, ...others }: Awaited<ReturnType<Soak['reservations']>>,
): Figure[] {
  const of = { part: 'load', haproxy: [version] } as const;
  const name = `${listeners} listeners, ${mode}, HAProxy ${version}`;
  const lost = lostOf(clients);
  const short = clients.filter(({ short }) => short.ok > 0);
  const sum = (each: (report: TrafficReport) => number) => short.reduce((total, report) => total + each(report), 0);
  const longest = short.reduce((one, other) => (other.seconds > one.seconds ? other : one));
  const [quick, slow] = [longest.connectMs.p50, longest.connectMs.p99].map((ms) => ms.toFixed(1));
  const rate = Math.round(sum((report) => report.short.ok) / sum(({ seconds }) => seconds));
  const injected = total(counts.injected);
  const met = Object.entries(counts.met).map(([what, count]) => `${count} × ${what}`);
  const { descriptors, threads } = ended;
  const drifted = drift
    ? ` (from reload ${COMPILED} on, by the medians of thirds: heap ${mb(drift.heap)} and memory ${mb(drift.memory)} MB more)`
    : '';
  const cpu = (ended.cpuMs - begun.cpuMs) / Math.max(1, counts.reloads - SETTLED);
  return [
    {
      ...of,
      name,
      promise: 'A reload loses nobody: no connection is refused, reset, kept waiting or cut',
      figure:
        `${counts.reloads} reloads, ${sum(({ attempts }) => attempts)} connections (${rate} a second): ` +
        `${lost.refused} refused, ${lost.reset} reset, ${lost.hung} hung, ${lost.cut} cut; ` +
        `connected in ${quick} ms (p50), ${slow} ms (p99)`,
      kept: total(lost) === 0 && counts.wrong.length === 0,
    },
    {
      ...of,
      name: `${name}: conflicts`,
      promise:
        'A connection on the port of a new listener does not stop it; only what another program listens on is left out',
      figure:
        `${injected} of ${counts.reloads} reloads with something on the new port; met: ${met.join(', ')}; ` +
        `${counts.quarantined} left out for ${counts.injected.listener ?? 0} foreign listeners; ` +
        `${storm.reduce((total, { attempts }) => total + attempts, 0)} outgoing connections of others, ` +
        `${total(lostOf(storm))} failed`,
      kept: counts.quarantined === (counts.injected.listener ?? 0) && equal(lostOf(storm), NOBODY),
    },
    {
      ...of,
      name: `${name}: agent`,
      promise: 'The agent does not grow: after the last reload it has the memory and the descriptors of the tenth',
      figure:
        `after ${SETTLED} and after ${counts.reloads} reloads: heap ${mb(begun.heap)} and ${mb(ended.heap)} MB, ` +
        `memory (anonymous) ${mb(begun.memory)} and ${mb(ended.memory)} MB${drifted}, ` +
        `descriptors beside the listening sockets ${begun.descriptors} and ${descriptors}, ` +
        `threads ${begun.threads} and ${threads}; ${cpu.toFixed(0)} ms of processor time a reload; no old HAProxy left, kernel and ledger agree`,
      kept:
        equal(restOf(ended), restOf(begun)) &&
        ended.heap - begun.heap < HEAP_ALLOWANCE &&
        ended.memory - begun.memory < MEMORY_ALLOWANCE &&
        (drift?.heap ?? 0) < HEAP_DRIFT &&
        (drift?.memory ?? 0) < MEMORY_DRIFT &&
        kernel === ours &&
        equal(others, NOTHING_ELSE),
    },
  ];
}

const mb = (bytes: number) => (bytes / 1e6).toFixed(1);
const restOf = ({ descriptors, pidfds, threads }: AgentMeasure) => ({ descriptors, pidfds, threads });
const total = (counts: object) =>
  Object.values<number>(counts as Record<string, number>).reduce((sum, one) => sum + one, 0);
const equal = (one: object, other: object) => JSON.stringify(one) === JSON.stringify(other);
