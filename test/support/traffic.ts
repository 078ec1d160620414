/** Clients and an echo at a cost that leaves the processor to what is measured: see traffic.c beside this file. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startWorker, type Backend } from './load.js';

export interface TrafficOptions {
  /** The listeners' address, IPv4. */
  readonly host: string;
  /** Short connections a second. */
  readonly rate: number;
  /** Connections that carry data all the while. */
  readonly long?: number;
  /** Each long one is closed after half to all of this and replaced; 0: never. */
  readonly lifeMs?: number;
  /** So long without an answer is a hang; long enough for a machine that is busy with other things. */
  readonly hangMs?: number;
}

interface Outcomes {
  readonly ok: number;
  readonly refused: number;
  readonly reset: number;
  /** Closed in an orderly way before the answer. */
  readonly eof: number;
  readonly hung: number;
  /** Any other errno. */
  readonly other: number;
}

interface Milliseconds {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface TrafficReport {
  readonly seconds: number;
  /** Short and long ones. */
  readonly attempts: number;
  /** Not tried because thousands were open. */
  readonly skipped: number;
  readonly open: number;
  readonly long: number;
  /** Long ones that this side has closed at the end of their life. */
  readonly replaced: number;
  readonly echoes: number;
  readonly short: Outcomes;
  /** Long ones that had been answered before. */
  readonly cut: Outcomes;
  /** Long ones without any answer. */
  readonly failed: Outcomes;
  /** Of short ones, from connect(2): established, and answered; within 7 %. */
  readonly connectMs: Milliseconds;
  readonly answerMs: Milliseconds;
}

export interface Traffic {
  readonly pid: number;
  /** Turn to these ports; resolves when all connections begun before have been served or have failed. */
  aim(ports: readonly number[]): Promise<void>;
  report(): Promise<TrafficReport>;
  /** No new ones; the long ones are closed; the last report. */
  stop(): Promise<TrafficReport>;
}

/** Compile it; the path of the program. */
export function buildTraffic(directory: string): string {
  const program = join(directory, 'traffic');
  const source = fileURLToPath(new URL('traffic.c', import.meta.url));
  execFileSync('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', program, source], { stdio: 'inherit' });
  return program;
}

export async function startTraffic(program: string, netns: string, options: TrafficOptions): Promise<Traffic> {
  const { host, rate, long = 0, lifeMs = 0, hangMs = 15_000 } = options;
  const words = ['clients', host, ...[rate, long, lifeMs, hangMs].map(String)];
  const worker = startWorker('traffic', netns, [program, ...words]);
  await worker.next('ready');
  const asking = async (line: string, event: string) => {
    worker.tell(line);
    return worker.next(event);
  };
  return {
    pid: worker.pid,
    aim: async (ports) => {
      await asking(`aim ${ports.join(' ')}`, 'aimed');
    },
    report: async () => (await asking('report', 'report')) as unknown as TrafficReport,
    stop: async () => (await asking('stop', 'final')) as unknown as TrafficReport,
  };
}

export async function startEcho(
  program: string,
  netns: string,
  host: string,
  ports: readonly number[],
): Promise<Backend> {
  const worker = startWorker('traffic', netns, [program, 'echo', host, ...ports.map(String)]);
  await worker.next('ready');
  return worker;
}

export interface Lost {
  readonly refused: number;
  readonly reset: number;
  readonly hung: number;
  readonly cut: number;
  readonly other: number;
}

/** What went wrong for clients, short and long ones; `cut`: after it had been answered before. */
export function lostOf(reports: readonly TrafficReport[]): Lost {
  const sum = (of: (report: TrafficReport) => number) => reports.reduce((total, report) => total + of(report), 0);
  return {
    refused: sum(({ short, failed }) => short.refused + failed.refused),
    reset: sum(({ short, failed }) => short.reset + short.eof + failed.reset + failed.eof),
    hung: sum(({ short, failed, cut }) => short.hung + failed.hung + cut.hung),
    cut: sum(({ cut }) => cut.refused + cut.reset + cut.eof + cut.other),
    other: sum(({ short, failed }) => short.other + failed.other),
  };
}
