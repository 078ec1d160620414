import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { applyDrain, type DrainEvent, drainPolicy, type OldProcess } from '../../src/agent/drain.js';
import { OldProcesses } from '../../src/agent/old-processes.js';
import type { RunningHAProxy } from '../../src/reload/env.js';
import type { HostProcess } from '../../src/reload/processes.js';
import type { Settings } from '../../src/settings.js';
import { processInfo } from '../support/fake-kernel.js';

const MINUTE = 60_000;
const policy = (more: Partial<Settings['drain']> = {}): Settings['drain'] => ({
  hardStopAfterMs: 0,
  warnAfterMs: 0,
  maxOldProcesses: 0,
  strays: 'report',
  ...more,
});

function hostProcess(pid: number, more: Partial<HostProcess> = {}): HostProcess {
  const startedAt = '2026-11-24T10:00:00.000Z';
  return { pid, startTicks: String(pid), role: 'draining', startedAt, connections: 3, ports: '80', ...more };
}

function old(pid: number, ageMs: number, more: Partial<OldProcess> = {}, about: Partial<HostProcess> = {}): OldProcess {
  return { process: hostProcess(pid, about), ageMs, told: false, ending: false, ...more };
}

const pids = (list: readonly { readonly process: HostProcess }[]) => list.map(({ process }) => process.pid);

describe('the policy', () => {
  it('does nothing where nothing is set', () => {
    const all = [old(1, 1e9), old(2, 0, {}, { role: 'stray', foreign: true })];
    expect(drainPolicy(all, policy())).toMatchObject({ warn: [], end: [], strays: [{ pid: 2 }] });
  });

  it('ends what drains too long', () => {
    const { end } = drainPolicy([old(1, MINUTE), old(2, MINUTE - 1)], policy({ hardStopAfterMs: MINUTE }));
    expect(pids(end)).toEqual([1]);
    expect(end[0]?.why).toBe('it drains for 60 s, longer than drain.hardStopAfterMs allows');
  });

  it('ends the oldest of too many, and counts only those that stay', () => {
    const four = [old(1, 10), old(2, 40), old(3, 30), old(4, 20)];
    expect(pids(drainPolicy(four, policy({ maxOldProcesses: 2 })).end)).toEqual([2, 3]);
    expect(pids(drainPolicy(four, policy({ maxOldProcesses: 2, hardStopAfterMs: 25 })).end)).toEqual([2, 3]);
    const leaving = four.map((one) => ({ ...one, ending: one.process.pid === 2 }));
    expect(pids(drainPolicy(leaving, policy({ maxOldProcesses: 2 })).end)).toEqual([3]);
    expect(pids(drainPolicy(leaving, policy({ hardStopAfterMs: 35 })).end)).toEqual([]);
  });

  it('never ends what is not ours by the rules of draining, and does not count it', () => {
    const all = [old(1, 1e9, {}, { foreign: true }), old(2, 10)];
    expect(drainPolicy(all, policy({ hardStopAfterMs: 1000, maxOldProcesses: 1 })).end).toEqual([]);
    expect(pids(drainPolicy(all, policy({ warnAfterMs: 1000 })).warn)).toEqual([1]);
  });

  it('warns once, not of what it ends, and not of strays', () => {
    const all = [old(1, MINUTE), old(2, MINUTE, { told: true }), old(3, 0), old(4, MINUTE, {}, { role: 'stray' })];
    const { warn } = drainPolicy(all, policy({ warnAfterMs: MINUTE }));
    expect(pids(warn)).toEqual([1]);
    expect(warn[0]?.why).toBe('it drains for 60 s and still has 3 connections');
    expect(drainPolicy(all, policy({ warnAfterMs: MINUTE, hardStopAfterMs: MINUTE })).warn).toEqual([]);
  });

  it('tells of a stray once, and ends it only where that is asked for', () => {
    const stray = old(1, 0, {}, { role: 'stray', foreign: true });
    expect(drainPolicy([stray], policy())).toMatchObject({ strays: [{ pid: 1 }], end: [] });
    expect(drainPolicy([{ ...stray, told: true }], policy()).strays).toEqual([]);
    expect(pids(drainPolicy([{ ...stray, told: true }], policy({ strays: 'end' })).end)).toEqual([1]);
  });
});

describe('what is remembered from look to look', () => {
  const since = '2026-11-24T10:00:00.000Z';
  const clock = { now: Date.parse(since), up: 10 * MINUTE };
  const memory = () => new OldProcesses({ wall: () => clock.now, boot: () => clock.up });
  const pass = (ms: number) => {
    clock.now += ms;
    clock.up += ms;
  };
  const ages = (looked: readonly OldProcess[]) => looked.map(({ ageMs }) => ageMs);

  it('the age counts from when it was told to stop, else from the first look', () => {
    const processes = memory();
    pass(1000);
    const both = [hostProcess(1, { since }), hostProcess(2)];
    expect(ages(processes.look(both))).toEqual([1000, 0]);
    pass(500);
    expect(ages(processes.look(both))).toEqual([1500, 500]);
  });

  it('a clock that is set ages nobody, and a process is never older than its life', () => {
    const processes = memory();
    const one = hostProcess(1, { since: new Date(clock.now).toISOString() });
    processes.look([one]);
    clock.now += 365 * 24 * 60 * MINUTE;
    expect(ages(processes.look([one]))).toEqual([0]);
    const startTicks = String((clock.up - 2000) / 10);
    expect(ages(processes.look([hostProcess(2, { since, startTicks })]))).toEqual([2000]);
    clock.now = 0;
    expect(ages(processes.look([hostProcess(3, { since })]))).toEqual([0]);
  });

  it('what was told is told once in a life; another process with the same pid is another', () => {
    const processes = memory();
    const first = hostProcess(1);
    processes.look([first]);
    processes.told({ warn: [{ process: first, why: '' }], end: [], strays: [] });
    expect(processes.look([first])[0]?.told).toBe(true);
    expect(processes.look([hostProcess(1, { startTicks: '77' })])[0]?.told).toBe(false);
    expect(processes.look([first])[0]?.told).toBe(false);
  });

  it('what is being ended is not ended again, until that has evidently failed', () => {
    const processes = memory();
    const one = hostProcess(1);
    processes.look([one]);
    processes.told({ warn: [], end: [{ process: one, why: '' }], strays: [] });
    expect(processes.look([one])[0]?.ending).toBe(true);
    pass(10_000);
    expect(processes.look([one])[0]?.ending).toBe(false);
  });

  it('the serving one and its master are no old processes', () => {
    expect(memory().look([hostProcess(1, { role: 'serving' }), hostProcess(2, { role: 'master' })])).toEqual([]);
  });
});

describe('ending', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  function stage({ diesOf, serving = 1 }: { readonly diesOf: string; readonly serving?: number }) {
    const events: DrainEvent[] = [];
    const sent: string[] = [];
    let alive = true;
    const running: RunningHAProxy | undefined =
      serving === 0
        ? undefined
        : { mode: 'standalone', worker: processInfo(serving), draining: [], foundBy: 'pid-file' };
    const env = {
      haproxy: {
        find: () => Promise.resolve(running),
        signal: ({ pid }: { readonly pid: number }, signal: string) => {
          if (!alive) return Promise.resolve(false);
          sent.push(`${signal} ${pid}`);
          if (signal === diesOf) alive = false;
          return Promise.resolve(true);
        },
      },
      kernel: { process: (pid: number) => Promise.resolve(alive ? processInfo(pid, { startTicks: '5' }) : undefined) },
      emit: (event: DrainEvent) => void events.push(event),
    };
    return { env, events, sent };
  }

  async function end(stage: { readonly env: Parameters<typeof applyDrain>[0] }, process: HostProcess): Promise<void> {
    const applied = applyDrain(stage.env, { warn: [], end: [{ process, why: 'because' }], strays: [] });
    await vi.advanceTimersByTimeAsync(6000);
    await applied;
  }

  const target = hostProcess(5, { startTicks: '5' });

  it('SIGTERM, and no more where that is enough', async () => {
    const staged = stage({ diesOf: 'SIGTERM' });
    await end(staged, target);
    expect(staged.sent).toEqual(['SIGTERM 5']);
    expect(staged.events).toEqual([{ type: 'old-process-ended', process: target, why: 'because' }]);
  });

  it('SIGKILL to what still lives after 5 s', async () => {
    const staged = stage({ diesOf: 'SIGKILL' });
    await end(staged, target);
    expect(staged.sent).toEqual(['SIGTERM 5', 'SIGKILL 5']);
    expect(staged.events).toHaveLength(1);
  });

  it('never the one that serves by now', async () => {
    const staged = stage({ diesOf: 'SIGTERM', serving: 5 });
    await end(staged, target);
    expect(staged.sent).toEqual([]);
    const text = 'haproxy[5] could not be ended: it was left alone: it serves by now';
    expect(staged.events).toEqual([{ type: 'warning', text }]);
  });

  it('a stray is left alone where nothing else serves; a draining one serves nobody new', async () => {
    const alone = stage({ diesOf: 'SIGTERM', serving: 0 });
    await end(alone, { ...target, role: 'stray' });
    expect(alone.sent).toEqual([]);
    await end(alone, target);
    expect(alone.sent).toEqual(['SIGTERM 5']);
  });

  it('tells of warnings and strays', async () => {
    const { env, events } = stage({ diesOf: '' });
    await applyDrain(env, { warn: [{ process: target, why: 'old' }], end: [], strays: [target] });
    expect(events.map(({ type }) => type)).toEqual(['old-process-warned', 'stray-found']);
  });
});
