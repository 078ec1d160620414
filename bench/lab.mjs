/** Programs of the bench: the baseline, real HAProxy with many listeners, Berth in a process of its own. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const here = (/** @type {string} */ file) => fileURLToPath(new URL(file, import.meta.url));
export const BERTH = here('../dist/cli/main.js');
const NANOSECONDS = 1e6;

/** Compile baseline.c; the path of the program. */
export function buildBaseline(/** @type {string} */ directory) {
  const program = join(directory, 'baseline');
  execFileSync('cc', ['-O2', '-Wall', '-o', program, here('baseline.c')], { stdio: 'inherit' });
  return program;
}

/**
 * Milliseconds that a program says or takes.
 * @param {string} baseline
 * @param {string[]} words of the baseline program, e.g. `time ss -tlnH`
 * @param {string} [netns] path of the namespace to run in
 */
export async function clocked(baseline, words, netns) {
  const inside = netns === undefined ? [] : [`--net=${netns}`, '--'];
  const [program = '', ...args] =
    netns === undefined ? [baseline, ...words] : ['nsenter', ...inside, baseline, ...words];
  const { stdout } = await run(program, args);
  return Number(stdout) / NANOSECONDS;
}

/**
 * Berth's part, measured by a Berth that was just started, as the command is: milliseconds of its first and only call.
 * @param {string} task of once.mjs
 * @param {unknown} input
 */
export async function berthOnce(task, input) {
  const { stdout } = await run(process.execPath, [here('once.mjs'), task, JSON.stringify(input)]);
  return Number(stdout);
}

/** A network namespace with lo up; it lives as long as the process that keeps it. */
export async function namespace() {
  const keeper = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up && echo ready && exec sleep infinity'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(keeper.stdout, 'data');
  return { netns: `/proc/${keeper.pid}/ns/net`, close: () => keeper.kill('SIGKILL') };
}

/** Of one process of a crowd: both ends of a connection are descriptors of it, and the usual hard limit is 20000. */
const EACH = 8400;

/**
 * So many connections, both ends here, by as many processes as it takes; resolves when all stand.
 * @param {string} baseline
 * @param {number} connections
 * @param {number} [first] number of the first process, where there are others: its addresses are of that number
 */
export function crowd(baseline, connections, first = 1) {
  const processes = Math.max(2, Math.ceil(connections / EACH));
  return gather(baseline, ['crowd', ...[first, processes, Math.ceil(connections / processes)].map(String)]);
}

/**
 * Connections of clients to listeners of a HAProxy, each of which it connects to its backend; resolves when all stand.
 * @param {string} baseline
 * @param {{ address: string, first: number, count: number, connections: number, backend: number }} which `backend`: a port
 * @param {string} [netns]
 */
export function crowdThrough(baseline, { address, first, count, connections, backend }, netns) {
  const words = ['through', address, ...[first, count, connections, backend].map(String)];
  return netns === undefined ? gather(baseline, words) : gather('nsenter', [`--net=${netns}`, baseline, ...words]);
}

async function gather(/** @type {string} */ baseline, /** @type {string[]} */ words) {
  return (await kept(baseline, words)).end;
}

/**
 * A program that says `ready`, and stays until its input ends.
 * @param {string} program @param {string[]} words
 */
export async function kept(program, words) {
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const answer = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  const said = String(answer[0]).trim();
  if (!said.endsWith('ready')) throw new Error(`${words.join(' ')}: it is not ready`);
  const end = async () => {
    child.stdin.end();
    if (child.exitCode === null) await once(child, 'exit');
  };
  return { said, end };
}

/** What `ss` lists there, each line in its columns. @param {string} netns @param {string[]} words */
export async function socketList(netns, words) {
  const { stdout } = await run('nsenter', [`--net=${netns}`, 'ss', ...words], { maxBuffer: 1 << 26 });
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => line.split(/\s+/));
}

/**
 * `count` TCP listeners from `first` on and those of `more`, one section each.
 * @param {{ address: string, first: number, count: number, more?: number[], statsSocket?: string }} options
 */
export function configuration({ address, first, count, more = [], statsSocket }) {
  const ports = [...Array.from({ length: count }, (_, index) => first + index), ...more];
  // HAProxy wants two descriptors a connection, one a listener, and most hosts give it no more than 20000.
  const maxconn = ports.length > 10_000 ? 200 : 2000;
  return `global
  maxconn ${maxconn}
${statsSocket === undefined ? '' : `  stats socket ${statsSocket} mode 600 level admin expose-fd listeners\n`}
defaults
  mode tcp
  timeout connect 10s
  timeout client 60s
  timeout server 60s

${ports.map((port) => `listen lb-${port}\n  bind ${address}:${port}\n  server s ${address}:${(port % 60000) + 1}\n`).join('\n')}`;
}

/** A HAProxy that serves 2000 listeners, and the next configurations for it: the same and one more, another each time. */
export class Balancer {
  /**
   * @param {{ directory: string, haproxy: string, netns?: string, listeners: number }} options
   */
  constructor({ directory, haproxy, netns, listeners }) {
    mkdirSync(directory, { recursive: true });
    this.directory = directory;
    this.haproxy = haproxy;
    this.netns = netns;
    this.listeners = listeners;
    this.statsSocket = join(directory, 'stats');
    this.pidFile = join(directory, 'haproxy.pid');
  }

  /** Write the configuration of one round; its path. @param {number} round @param {number} [port] of the new listener */
  next(round, port = 40_000 + round) {
    const path = join(this.directory, 'haproxy.cfg');
    const { statsSocket, listeners } = this;
    const more = round < 0 ? [] : [port];
    writeFileSync(path, configuration({ address: '127.0.0.1', first: 10000, count: listeners, more, statsSocket }));
    return path;
  }

  get pid() {
    return Number(readFileSync(this.pidFile, 'utf8').trim());
  }

  /** HAProxy's own command line. */
  command(/** @type {string} */ path, /** @type {string[]} */ more = []) {
    return [this.haproxy, '-D', '-p', this.pidFile, '-f', path, ...more];
  }

  async start(/** @type {string} */ baseline) {
    await clocked(baseline, ['time', ...this.command(this.next(-1))], this.netns);
  }

  /** Milliseconds of HAProxy's own reload. */
  async bareReload(/** @type {string} */ baseline, /** @type {number} */ round) {
    const words = this.command(this.next(round), ['-sf', String(this.pid), '-x', this.statsSocket]);
    return clocked(baseline, ['time', ...words], this.netns);
  }

  /** What `berth` is told by options, for the library. */
  settings() {
    const { directory, haproxy, pidFile, netns } = this;
    return { stateDir: join(directory, 'state'), haproxy: { binary: haproxy, pidFile }, netns };
  }

  /** @param {string[]} words */
  berth(words) {
    const state = join(this.directory, 'state');
    return [
      process.execPath,
      BERTH,
      ...words,
      '--state-dir',
      state,
      '--pid-file',
      this.pidFile,
      '--haproxy',
      this.haproxy,
    ];
  }

  /** Milliseconds of the whole command. */
  async berthReload(/** @type {string} */ baseline, /** @type {number} */ round) {
    return clocked(baseline, ['time', ...this.berth(['reload', this.next(round)])], this.netns);
  }

  /** The report of one more reload. */
  async berthReport(/** @type {number} */ round) {
    const [program = '', ...args] = this.berth(['reload', '--json', this.next(round)]);
    const inside = this.netns === undefined ? [program, ...args] : ['nsenter', `--net=${this.netns}`, program, ...args];
    const { stdout } = await run(inside[0] ?? '', inside.slice(1), { maxBuffer: 1 << 26 });
    return JSON.parse(stdout).result;
  }

  stop() {
    process.kill(this.pid, 'SIGKILL');
  }
}

/** Resolves when a process that was killed has closed everything it had: it and its threads have come to their end. */
export async function ended(/** @type {number} */ pid) {
  const over = (/** @type {string} */ status) =>
    status === '' || (/^State:\s+Z/m.test(status) && /^Threads:\s+[01]$/m.test(status));
  while (!over(statusOf(pid))) await sleep(5);
}

/** proc_pid_status(5), empty where its parent has asked for its end. */
function statusOf(/** @type {number} */ pid) {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return '';
  }
}

export function versionOf(/** @type {string} */ haproxy) {
  const text = execFileSync(haproxy, ['-v'], { encoding: 'utf8' });
  const [, version = '', major, minor] = /version ((\d+)\.(\d+)\S*)/.exec(text) ?? [];
  return { major: Number(major), minor: Number(minor), text: version };
}
