/**
 * A new listener on the port of one of HAProxy's own connections to its servers: what a reload costs then, and what is
 * served after it. Berth, HAProxy alone, and HAProxy under Cloudpods' lbagent, which answers a reload that failed with SIGKILL and a start.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { Balancer, crowdThrough, namespace, socketList } from '../lab.mjs';

/** @typedef {import('../measure.mjs').Bench} Bench */

/** Exit status of a program in the balancer's network namespace. */
async function status(/** @type {Balancer} */ { netns }, /** @type {string[]} */ words) {
  const child = spawn('nsenter', [`--net=${netns}`, ...words], { stdio: 'ignore' });
  const [code] = await once(child, 'exit');
  return code ?? 255;
}

const reloadWords = (/** @type {Balancer} */ one, /** @type {string} */ file) =>
  one.command(file, ['-sf', String(one.pid), '-x', one.statsSocket]);

/** How each takes a configuration into use. @type {Record<string, (one: Balancer, file: string) => Promise<unknown>>} */
const contestants = {
  berth: (one, file) => status(one, one.berth(['reload', file])),
  'haproxy -sf -x': (one, file) => status(one, reloadWords(one, file)),
  // Its reloadHaproxy and startHaproxy, step by step; the 3 s are how long it waits for what it killed to be gone.
  lbagent: async (one, file) => {
    if ((await status(one, reloadWords(one, file))) === 0) return;
    const { pid } = one;
    process.kill(pid, 'SIGKILL');
    for (let waited = 0; lives(pid) && waited < 3000; waited += 10) await sleep(10);
    await status(one, one.command(file));
  },
};

/** A process that has ended and waits for its parent has no executable any more. */
const lives = (/** @type {number} */ pid) =>
  existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));

export async function conflict(/** @type {Bench} */ bench) {
  const { baseline, directory, haproxy } = bench;
  const listeners = bench.amount(2000, 50);
  /** @type {Record<string, number[]>} */
  const served = {};
  const attempt = (/** @type {string} */ name) => async (/** @type {number} */ round) => {
    const space = await namespace();
    const { netns } = space;
    const own = join(directory, `${name.replaceAll(' ', '')}-${round}`);
    const one = new Balancer({ directory: own, haproxy, netns, listeners });
    await one.start(baseline);
    // The last listener's server: nobody listens there yet.
    const [last, backend] = [9999 + listeners, 10_000 + listeners];
    const through = { address: '127.0.0.1', first: last, count: 1, connections: 1, backend };
    const goHome = await crowdThrough(baseline, through, netns);
    const [connection = []] = await socketList(netns, ['-tnH', `dport = :${backend}`]);
    const port = Number(connection[3]?.split(':')[1]);
    const begin = performance.now();
    await contestants[name]?.(one, one.next(0, port));
    const took = performance.now() - begin;
    const listening = await socketList(netns, ['-tlnH', `sport >= :10000 and sport != :${backend}`]);
    (served[name] ??= []).push(new Set(listening.map((columns) => columns[3])).size);
    await goHome();
    if (lives(one.pid)) one.stop();
    space.close();
    return took;
  };
  const names = Object.keys(contestants);
  const times = await bench.inTurn(Object.fromEntries(names.map((name) => [name, attempt(name)])));
  for (const name of names) {
    const left = Math.min(...(served[name] ?? []));
    const peer = name === 'berth' ? {} : { against: 'berth', peer: times['berth'] ?? [] };
    const details = { 'listeners wanted': listeners + 1, 'served afterwards': left };
    bench.row({ name: `a busy port: ${name}`, ours: times[name] ?? [], ...peer, details });
    if (name !== 'berth') continue;
    bench.row({ name: 'a busy port: listeners lost by berth', ours: listeners + 1 - left, unit: '', most: 0 });
  }
}
