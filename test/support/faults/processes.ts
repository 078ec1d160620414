/** Faults of processes and of time: HAProxy ends, stops or hangs, the clock jumps. */
import type { ChildProcess } from 'node:child_process';
import type { ProcessInfo } from '../../../src/reload/env.js';
import type { Call } from './calls.js';
import type { Fault } from './matrix.js';
import { type Scene, signalQuietly } from './scene.js';

type Victim = 'new HAProxy' | 'old HAProxy' | 'master';

/** From when on there is one, by the phase of the reload; a first start has nobody before. */
const LATE = /^(hand over|after hand over|verify|after verify|commit|after commit|retire|after retire|release)$/;

function victims(scene: Scene, victim: Victim, before: ReadonlySet<number>): ProcessInfo[] {
  const all = scene.haproxies();
  // A worker has its master's command line; what tells them apart is who is whose child.
  const isMaster = ({ ppid }: ProcessInfo) => scene.mode === 'master-worker' && !all.some(({ pid }) => pid === ppid);
  if (victim === 'master') return all.filter(isMaster);
  const workers = all.filter((one) => !isMaster(one));
  return workers.filter(({ pid }) => before.has(pid) === (victim === 'old HAProxy'));
}

function strikes(victim: Victim): Fault['strikes'] {
  return ({ phase }, kind, mode) =>
    (victim !== 'master' || mode === 'master-worker') &&
    (kind === 'first' || victim === 'new HAProxy'
      ? LATE.test(phase) && !(kind === 'first' && victim === 'old HAProxy')
      : true);
}

/** A signal to the victim at this call, or at the first one behind it at which there is a victim. */
function signalled(signal: 'SIGKILL' | 'SIGSTOP', victim: Victim): Fault {
  return {
    name: `${signal === 'SIGKILL' ? 'kill -9' : 'SIGSTOP'} of the ${victim}`,
    strikes: strikes(victim),
    begin: (scene, { kind }) => {
      const before = new Set(scene.haproxies().map(({ pid }) => pid));
      let hit = 0;
      return {
        strike: () => {
          if (hit > 0) return undefined;
          for (const { pid } of victims(scene, victim, before)) {
            signalQuietly(pid, signal);
            hit++;
          }
          return undefined;
        },
        missed: () => hit === 0,
        // A master takes its workers with it, and ends with any of them (exit-on-failure, HAProxy src/mworker.c).
        orphaned: ({ phase }) =>
          signal === 'SIGKILL' &&
          (kind === 'first' ||
            scene.mode === 'master-worker' ||
            victim === 'old HAProxy' ||
            // Where the machine is busy it dies when Berth has had its last look at it.
            /after verify|commit|retire|release/.test(phase)),
      };
    },
  };
}

/** What Berth starts stops right away and never ends by itself. */
const HANG: Fault = {
  name: 'a hang of what it starts',
  strikes: ({ name }) => name.startsWith('spawn '),
  begin: () => ({
    strike: (_call, first) => {
      if (!first) return undefined;
      return (child) => signalQuietly((child as ChildProcess).pid ?? 0, 'SIGSTOP');
    },
    expect: ({ error }) => (error ? undefined : 'the reload reports success'),
  }),
};

/** The wall clock is set while Berth works. */
function clock(days: 1 | -1): Fault {
  return {
    name: `the clock jumps a day ${days > 0 ? 'ahead' : 'back'}`,
    strikes: () => true,
    begin: () => {
      const real = globalThis.Date;
      return {
        strike: (_call: Call, first: boolean) => {
          if (first) globalThis.Date = shifted(real, days * 86_400_000);
          return undefined;
        },
        end: () => {
          globalThis.Date = real;
        },
        expect: ({ error }) => error && `the reload fails: ${error.message}`,
      };
    },
  };
}

function shifted(real: DateConstructor, ms: number): DateConstructor {
  return class extends real {
    constructor(...args: [] | [string | number | Date]) {
      if (args.length === 0) super(real.now() + ms);
      else super(...args);
    }
    static override now(): number {
      return real.now() + ms;
    }
  } as DateConstructor;
}

/** The old HAProxy answers nothing and stops at nothing, while the clock is set back: only Berth's own limits end a wait. */
function stoppedAndSetBack(): Fault {
  const stop = signalled('SIGSTOP', 'old HAProxy');
  const back = clock(-1);
  return {
    name: 'SIGSTOP of the old HAProxy, and the clock jumps a day back',
    strikes: (step, kind, mode) => step.phase === 'hand over' && kind === 'reload' && stop.strikes(step, kind, mode),
    begin: (scene, change) => {
      const [one, other] = [stop.begin(scene, change), back.begin(scene, change)];
      return {
        strike: (call, first) => {
          void one.strike(call, first);
          return other.strike(call, first);
        },
        end: () => other.end?.(),
      };
    },
  };
}

export const KILLS: readonly Fault[] = (['new HAProxy', 'old HAProxy', 'master'] as const).map((victim) =>
  signalled('SIGKILL', victim),
);

export const STOPS: readonly Fault[] = [
  ...(['new HAProxy', 'old HAProxy', 'master'] as const).map((victim) => signalled('SIGSTOP', victim)),
  HANG,
  clock(1),
  clock(-1),
  stoppedAndSetBack(),
];
