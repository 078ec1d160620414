/**
 * Cloudpods' lbagent as far as HAProxy is concerned: `reloadHaproxy` and `startHaproxy` of its HAProxy helper, step by
 * step, with the SIGKILL that it answers a failed reload with. It kills no process outside of its network namespace.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { namespaceInode } from '../process-table.js';
import type { DirectoryWriter } from './writer.js';

export interface LbagentOptions {
  /** lbagent's `haproxy_bin`. */
  readonly haproxyBin: string;
  /** Network namespace that it runs in, as a path. */
  readonly netns: string;
  readonly environment: NodeJS.ProcessEnv;
  /** Path that the program's output is written to; it is read back after each call. */
  readonly log: string;
}

export interface Call {
  readonly what: 'start' | 'reload';
  readonly status: number;
  readonly ms: number;
  readonly stderr: string;
}

export interface ReloadOutcome {
  readonly calls: readonly Call[];
  /** The HAProxy that was killed though it served. */
  readonly killed?: number;
  /** What lbagent itself believes. */
  readonly ok: boolean;
}

const VANISH_MS = 3000;
const VANISH_POLL_MS = 10;

export class Lbagent {
  constructor(
    readonly writer: DirectoryWriter,
    readonly options: LbagentOptions,
  ) {}

  async reloadHaproxy(): Promise<ReloadOutcome> {
    const calls: Call[] = [];
    const pid = this.haproxyPid();
    if (pid === undefined) rmSync(this.writer.pidFile, { force: true });
    else {
      const socket = existsSync(this.writer.statsSocket) ? ['-x', this.writer.statsSocket] : [];
      calls.push(await this.#call('reload', ['-sf', String(pid), ...socket]));
      if (calls[0]?.status === 0) return { calls, ok: true };
      await this.#kill(pid);
    }
    const start = await this.#call('start', []);
    calls.push(start);
    return { calls, ok: start.status === 0, ...(pid === undefined ? {} : { killed: pid }) };
  }

  /** The process of the pid file, if its name is haproxy. */
  haproxyPid(): number | undefined {
    try {
      const pid = Number(readFileSync(this.writer.pidFile, 'utf8').trim());
      return pid > 0 && isHAProxy(pid) ? pid : undefined;
    } catch {
      return undefined;
    }
  }

  async #kill(pid: number): Promise<void> {
    if (namespaceInode(`/proc/${pid}/ns/net`) !== namespaceInode(this.options.netns)) {
      throw new Error(`the pid file names process ${pid}, which is not in the test's namespace`);
    }
    process.kill(pid, 'SIGKILL');
    for (let waited = 0; isHAProxy(pid) && waited < VANISH_MS; waited += VANISH_POLL_MS) await sleep(VANISH_POLL_MS);
  }

  async #call(what: Call['what'], more: readonly string[]): Promise<Call> {
    const { writer, options } = this;
    const words = ['-D', '-p', writer.pidFile, '-C', writer.current, '-f', writer.current, ...more];
    const began = performance.now();
    const { status, stderr } = await runLogged(options, words);
    return { what, status, ms: performance.now() - began, stderr };
  }
}

/** Run `haproxyBin` to its end. Its output goes to a file: what becomes a daemon would hold a pipe open. */
export async function runLogged(
  { haproxyBin, netns, environment, log }: LbagentOptions,
  words: readonly string[],
): Promise<{ readonly status: number; readonly stdout: string; readonly stderr: string }> {
  const out = openSync(`${log}.out`, 'w+');
  const err = openSync(`${log}.err`, 'w+');
  const child = spawn('nsenter', [`--net=${netns}`, '--', haproxyBin, ...words], {
    stdio: ['ignore', out, err],
    env: environment,
  });
  closeSync(out);
  closeSync(err);
  const status = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? (signal === null ? 255 : 128)));
  });
  const read = (suffix: string) => readFileSync(`${log}.${suffix}`, 'utf8');
  return { status, stdout: read('out'), stderr: read('err') };
}

/** As lbagent looks at it (/proc/PID/comm), a process that has ended and was not yet waited for apart. */
function isHAProxy(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'haproxy' && readlinkSync(`/proc/${pid}/exe`) !== '';
  } catch {
    return false;
  }
}
