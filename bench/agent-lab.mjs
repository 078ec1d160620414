/** The agent as a process of its own, sources as lbagent writes them, and what /proc says of a process. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectAgent } from '../dist/client/client.js';
import { BERTH } from './lab.mjs';

export const ADDRESS = '127.0.0.1';
export const FIRST = 10_000;
/** Beyond the listeners that stay; in the ephemeral range, as on the hosts where it matters. */
export const ANOTHER = 40_000;
export const BACKEND = 7001;

/** One directory with the configuration of many listeners, renamed and linked to as lbagent does it. */
export class Sources {
  #written = 0;

  /**
   * @param {string} base
   * @param {{ listeners: number, files?: 'one' | 'many', maxconn?: number, another?: number }} options one listener a file, or all in one
   */
  constructor(base, { listeners, files = 'many', maxconn = 2000, another = ANOTHER }) {
    this.base = base;
    this.listeners = listeners;
    this.files = files;
    this.maxconn = maxconn;
    this.another = another;
    for (const name of ['configs', 'run']) mkdirSync(join(base, name), { recursive: true });
  }

  /** The symlink to the directory in use. */
  get current() {
    return join(this.base, 'configs', 'haproxy.conf.d');
  }

  get pidFile() {
    return join(this.base, 'run', 'haproxy.pid');
  }

  get statsSocket() {
    return join(this.base, 'run', 'haproxy.sock');
  }

  get pid() {
    return Number(readFileSync(this.pidFile, 'utf8').trim());
  }

  /** Write a directory with one more listener, another each time. @returns what puts it in use: rename, unlink, symlink */
  stage(/** @type {number | undefined} */ more) {
    const directory = join(this.base, 'configs', `generation-${++this.#written}`);
    const staging = `${directory}.staging`;
    mkdirSync(staging);
    const ports = Array.from({ length: this.listeners }, (_, index) => FIRST + index);
    const texts = (more === undefined ? ports : [...ports, this.another + more]).map(section);
    writeFileSync(join(staging, '00-haproxy.cfg'), globals(this));
    if (this.files === 'one') writeFileSync(join(staging, 'listeners.cfg'), texts.join('\n'));
    else for (const [at, text] of texts.entries()) writeFileSync(join(staging, `lb-${at}.cfg`), text);
    return () => {
      renameSync(staging, directory);
      rmSync(this.current, { force: true });
      symlinkSync(directory, this.current);
    };
  }

  /** Remove all but the directory in use and the one before, as lbagent prunes. */
  prune() {
    for (const name of readdirSync(join(this.base, 'configs'))) {
      const number = Number(/^generation-(\d+)$/.exec(basename(name))?.[1] ?? Infinity);
      if (number < this.#written - 1) rmSync(join(this.base, 'configs', name), { recursive: true });
    }
  }

  /** lbagent's command line, less the name of the program. */
  words(/** @type {{ reload: boolean }} */ { reload }) {
    const words = ['-D', '-p', this.pidFile, '-C', this.current, '-f', this.current];
    return reload ? [...words, '-sf', String(this.pid), '-x', this.statsSocket] : words;
  }
}

function globals(/** @type {Sources} */ { maxconn, statsSocket }) {
  return `global
  maxconn ${maxconn}
  stats socket ${statsSocket} mode 600 level admin expose-fd listeners

defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
`;
}

function section(/** @type {number} */ port) {
  return `listen lb-${port}\n  bind ${ADDRESS}:${port}\n  server s ${ADDRESS}:${BACKEND}\n`;
}

/** An AgentEvent of src/agent/contract.ts, and when it was seen. @typedef {any} Seen */

/** `berth agent`, and its HAProxy. */
export class AgentProcess {
  /** @type {Seen[]} */
  events = [];
  /** @type {Set<() => void>} */
  #waiting = new Set();
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child;
  /** @type {import('../dist/client/client.js').AgentClient | undefined} */
  #client;

  /**
   * @param {{ sources: Sources, haproxy: string, netns?: string, settings?: Record<string, unknown>, nodeOptions?: string[] }} options
   *   `settings` over those of the bench, group by group
   */
  constructor({ sources, haproxy, netns, settings = {}, nodeOptions = [] }) {
    this.sources = sources;
    this.stateDir = join(sources.base, 'state');
    this.socket = join(sources.base, 'agent.sock');
    this.nodeOptions = nodeOptions;
    this.settings = {
      stateDir: this.stateDir,
      sources: [sources.current],
      ...(netns === undefined ? {} : { netns }),
      haproxy: { binary: haproxy, pidFile: sources.pidFile },
      restart: { backOffMs: 0, maxBackOffMs: 0, limit: 1000 },
      agent: { socket: this.socket },
      ...settings,
    };
  }

  get pid() {
    return this.#child?.pid ?? 0;
  }

  get client() {
    if (!this.#client) throw new Error('the agent does not run');
    return this.#client;
  }

  /** Resolves when all listeners are served and the first reconciliation is over. */
  async start() {
    const file = join(this.sources.base, 'berth.yaml');
    // YAML has JSON in it.
    writeFileSync(file, JSON.stringify(this.settings));
    const log = openSync(join(this.sources.base, 'agent.log'), 'a');
    const words = [...this.nodeOptions, BERTH, 'agent', '--settings', file];
    this.#child = spawn(process.execPath, words, {
      stdio: ['ignore', 'ignore', log],
      env: { PATH: process.env['PATH'] },
    });
    closeSync(log);
    for (;;) {
      if (this.#child.exitCode !== null) throw new Error(`the agent ended: ${this.log().slice(-2000)}`);
      this.#client = existsSync(this.socket) ? await connectAgent({ socket: this.socket }) : undefined;
      const state = this.#client?.instance.state;
      if (state?.phase === 'idle' && state.listeners.served === this.sources.listeners && state.reconciledAt) break;
      await sleep(50);
    }
    void this.#follow();
    await sleep(100);
  }

  log() {
    return readFileSync(join(this.sources.base, 'agent.log'), 'utf8');
  }

  async #follow() {
    try {
      for await (const event of this.client.events()) {
        this.events.push({ ...event, seen: performance.now() });
        for (const wake of this.#waiting) wake();
      }
    } catch {
      // It ended.
    }
  }

  /** The first event from `since` on (an index into `events`) that fits; within a minute. */
  async event(/** @type {(event: Seen) => boolean} */ fits, since = this.events.length) {
    for (const deadline = performance.now() + 60_000; ;) {
      const found = this.events.slice(since).find(fits);
      if (found) return found;
      if (performance.now() > deadline) throw new Error(`no such event; the log ends with ${this.log().slice(-2000)}`);
      await new Promise((resolve) => {
        const timer = setTimeout(done, 1000);
        const waiting = this.#waiting;
        waiting.add(done);
        function done() {
          clearTimeout(timer);
          waiting.delete(done);
          resolve(undefined);
        }
      });
    }
  }

  /** Ends it and its HAProxies. */
  async stop() {
    const child = this.#child;
    if (!child || child.exitCode !== null) return;
    await this.client.stop({ hard: true }).catch(() => undefined);
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
}

/** Resident and proportional set size of a process in MB (10⁶ bytes), from /proc/PID/smaps_rollup (proc(5)). */
export function memoryOf(/** @type {number} */ pid) {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const of = (/** @type {string} */ name) =>
    (Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) * 1024) / 1e6;
  return { rss: of('Rss'), pss: of('Pss') };
}

/** Milliseconds of CPU time that all threads of a process have had: their schedstat counts nanoseconds, stat only 10 ms. */
export function cpuOf(/** @type {number} */ pid) {
  const spent = readdirSync(`/proc/${pid}/task`).map((task) =>
    Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]),
  );
  return spent.reduce((sum, one) => sum + one, 0) / 1e6;
}
