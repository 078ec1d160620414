/** SIGUSR2 to a master without a socket: all that can be observed are its children and its command line. */
import { constants as os } from 'node:os';
import { BerthError } from '../errors.js';
import type { MasterReload, ProcessInfo, RunningHAProxy } from '../reload/env.js';
import { identity, isHAProxy } from './context.js';
import { listening } from './find.js';
import { outcome, remaining, untilAnswered, type Attempt } from './master-wait.js';

/** A master takes up SIGUSR2 at its next turn; one that shows no sign for so long has failed between two looks. */
const NO_SIGN_MS = 3_000;

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
  if (!(await context.sendSignal(master.pid, master.startTicks, os.signals.SIGUSR2))) {
    throw new BerthError('BERTH_RELOAD_FAILED', `The HAProxy master ${master.pid} is gone`, { step: 'hand-over' });
  }
  const sent = Date.now();
  const seen = new Map<string, ProcessInfo>();
  let began = false;
  const result = await untilAnswered(attempt, async (): Promise<Sign | undefined> => {
    const workers = await workersOf(attempt);
    for (const worker of workers) if (!before.has(identity(worker))) seen.set(identity(worker), worker);
    const fresh = workers.find((worker) => !before.has(identity(worker)));
    if (fresh) {
      const serving = await listening(context, workers);
      return serving.has(fresh.pid) && !serving.has(running.worker.pid) ? { success: true, pid: fresh.pid } : undefined;
    }
    if (seen.size > 0) return { success: false };
    const reloading = isReloading((await context.kernel.process(master.pid)) ?? master);
    began ||= reloading && !reloadingBefore;
    if (began && !reloading) return { success: false };
    const quiet = !reloading && Date.now() - sent > NO_SIGN_MS;
    return quiet || remaining(attempt) === 0 ? {} : undefined;
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
