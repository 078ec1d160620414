/** A reload from the outside: lock, recover, try, try again without what cannot be had, remember how it went. */
import { BerthError, toBerthError } from '../errors.js';
import { endpointKey } from '../model/endpoint.js';
import type { SecureStep } from '../model/plan.js';
import { apply } from './apply.js';
import { failedWith, rememberAttempt } from './attempt.js';
import type { HostContext, ReloadContext, ReloadRequest } from './context.js';
import { lastGood, listGenerations } from './generations.js';
import { forgetHalt } from './halt.js';
import type { AttemptReport, RecoveryReport, ReloadReport } from './reports.js';
import { rollbackTarget } from './rollback.js';
import { withJournal } from './session.js';
import { Unsolved } from './unsolved.js';

/**
 * From a configuration to served listeners. Rejects with a BerthError where the new configuration cannot go live: then the
 * HAProxy that served before serves, and everything else is as it was.
 */
export async function reload(host: HostContext, request: ReloadRequest): Promise<ReloadReport> {
  return withJournal(host, request.reason, async (context, recovery) => {
    try {
      const report = await insist(context, request, recovery);
      tellHow(context, request, { outcome: report.outcome });
      forgetHalt(context.state);
      return report;
    } catch (thrown) {
      const failure = toBerthError(thrown, 'reload');
      const instead = await serveLastGood(context, request, failure, recovery);
      if (failure.code !== 'BERTH_INTERRUPTED') {
        const served = instead && { instead: instead.generation };
        tellHow(context, request, { outcome: 'failed', error: failedWith(failure), ...served });
      }
      if (instead) return { ...instead, insteadOf: { sources: request.sources, error: failedWith(failure) } };
      throw failure;
    }
  });
}

function tellHow(
  { state }: ReloadContext,
  { reason, sources }: ReloadRequest,
  how: Pick<AttemptReport, 'outcome' | 'error' | 'instead'>,
): void {
  try {
    rememberAttempt(state, { at: new Date().toISOString(), reason, sources, ...how });
  } catch {
    // A full disk: the report says it all the same.
  }
}

async function insist(
  context: ReloadContext,
  request: ReloadRequest,
  recovery: RecoveryReport | undefined,
): Promise<ReloadReport> {
  const without = new Map<string, SecureStep>();
  for (let changes = 0; ;) {
    try {
      return await apply(context, request, without, recovery);
    } catch (error) {
      // What the ladder could not secure is left out of the next attempt from the start; each one leaves out more.
      if (error instanceof Unsolved) for (const step of error.steps) without.set(endpointKey(step.bind.endpoint), step);
      else if (!changedMeanwhile(error) || ++changes > CHANGES) throw error;
    }
  }
}

/** Nothing serves, and what was asked for cannot: an older configuration is better than none. */
async function serveLastGood(
  context: ReloadContext,
  request: ReloadRequest,
  failure: BerthError,
  recovery: RecoveryReport | undefined,
): Promise<ReloadReport | undefined> {
  if (request.orLastGood !== true || failure.code === 'BERTH_INTERRUPTED') return undefined;
  try {
    if (await context.haproxy.find()) return undefined;
    const good = lastGood(await listGenerations(context.state));
    if (!good) return undefined;
    context.observer({ type: 'warning', text: `${failure.message}; serving generation ${good.number} instead` });
    const target = await rollbackTarget(context.state, good.number);
    return await insist(context, { ...target, reason: `generation ${good.number} instead` }, recovery);
  } catch (error) {
    context.observer({
      type: 'warning',
      text: `The last good generation cannot be served: ${toBerthError(error, 'reload').message}`,
    });
    return undefined;
  }
}

/** An agent that renders its configuration while it is read (lbagent swaps a symlink) is followed so many times. */
const CHANGES = 3;

function changedMeanwhile(error: unknown): boolean {
  return error instanceof BerthError && error.code === 'BERTH_CONFIG_UNREADABLE' && error.details['changed'] === true;
}
