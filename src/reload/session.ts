import type { HostContext, ReloadContext } from './context.js';
import type { Journal } from './journal.js';
import { recover } from './recover.js';
import type { RecoveryReport } from './reports.js';

/**
 * Work on the state directory alone: lock it, open the journal, bring an unfinished transaction to its end, and then do it.
 * @param doing for whoever finds the lock taken, `stop`
 * @throws BERTH_LOCKED, BERTH_JOURNAL, and what `work` throws
 */
export async function withJournal<T>(
  host: HostContext,
  doing: string,
  work: (context: ReloadContext, recovery: RecoveryReport | undefined) => Promise<T>,
): Promise<T> {
  const lock = await host.state.lock(`berth ${doing}`, host.settings.lockWaitMs);
  let journal: Journal | undefined;
  try {
    journal = await host.openJournal();
    tellDropped(host, journal);
    const context = { ...host, journal };
    return await work(context, await recover(context));
  } finally {
    await journal?.close();
    lock.release();
  }
}

/** Bring a transaction that was cut off to its end; undefined where there is none. */
export function recoverUnfinished(host: HostContext): Promise<RecoveryReport | undefined> {
  return withJournal(host, 'recover', (_, recovery) => Promise.resolve(recovery));
}

function tellDropped({ observer }: HostContext, { path, dropped }: Journal): void {
  if (!dropped) return;
  observer({ type: 'warning', text: `${path}: ${dropped.bytes} bytes at its end are ${dropped.why}; left out` });
}
