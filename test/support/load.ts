/** The two workers of this folder as child processes in a network namespace: clients and a backend. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface LoadOptions {
  /** `host:port`, IPv6 in brackets; `host:port/connect`: a connection that stands is enough. */
  readonly targets: readonly string[];
  /** Short connections a second. */
  readonly rate?: number;
  /** Connections held open all the while. */
  readonly held?: number;
  readonly pingMs?: number;
  readonly sources?: readonly string[];
  readonly timeoutMs?: number;
  readonly limit?: number;
}

export interface LoadReport {
  readonly attempts: number;
  readonly ok: number;
  /** ECONNREFUSED. */
  readonly refused: number;
  /** ECONNRESET or EPIPE before the answer was complete. */
  readonly reset: number;
  /** Closed in an orderly way before the answer was complete. */
  readonly eof: number;
  readonly hung: number;
  /** Not tried because too many were open. */
  readonly skipped: number;
  /** Any other errno (EADDRNOTAVAIL, …): the generator's own trouble more often than the server's. */
  readonly other: Readonly<Record<string, number>>;
  readonly open: number;
  readonly held: {
    readonly open: number;
    readonly cut: number;
    readonly hung: number;
    readonly failed: number;
    readonly echoes: number;
  };
  readonly maxLatencyMs: number;
  readonly meanLatencyMs: number;
  readonly failuresByTarget: Readonly<Record<string, number>>;
  /** Date.now() of the first and the last failure. */
  readonly firstFailure?: number;
  readonly lastFailure?: number;
  /** Per 100 ms, by the time of the outcome. */
  readonly timeline: readonly { readonly at: number; readonly ok: number; readonly failed: number }[];
}

export interface Load {
  readonly pid: number;
  report(): Promise<LoadReport>;
  /** Turn to these targets (none: a pause); resolves when the last short connection to those before has ended. */
  aim(targets: readonly string[]): Promise<void>;
  /** No new connections; the open ones end; the last report. */
  stop(): Promise<LoadReport>;
}

export interface Backend {
  readonly pid: number;
  stop(): Promise<void>;
}

/** Start clients in a network namespace (a path); resolves when the held connections are up. */
export async function startLoad(netns: string, options: LoadOptions): Promise<Load> {
  const worker = await startWorker('load-worker.mjs', netns, options);
  const asking = async (word: string, event: string) => {
    worker.child.stdin?.write(`${word}\n`);
    return (await worker.next(event)) as unknown as LoadReport;
  };
  return {
    pid: worker.pid,
    report: () => asking('report', 'report'),
    aim: async (targets) => {
      await asking(JSON.stringify({ targets }), 'aimed');
    },
    stop: () => asking('stop', 'final'),
  };
}

/** Start an echo backend in a network namespace; see echo-worker.mjs for what it speaks. */
export async function startBackend(
  netns: string,
  options: { readonly listen: readonly { readonly host: string; readonly port: number }[]; readonly name?: string },
): Promise<Backend> {
  const worker = await startWorker('echo-worker.mjs', netns, options);
  return {
    pid: worker.pid,
    stop: () =>
      new Promise((resolve) => {
        if (worker.child.exitCode !== null || worker.child.signalCode !== null) resolve();
        else {
          worker.child.once('exit', () => resolve());
          worker.child.stdin?.end();
        }
      }),
  };
}

interface Waiter {
  readonly resolve: (event: Record<string, unknown>) => void;
  readonly reject: (error: Error) => void;
}

interface Worker {
  readonly child: ChildProcess;
  readonly pid: number;
  next(event: string): Promise<Record<string, unknown>>;
}

async function startWorker(file: string, netns: string, options: object): Promise<Worker> {
  const script = fileURLToPath(new URL(file, import.meta.url));
  const child = spawn('nsenter', [`--net=${netns}`, '--', process.execPath, script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.write(`${JSON.stringify(options)}\n`);
  const waiting = new Map<string, Waiter>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    const event = JSON.parse(line) as Record<string, unknown> & { readonly event: string };
    waiting.get(event.event)?.resolve(event);
    waiting.delete(event.event);
  });
  const fail = (why: string) => {
    for (const { reject } of waiting.values()) reject(new Error(`${file}: ${why}`));
    waiting.clear();
  };
  child.once('error', (error) => fail(error.message));
  // `close`, not `exit`: the last report may still be in the pipe.
  child.once('close', (status, signal) => fail(`ended early (${signal ?? `status ${status ?? 'none'}`})`));
  const next = (event: string) =>
    new Promise<Record<string, unknown>>((resolve, reject) => waiting.set(event, { resolve, reject }));
  await next('ready');
  return { child, pid: child.pid ?? 0, next };
}
