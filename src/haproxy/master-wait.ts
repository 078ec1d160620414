/** Waiting for a HAProxy master that is deaf while it reloads: it re-executes itself and closes its socket on the way. */
import { BerthError, toBerthError } from '../errors.js';
import type { HAProxy, MasterReload, ProcessInfo } from '../reload/env.js';
import { identity } from '../model/process.js';
import { isHAProxy, sleep, type Context } from './context.js';
import { parseMessages } from './messages.js';

/** One reload of one master, with its limits. */
export interface Attempt {
  readonly context: Context;
  readonly master: ProcessInfo;
  /** performance.now() of the end of `options.timeoutMs`: the wall clock can be set while Berth waits. */
  readonly deadline: number;
  readonly options: Parameters<HAProxy['reloadMaster']>[1];
  /** Milliseconds between two looks, default 20. */
  readonly pollMs?: number;
}

const POLL_MS = 20;
/** What a socket does whose owner is just re-executing itself. */
const PASSING = new Set(['ECONNREFUSED', 'ECONNRESET', 'ENOENT', 'EPIPE', 'EAGAIN']);

/** Ask again and again until the question has an answer, the time is over, the caller aborts or the master is dead. */
export async function untilAnswered<T>(attempt: Attempt, question: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    let last: BerthError | undefined;
    try {
      const answer = await question();
      if (answer !== undefined) return answer;
    } catch (error) {
      last = toBerthError(error, 'hand-over');
      if (!mayPass(last)) throw last;
    }
    await pause(attempt, last);
  }
}

/** Refused, reset, silent or ended without a word: the master may be away. An answer in another language is a stranger's. */
function mayPass(error: BerthError): boolean {
  if (error.code !== 'BERTH_HAPROXY_SOCKET') return false;
  return PASSING.has(error.system?.code ?? '') || error.details['silent'] === true;
}

async function pause(attempt: Attempt, last?: BerthError): Promise<void> {
  const { context, master, options } = attempt;
  const step = 'hand-over';
  if (options.signal?.aborted) {
    throw new BerthError('BERTH_INTERRUPTED', `Interrupted while the HAProxy master ${master.pid} was reloading`, {
      step,
    });
  }
  const now = await context.kernel.process(master.pid);
  if (!isHAProxy(now) || identity(now) !== identity(master)) {
    throw new BerthError('BERTH_RELOAD_FAILED', `The HAProxy master ${master.pid} died while reloading`, {
      step,
      cause: last,
    });
  }
  if (remaining(attempt) === 0) {
    const why = `The HAProxy master ${master.pid} had not reloaded after ${options.timeoutMs} ms`;
    throw new BerthError('BERTH_TIMEOUT', why, { step, cause: last });
  }
  await sleep(attempt.pollMs ?? POLL_MS);
}

/** Milliseconds left. */
export function remaining({ deadline }: Attempt): number {
  return Math.max(0, deadline - performance.now());
}

export async function outcome(
  { context }: Attempt,
  success: boolean | undefined,
  pid: number | undefined,
  log: string,
): Promise<MasterReload> {
  const worker = pid === undefined ? undefined : await context.kernel.process(pid);
  return {
    ...(success !== undefined && { success }),
    ...(isHAProxy(worker) && { worker }),
    messages: parseMessages(log),
  };
}
