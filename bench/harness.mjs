/** A part of the bench in namespaces of its own, and its time limit. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Bench } from './measure.mjs';
import { PARTS } from './parts/index.mjs';

const MAIN = fileURLToPath(new URL('main.mjs', import.meta.url));
const FLAGS = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
/** For what comes before the first round, and for the one that has begun. */
const MORE_SECONDS = 20;

/** What is found until then is still published. */
const SIGNALS = /** @type {const} */ (['SIGINT', 'SIGTERM']);
let stopped = false;

/** @typedef {{ haproxy: string, short: boolean, rounds: number | undefined, directory: string }} Given */

/** Run a part in this process, which has namespaces of its own already. */
export async function runHere(/** @type {string} */ name, /** @type {Given} */ { directory, rounds, ...given }) {
  const part = PARTS[name];
  if (!part) throw new Error(`no part is called ${name}`);
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  const own = join(directory, name);
  mkdirSync(own, { recursive: true });
  const bench = new Bench({
    ...given,
    baseline: join(directory, 'baseline'),
    directory: own,
    rounds: given.short ? 1 : (rounds ?? part.rounds),
  });
  bench.within(part.seconds);
  await part.run(bench);
}

/**
 * What a part found, as far as it came.
 * @param {string} name
 * @param {Given & { until: number }} given `until`: of performance.now(), when all of it has to be over
 * @returns {Promise<import('./results.mjs').PartResult>}
 */
export async function runPart(name, { haproxy, short, rounds, directory, until }) {
  const [load = 0] = loadavg();
  /** @type {import('./results.mjs').PartResult} */
  const result = {
    date: new Date().toISOString(),
    load: Number(load.toFixed(1)),
    seconds: 0,
    rows: [],
    points: [],
    answers: [],
  };
  const begin = performance.now();
  const limit = Math.min(begin + (2 * (PARTS[name]?.seconds ?? 0) + MORE_SECONDS) * 1000, until) - begin;
  if (stopped) return { ...result, failure: 'not run: the bench was stopped' };
  if (limit < 5000) return { ...result, failure: 'not run: no time was left' };
  const words = ['--inside', name, '--haproxy', haproxy, '--directory', directory];
  if (short) words.push('--short');
  if (rounds !== undefined) words.push('--rounds', String(rounds));
  const child = spawn('unshare', [...FLAGS, '--', process.execPath, MAIN, ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const end = () => child.kill('SIGKILL');
  const timer = setTimeout(end, limit);
  const stop = () => {
    stopped = true;
    end();
  };
  for (const signal of SIGNALS) process.on(signal, stop);
  let error = '';
  createInterface(child.stderr).on('line', (line) => {
    process.stderr.write(`${line}\n`);
    // Not the line of the source that node shows above it.
    if (error === '' && /^\w*Error\b.*: /.test(line)) error = line.trim();
  });
  createInterface(child.stdout).on('line', (line) => {
    process.stdout.write(`${line}\n`);
    if (!line.startsWith('{')) return;
    /** @type {Partial<Record<'row' | 'point' | 'answer', any>>} */
    const { row, point, answer } = JSON.parse(line);
    if (row) result.rows.push(row);
    if (point) result.points.push(point);
    if (answer) result.answers.push(answer);
  });
  const [status] = await once(child, 'close');
  clearTimeout(timer);
  for (const signal of SIGNALS) process.off(signal, stop);
  const took = performance.now() - begin;
  result.seconds = Math.round(took / 1000);
  if (status === 0) return result;
  if (stopped) error = 'the bench was stopped';
  else if (took >= limit) error = `ended after ${result.seconds} s`;
  return { ...result, failure: error || `it ended with status ${status}` };
}
