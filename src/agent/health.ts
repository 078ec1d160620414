/** Does the agent live, and does HAProxy serve: what the health endpoints, the metrics and the watchdog say. */
import type { HealthReport, Instance } from './contract.js';

/**
 * Live: every instance was compared with the kernel within its heartbeat (or its reconciliation interval, where that is
 * longer) and the tolerance. Ready: every instance that was not stopped on purpose serves all its listeners; what is
 * quarantined does not count, for nothing that restarts or takes traffic away would bring it up.
 * @param startedAt ISO; an instance that was never compared is measured from here
 * @param now milliseconds since the epoch
 */
export function healthOf(instances: Iterable<Instance>, startedAt: string, now: number): HealthReport {
  const each = [...instances].map((one) => [one, isStale(one, startedAt, now)] as const);
  return {
    live: each.every(([, stale]) => !stale),
    ready: each.every(([one]) => isReady(one)),
    instances: Object.fromEntries(
      each.map(([{ name, state }, stale]) => [name, { phase: state.phase, stale, problems: state.problems }]),
    ),
  };
}

function isStale({ state, settings }: Instance, startedAt: string, now: number): boolean {
  const { heartbeatMs, intervalMs, toleranceMs } = settings.reconcile;
  // A clock set back would make a stalled instance look young for ever; either way the next comparison sets it right.
  const age = Math.abs(now - Date.parse(state.reconciledAt ?? startedAt));
  return age > Math.max(heartbeatMs, intervalMs) + toleranceMs;
}

function isReady({ state: { phase, listeners, haproxy } }: Instance): boolean {
  if (phase === 'stopped') return true;
  return phase !== 'starting' && phase !== 'failed' && haproxy !== undefined && listeners.missing === 0;
}
