/**
 * One agent takes the place of another: it gets a copy of what the other's keeper holds before that one ends, so that
 * there is no moment at which a dying HAProxy would take its listeners with it. Without a service manager that keeps
 * descriptors this is how Berth is upgraded.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { HandOverReport } from '../client/answers.js';
import { ask } from '../client/transport.js';
import { BerthError } from '../errors.js';

export interface Predecessor {
  readonly pid: number;
  /** Instance → where its listening sockets can be fetched (HAProxy's `_getsocks`). */
  readonly offers: ReadonlyMap<string, string>;
}

const ASK_MS = 10_000;
/** What it is at is finished or undone first. */
const END_MS = 120_000;
const POLL_MS = 20;

/** @returns undefined where no agent answers on the socket: then there is nobody to succeed */
export async function askToHandOver(socket: string): Promise<Predecessor | undefined> {
  try {
    const exchange = { method: 'POST', path: '/v1/hand-over', body: {}, timeoutMs: ASK_MS } as const;
    const { pid, instances } = (await ask(socket, exchange)) as HandOverReport;
    return { pid, offers: new Map(instances.map((one) => [one.name, one.socket])) };
  } catch (error) {
    const gone = ['ENOENT', 'ECONNREFUSED'];
    if (error instanceof BerthError && gone.includes(error.system?.code ?? '')) return undefined;
    throw error;
  }
}

/**
 * Ask it to end (SIGTERM) and wait until it has.
 * @throws BERTH_TIMEOUT: it goes on, and this one must not begin
 */
export async function endPredecessor(
  { pid }: Predecessor,
  env: {
    readonly startTicks: (pid: number) => string | undefined;
    readonly terminate: (pid: number, startTicks: string) => void;
  },
): Promise<void> {
  const startTicks = env.startTicks(pid);
  if (startTicks === undefined) return;
  env.terminate(pid, startTicks);
  const deadline = performance.now() + END_MS;
  while (env.startTicks(pid) === startTicks) {
    if (performance.now() >= deadline) {
      throw new BerthError('BERTH_TIMEOUT', `The agent before (pid ${pid}) was told to end and has not`, {
        step: 'start',
        advice: 'It goes on; see its log',
      });
    }
    await sleep(POLL_MS);
  }
}
