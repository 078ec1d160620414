import type { HostContext, ReloadContext } from './context.js';
import type { Journal } from './journal.js';
import { recover } from './recover.js';
import type { RecoveryReport } from './reports.js';

/** Work while nobody else works on the state directory. @throws BERTH_LOCKED @param doing for whoever finds the lock taken */
export async function withLock<T>(
  { state, settings }: Pick<HostContext, 'state' | 'settings'>,
  doing: string,
  work: () => Promise<T>,
): Promise<T> {
  const lock = await state.lock(`berth ${doing}`, settings.lockWaitMs);
  try {
    return await work();
  } finally {
    lock.release();
  }
}

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
  return withLock(host, doing, async () => {
    const journal = await host.openJournal();
    try {
      tellDropped(host, journal);
      const context = { ...host, journal };
      return await work(context, await recover(context));
    } finally {
      await journal.close();
    }
  });
}

/** Bring a transaction that was cut off to its end; undefined where there is none. */
export function recoverUnfinished(host: HostContext): Promise<RecoveryReport | undefined> {
  return withJournal(host, 'recover', (_, recovery) => Promise.resolve(recovery));
}

function tellDropped({ observer }: HostContext, { path, dropped }: Journal): void {
  if (!dropped) return;
  observer({ type: 'warning', text: `${path}: ${dropped.bytes} bytes at its end are ${dropped.why}; left out` });
}
