/** Running the haproxy binary: where, with which environment, and never longer than allowed. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { isMainThread } from 'node:worker_threads';
import { BerthError, systemCause } from '../errors.js';

/** The binary and where it runs. */
export interface Invocation {
  /** Absolute path. */
  readonly binary: string;
  /** Network namespace to run in, as a path (`/run/netns/x`, `/proc/PID/ns/net`); Berth's own where absent. */
  readonly netns?: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface RunOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** Open file that standard output and error go to; without it they are collected and returned. */
  readonly output?: number;
}

export interface Finished {
  /** Exit status; null where it was killed. */
  readonly status: number | null;
  /** The signal that ended it, ours or another's. */
  readonly killedBy: NodeJS.Signals | null;
  /** Why Berth ended it, if Berth did. */
  readonly ended?: 'timeout' | 'aborted';
  /** Standard output and error in the order of arrival; empty where they went to a file. */
  readonly output: string;
}

/**
 * Variables by which a HAProxy master tells its next self what it is (HAProxy src/mworker.c), and by which a service
 * manager tells Berth what Berth is: a HAProxy that inherits them takes itself for somebody else.
 */
const NOT_INHERITED = [
  /^HAPROXY_(MWORKER|MWORKER_REEXEC|MWORKER_WAIT_ONLY|PROCESSES|CFGFILES|CLI|MASTER_CLI|STARTUPLOGS_FD|LOAD_SUCCESS|HTTP_LOG_FMT)$/,
  /^(NOTIFY_SOCKET|WATCHDOG_USEC|WATCHDOG_PID|LISTEN_FDS|LISTEN_PID|LISTEN_FDNAMES)$/,
  /^NODE_(OPTIONS|CHANNEL_FD|CHANNEL_SERIALIZATION_MODE|UNIQUE_ID)$/,
];

const OUTPUT_LIMIT = 4 << 20;
/** HAProxy's unix sockets and pid file get their modes from it; a service manager's default, whatever Berth's own is. */
const UMASK = 0o022;

/** Run haproxy in a session of its own (so that Ctrl-C reaches Berth only), with no descriptor of Berth's. */
export function runHAProxy(invocation: Invocation, args: readonly string[], options: RunOptions): Promise<Finished> {
  const [command, ...prefix] = invocation.netns
    ? (['nsenter', `--net=${invocation.netns}`, '--', invocation.binary] as const)
    : ([invocation.binary] as const);
  const stdio: StdioOptions = ['ignore', options.output ?? 'pipe', options.output ?? 'pipe'];
  return new Promise((resolve, reject) => {
    if (options.signal?.aborted) {
      resolve({ status: null, killedBy: null, ended: 'aborted', output: '' });
      return;
    }
    const child = withUmask(() =>
      spawn(command, [...prefix, ...args], { stdio, detached: true, env: environmentFor(invocation.environment) }),
    );
    let ended: 'timeout' | 'aborted' | undefined;
    const end = (why: 'timeout' | 'aborted') => {
      ended ??= why;
      endGroup(child);
    };
    const timer = setTimeout(end, options.timeoutMs, 'timeout');
    const onAbort = () => end('aborted');
    options.signal?.addEventListener('abort', onAbort);
    const chunks: Buffer[] = [];
    let size = 0;
    const collect = (chunk: Buffer) => {
      if (size < OUTPUT_LIMIT) chunks.push(chunk);
      size += chunk.length;
    };
    child.stdout?.on('data', collect);
    child.stderr?.on('data', collect);
    const finish = () => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', onAbort);
    };
    child.once('error', (error) => {
      finish();
      reject(cannotRun(command, error));
    });
    // `close` waits for the pipes: only -c and -vv have them, and these do not fork.
    child.once(
      options.output === undefined ? 'close' : 'exit',
      (status: number | null, killedBy: NodeJS.Signals | null) => {
        finish();
        resolve({ status, killedBy, ...(ended && { ended }), output: Buffer.concat(chunks).toString() });
      },
    );
  });
}

/** SIGKILL to what Berth started and has not yet reaped: its pid, and with it the group, cannot be anybody else's. */
function endGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    child.kill('SIGKILL');
  }
}

function cannotRun(command: string, error: Error): BerthError {
  const why = systemCause(error)?.code ?? error.message;
  return new BerthError('BERTH_HAPROXY_MISSING', `${command} cannot be run: ${why}`, { step: 'check', cause: error });
}

/** Node can't give a child a umask; process.umask() throws in a worker thread, where the inherited one has to do. */
function withUmask<T>(start: () => T): T {
  if (!isMainThread) return start();
  const own = process.umask(UMASK);
  try {
    return start();
  } finally {
    process.umask(own);
  }
}

function environmentFor(environment: Readonly<Record<string, string | undefined>>): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(environment).filter(([name]) => !NOT_INHERITED.some((pattern) => pattern.test(name))),
  );
}
