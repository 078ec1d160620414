/** When a HAProxy that was started is really up. */
import { BerthError } from '../errors.js';
import type { HAProxy, HAProxyMessage, ProcessInfo } from '../reload/env.js';
import { identity } from '../model/process.js';
import { isDead, isHAProxy, listening, livingHAProxies, sleep, type Context } from './context.js';
import { summary } from './messages.js';
import { readPidFile } from './pid-file.js';
import { showProc } from './show-proc.js';

export type StartOptions = Parameters<HAProxy['start']>[1];

/** A start whose command has returned with status 0. */
export interface Launch {
  readonly options: StartOptions;
  /** Identities of the HAProxy processes that were there before. */
  readonly before: ReadonlySet<string>;
  /** performance.now() of the end of `options.timeoutMs`: the wall clock can be set while Berth waits. */
  readonly deadline: number;
  /** What HAProxy has said until now: in the background it goes on saying why it ends (HAProxy 2.2, set_identity). */
  readonly said: () => Promise<readonly HAProxyMessage[]>;
}

const POLL_MS = 5;
const step = 'hand-over';

/** The process that the pid file names; a master once it can take orders. */
export async function awaitStarted(context: Context, launch: Launch): Promise<ProcessInfo> {
  const started = await until(launch, () => namedProcess(context, launch));
  if (launch.options.mode === 'master-worker') await until(launch, () => masterIsReady(context, launch, started));
  return started;
}

/** Look again and again until there is something. */
async function until<T>(launch: Launch, look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    if (launch.options.signal?.aborted) throw interrupted();
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() >= launch.deadline) throw late(launch.options, await launch.said());
    await sleep(POLL_MS);
  }
}

/** The process of the pid file, once it is a HAProxy that was not there before. */
async function namedProcess({ kernel }: Context, { options, before, said }: Launch): Promise<ProcessInfo | undefined> {
  const pids = (await readPidFile(options.pidFile)) ?? [];
  if (pids.length > 1) {
    const why = `nbproc starts ${pids.length} processes; a reload needs exactly one`;
    throw new BerthError('BERTH_HAPROXY_UNSUITABLE', why, { step, advice: 'Replace nbproc by nbthread' });
  }
  const found = pids[0] === undefined ? undefined : await kernel.process(pids[0]);
  if (pids.length > 0 && isDead(found)) throw died(await said());
  return isHAProxy(found) && !before.has(identity(found)) ? found : undefined;
}

/**
 * A master of 2.3 to 3.0 re-executes itself once more after its start has returned; until then it is deaf on its
 * socket, ignores SIGUSR2 and still holds the listeners.
 */
async function masterIsReady(context: Context, launch: Launch, master: ProcessInfo): Promise<true | undefined> {
  if (isDead(await context.kernel.process(master.pid))) throw died(await launch.said());
  const workers = (await livingHAProxies(context.kernel)).filter(({ ppid }) => ppid === master.pid);
  if (workers.length === 0 || (await listening(context.kernel, [master])).size > 0) return undefined;
  const { masterSocket } = launch.options;
  if (masterSocket === undefined) return true;
  const table = await showProc(masterSocket, { timeoutMs: 1_000 }).catch(() => undefined);
  return table?.master.pid === master.pid && table.workers.length > 0 ? true : undefined;
}

function died(messages: readonly HAProxyMessage[]): BerthError {
  const why = `The new HAProxy died right after its start: ${summary(messages)}`;
  return new BerthError('BERTH_RELOAD_FAILED', why, { step, details: { messages } });
}

export function interrupted(): BerthError {
  return new BerthError('BERTH_INTERRUPTED', 'Interrupted while HAProxy was starting; it was ended', { step });
}

export function late(options: StartOptions, messages: readonly HAProxyMessage[]): BerthError {
  const why = `The new HAProxy was not up after ${options.timeoutMs} ms and was ended: ${summary(messages)}`;
  return new BerthError('BERTH_TIMEOUT', why, { step, details: { messages } });
}
