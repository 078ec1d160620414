/** Reloading a HAProxy master: what it answers is evidence, not proof; the kernel decides. */
import { BerthError } from '../errors.js';
import type { HAProxy, MasterReload, RunningHAProxy } from '../reload/env.js';
import { ask, socketError } from './cli.js';
import type { Context } from './context.js';
import { reloadBySignal } from './master-signal.js';
import { outcome, remaining, untilAnswered, type Attempt } from './master-wait.js';
import { handoffLost, showProc } from './show-proc.js';

/** For one answer while polling: a 2.x master may accept into its backlog and re-execute itself before it answers. */
const POLL_LIMIT_MS = 1_000;
/** Of the log of a start, which HAProxy keeps in a ring of 64 KiB (src/errors.c). */
const MOST_BYTES = 1 << 20;

/**
 * By the master socket where there is one, else by SIGUSR2. Returns when the reload has ended; `success` undefined means
 * that the master gave no sign (SIGUSR2 only). An abort or the time limit ends the waiting, not the master's reload.
 * @throws BERTH_TIMEOUT, BERTH_INTERRUPTED, BERTH_HAPROXY_SOCKET (not this master's socket), BERTH_RELOAD_FAILED (the
 *   master died).
 */
export async function reloadMaster(
  context: Context,
  running: RunningHAProxy,
  options: Parameters<HAProxy['reloadMaster']>[1],
): Promise<MasterReload> {
  const { master, masterSocket } = running;
  if (!master) {
    throw new BerthError('BERTH_INTERNAL', 'reloadMaster needs a HAProxy in master-worker mode', { step: 'hand-over' });
  }
  const attempt: Attempt = { context, master, deadline: performance.now() + options.timeoutMs, options };
  return masterSocket === undefined ? reloadBySignal(attempt, running) : reloadBySocket(attempt, masterSocket);
}

async function reloadBySocket(attempt: Attempt, socket: string): Promise<MasterReload> {
  const table = () => showProc(socket, asking(attempt, Math.min(POLL_LIMIT_MS, remaining(attempt))));
  const before = await untilAnswered(attempt, table);
  if (before.master.pid !== attempt.master.pid) {
    throw socketError(socket, `belongs to the master ${before.master.pid}, not to ${attempt.master.pid}`);
  }
  const answer = await untilAnswered(attempt, () => requestReload(attempt, socket));
  const result = reloadAnswer(answer);
  if (result) {
    const after = result.success ? await untilAnswered(attempt, table) : undefined;
    return outcome(attempt, result.success, after?.workers[0]?.pid, result.log);
  }
  // 2.2 to 2.6 answer nothing: the master's count of reloads says when it is over, a new worker that it went well.
  const after = await untilAnswered(attempt, async () => {
    const now = await table();
    return now.master.reloads === before.master.reloads ? undefined : now;
  });
  const known = new Set([...before.workers, ...before.oldWorkers].map(({ pid }) => pid));
  const worker = after.workers.find(({ pid }) => !known.has(pid));
  return outcome(attempt, worker !== undefined, worker?.pid, answer);
}

/**
 * What 2.7 and later answer to `reload` (HAProxy src/cli.c, cli_parse_reload): `Success=N`, `--`, then the log of the start.
 * undefined: something else, as of the older ones.
 */
export function reloadAnswer(answer: string): { readonly success: boolean; readonly log: string } | undefined {
  const result = /^Success=([01])\n(?:--\n)?/.exec(answer);
  return result ? { success: result[1] === '1', log: answer.slice(result[0].length) } : undefined;
}

/** The answer to `reload`; undefined while another reload is in progress. */
async function requestReload(attempt: Attempt, socket: string): Promise<string | undefined> {
  try {
    // 3.2 does not close after an answer in the middle of a reload.
    const answer = await ask(socket, 'reload', {
      ...asking(attempt, remaining(attempt)),
      untilEmptyLine: true,
      mostBytes: MOST_BYTES,
    });
    return /still in progress/i.test(answer) ? undefined : answer;
  } catch (error) {
    // A 2.x master closes by re-executing itself: a reset after the command is as good as an end.
    if (error instanceof BerthError && error.system?.code === 'ECONNRESET') return '';
    throw error;
  }
}

function asking({ options }: Attempt, timeoutMs: number) {
  return { timeoutMs, ...(options.signal && { signal: options.signal }) };
}

/** Would the next reload bind anew? A master that somebody else has just reloaded may be away for a moment: it is waited for. */
export async function losesHandoff(
  context: Context,
  { master, masterSocket }: RunningHAProxy,
  timeoutMs: number,
): Promise<boolean> {
  if (!master || masterSocket === undefined) return false;
  const attempt: Attempt = { context, master, deadline: performance.now() + timeoutMs, options: { timeoutMs } };
  const limit = () => Math.max(1, Math.min(POLL_LIMIT_MS, remaining(attempt)));
  return handoffLost(await untilAnswered(attempt, () => showProc(masterSocket, asking(attempt, limit()))));
}
