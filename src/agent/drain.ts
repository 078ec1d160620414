/**
 * Old HAProxies: what is to be done about those that go on draining, and about strays. The policy is pure; what ends a
 * process looks once more, right before each signal, whether it is not the one that serves.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError, toBerthError } from '../errors.js';
import type { HAProxy, Kernel } from '../reload/env.js';
import { isAlive } from '../reload/prove.js';
import type { HostProcess } from '../reload/processes.js';
import type { Settings } from '../settings.js';
import type { AgentEvent } from './contract.js';

type Policy = Settings['drain'];

/** An old process and what is remembered of it. */
export interface OldProcess {
  readonly process: HostProcess;
  /** How long it drains, or, of a stray, how long it is known. */
  readonly ageMs: number;
  /** It was warned of, or, of a stray, told of. */
  readonly told: boolean;
  /** It was told to end a moment ago. */
  readonly ending: boolean;
}

export interface Judgement {
  readonly process: HostProcess;
  readonly why: string;
}

export interface DrainDecision {
  readonly warn: readonly Judgement[];
  readonly end: readonly Judgement[];
  /** Strays not told of before. */
  readonly strays: readonly HostProcess[];
}

/**
 * Of the draining ones only what Berth started or took over is ever ended: too old ones, then the oldest of too many. One
 * that nobody knows is warned of like any other. Strays are told of once, and ended where the policy says so.
 */
export function drainPolicy(old: readonly OldProcess[], policy: Policy): DrainDecision {
  const draining = old.filter(({ process }) => process.role === 'draining').sort((a, b) => b.ageMs - a.ageMs);
  const strays = old.filter(({ process }) => process.role === 'stray');
  const ours = draining.filter(({ process }) => process.foreign !== true);
  const end = new Map<OldProcess, string>();
  for (const one of ours) {
    if (one.ending || policy.hardStopAfterMs === 0 || one.ageMs < policy.hardStopAfterMs) continue;
    end.set(one, `it drains for ${duration(one.ageMs)}, longer than drain.hardStopAfterMs allows`);
  }
  const staying = ours.filter((one) => !one.ending && !end.has(one));
  const tooMany = policy.maxOldProcesses === 0 ? 0 : Math.max(0, staying.length - policy.maxOldProcesses);
  for (const one of staying.slice(0, tooMany)) {
    end.set(one, `it is the oldest of ${staying.length} that drain, more than drain.maxOldProcesses allows`);
  }
  const warn = draining.filter(
    (one) => !one.told && !one.ending && !end.has(one) && policy.warnAfterMs > 0 && one.ageMs >= policy.warnAfterMs,
  );
  if (policy.strays === 'end') {
    for (const one of strays.filter(({ ending }) => !ending))
      end.set(one, 'it listens where this host serves, and no generation knows it');
  }
  return {
    warn: warn.map(({ process, ageMs }) => ({
      process,
      why: `it drains for ${duration(ageMs)} and still has ${process.connections} connections`,
    })),
    end: [...end].map(([{ process }, why]) => ({ process, why })),
    strays: strays.filter(({ told }) => !told).map(({ process }) => process),
  };
}

type Told = 'old-process-warned' | 'old-process-ended' | 'stray-found' | 'warning';
type WithoutOrigin<T> = T extends unknown ? Omit<T, 'at' | 'instance'> : never;
/** An {@link AgentEvent} before it is said when and of which instance. */
export type DrainEvent = WithoutOrigin<Extract<AgentEvent, { readonly type: Told }>>;

export interface DrainEnvironment {
  readonly haproxy: Pick<HAProxy, 'find' | 'signal'>;
  readonly kernel: Pick<Kernel, 'process'>;
  readonly emit: (event: DrainEvent) => void;
}

export const KILL_AFTER_MS = 5000;
const POLL_MS = 50;

/** Tell what was decided, and end what is to be ended, all at once; resolves when that is over, at the latest after 6 s. */
export async function applyDrain(env: DrainEnvironment, { warn, end, strays }: DrainDecision): Promise<void> {
  for (const { process, why } of warn) env.emit({ type: 'old-process-warned', process, why });
  for (const process of strays) env.emit({ type: 'stray-found', process });
  await Promise.all(
    end.map(async ({ process, why }) => {
      try {
        if (await endOld(env, process)) env.emit({ type: 'old-process-ended', process, why });
      } catch (error) {
        const text = `haproxy[${process.pid}] could not be ended: ${toBerthError(error, 'drain').message}`;
        env.emit({ type: 'warning', text });
      }
    }),
  );
}

/**
 * SIGTERM, and SIGKILL to what still lives after 5 s; both go through a pidfd to the process with these start ticks.
 * @returns false where it had gone by itself
 * @throws BERTH_HAPROXY_UNSUITABLE where it serves, is the master of what serves, or nothing else does: nothing was sent
 */
async function endOld(env: DrainEnvironment, process: HostProcess): Promise<boolean> {
  await refuseServing(env, process);
  if (!(await env.haproxy.signal(process, 'SIGTERM'))) return false;
  const deadline = performance.now() + KILL_AFTER_MS;
  while (performance.now() < deadline) {
    if (!(await isAlive(env.kernel, process))) return true;
    await sleep(POLL_MS);
  }
  await refuseServing(env, process);
  await env.haproxy.signal(process, 'SIGKILL');
  return true;
}

/** A decision is as old as the look that it was made on; a rollback or somebody's `haproxy -sf` may have come between. */
async function refuseServing({ haproxy }: DrainEnvironment, { pid, role }: HostProcess): Promise<void> {
  const running = await haproxy.find();
  const serves = pid === running?.worker.pid || pid === running?.master?.pid;
  // A stray may be all that serves, where ours has died.
  if (!serves && (running || role !== 'stray')) return;
  const why = serves ? 'it serves by now' : 'no other HAProxy serves';
  throw new BerthError('BERTH_HAPROXY_UNSUITABLE', `it was left alone: ${why}`, { step: 'drain' });
}

/** `40 s`, `5 min`, `3 h`. */
function duration(milliseconds: number): string {
  const s = Math.round(milliseconds / 1000);
  if (s < 120) return `${s} s`;
  return s < 7200 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
}
