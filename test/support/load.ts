/** The workers of this folder as child processes in a network namespace: clients, datagrams and a backend. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface LoadOptions {
  /** `host:port`, IPv6 in brackets, or `unix:/path`; `host:port/connect`: a connection that stands is enough. */
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
  const worker = await startNode('load-worker.mjs', netns, options);
  const asking = async (word: string, event: string) => {
    worker.tell(word);
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
  return startNode('echo-worker.mjs', netns, options);
}

export interface DatagramReport {
  /** By target. */
  readonly sent: Readonly<Record<string, number>>;
  readonly lost: Readonly<Record<string, number>>;
}

/** Start sending datagrams in a network namespace; see datagram-worker.mjs for what they are. The result ends it. */
export async function startDatagrams(
  netns: string,
  options: {
    /** `log host:port` or `quic host:port`, IPv6 in brackets. */
    readonly targets: readonly string[];
    readonly collector: { readonly host: string; readonly port: number };
    readonly rate?: number;
  },
): Promise<() => Promise<DatagramReport>> {
  const worker = await startNode('datagram-worker.mjs', netns, options);
  return async () => {
    worker.tell('stop');
    return (await worker.next('final')) as unknown as DatagramReport;
  };
}

interface Waiter {
  readonly resolve: (event: Record<string, unknown>) => void;
  readonly reject: (error: Error) => void;
}

export interface Worker extends Backend {
  /** A line of its standard input. */
  tell(line: string): void;
  /** The next line of its standard output with this event. */
  next(event: string): Promise<Record<string, unknown>>;
}

async function startNode(file: string, netns: string, options: object): Promise<Worker> {
  const script = fileURLToPath(new URL(file, import.meta.url));
  const worker = startWorker(file, netns, [process.execPath, script]);
  worker.tell(JSON.stringify(options));
  await worker.next('ready');
  return worker;
}

/** A program that answers with lines of JSON, each with an `event`, and ends with its input. */
export function startWorker(name: string, netns: string, words: readonly string[]): Worker {
  const child = spawn('nsenter', [`--net=${netns}`, '--', ...words], { stdio: ['pipe', 'pipe', 'inherit'] });
  const waiting = new Map<string, Waiter>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    const event = JSON.parse(line) as Record<string, unknown> & { readonly event: string };
    waiting.get(event.event)?.resolve(event);
    waiting.delete(event.event);
  });
  const fail = (why: string) => {
    for (const { reject } of waiting.values()) reject(new Error(`${name}: ${why}`));
    waiting.clear();
  };
  child.once('error', (error) => fail(error.message));
  // `close`, not `exit`: the last report may still be in the pipe.
  child.once('close', (status, signal) => fail(`ended early (${signal ?? `status ${status ?? 'none'}`})`));
  return {
    pid: child.pid ?? 0,
    tell: (line) => void child.stdin.write(`${line}\n`),
    next: (event) => new Promise((resolve, reject) => waiting.set(event, { resolve, reject })),
    stop: () =>
      new Promise((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) resolve();
        else {
          child.once('exit', () => resolve());
          child.stdin.end();
        }
      }),
  };
}
