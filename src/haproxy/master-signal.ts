/** SIGUSR2 to a master without a socket: all that can be observed are its children and its command line. */
import { constants as os } from 'node:os';
import { BerthError } from '../errors.js';
import type { MasterReload, ProcessInfo, RunningHAProxy } from '../reload/env.js';
import { identity } from '../model/process.js';
import { isHAProxy, listening } from './context.js';
import { outcome, remaining, untilAnswered, type Attempt } from './master-wait.js';

/** A master takes up SIGUSR2 at its next turn; one that shows no sign for so long has failed between two looks. */
const NO_SIGN_MS = 3_000;
/** A 2.6 master that has just re-executed itself loses the signal: so it is sent again, until there is a sign. */
const AGAIN_MS = 750;

/**
 * Success: a new worker listens and the one before does not any more. Failure: the new worker has vanished (3.1 and
 * later fork before they read the configuration), or the master has returned to waiting without one: while 2.3 to 3.0
 * reload, their command line begins with `-sf`. 2.2 gives no sign of a failure: then, as when all was too quick to be
 * seen, `success` is undefined.
 */
export async function reloadBySignal(attempt: Attempt, running: RunningHAProxy): Promise<MasterReload> {
  const { context, master } = attempt;
  const before = new Set((await workersOf(attempt)).map(identity));
  const reloadingBefore = isReloading((await context.kernel.process(master.pid)) ?? master);
  const send = async () => {
    if (await context.sendSignal(master.pid, master.startTicks, os.signals.SIGUSR2)) return performance.now();
    throw new BerthError('BERTH_RELOAD_FAILED', `The HAProxy master ${master.pid} is gone`, { step: 'hand-over' });
  };
  const first = await send();
  let sent = first;
  const freshWorker = async () => {
    const workers = await workersOf(attempt);
    return { workers, fresh: workers.find((worker) => !before.has(identity(worker))) };
  };
  let seen = false;
  let began = false;
  // A worker of 3.2 that fails lives for some 10 ms.
  const result = await untilAnswered({ ...attempt, pollMs: 3 }, async (): Promise<Sign | undefined> => {
    const { workers, fresh } = await freshWorker();
    seen ||= fresh !== undefined;
    if (fresh) {
      const serving = await listening(context.kernel, workers);
      return serving.has(fresh.pid) && !serving.has(running.worker.pid) ? { success: true, pid: fresh.pid } : undefined;
    }
    if (seen) return { success: false };
    const now = await context.kernel.process(master.pid);
    // In the middle of execve(2) there is no command line to read.
    if (!now || now.argv.length === 0) return undefined;
    const reloading = isReloading(now);
    began ||= reloading && !reloadingBefore;
    // It forks before it returns to waiting: the worker may have come after the look above.
    if (began && !reloading) return (await freshWorker()).fresh ? undefined : { success: false };
    if (remaining(attempt) === 0 || (!reloading && performance.now() - first > NO_SIGN_MS)) return {};
    if (!reloading && performance.now() - sent > AGAIN_MS) sent = await send();
    return undefined;
  });
  return outcome(attempt, result.success, result.pid, '');
}

interface Sign {
  readonly success?: boolean;
  readonly pid?: number;
}

async function workersOf({ context, master }: Attempt): Promise<ProcessInfo[]> {
  return (await context.kernel.haproxyProcesses()).filter((found) => isHAProxy(found) && found.ppid === master.pid);
}

function isReloading({ argv }: ProcessInfo): boolean {
  return argv[1] === '-sf';
}
