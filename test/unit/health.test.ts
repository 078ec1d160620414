/** When the agent counts as alive and HAProxy as ready, and what the service manager hears of it. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { healthOf } from '../../src/agent/health.js';
import { startNotifier, statusText } from '../../src/agent/notify.js';
import { AT, fakeAgent, idle } from '../support/stated-agent.js';

const MINUTE = 60_000;
const at = (ms: number) => Date.parse(AT) + ms;
const health = (agent: ReturnType<typeof fakeAgent>, now: number) => healthOf(agent.instances.values(), AT, now);

describe('live', () => {
  it('within heartbeat and tolerance of the last reconciliation, and not after', () => {
    const agent = fakeAgent();
    expect(health(agent, at(130_000))).toMatchObject({ live: true, instances: { default: { stale: false } } });
    expect(health(agent, at(130_001))).toMatchObject({ live: false, instances: { default: { stale: true } } });
  });

  it('an instance that was never reconciled is measured from the start of the agent', () => {
    const { reconciledAt: _, ...never } = idle;
    const agent = fakeAgent({ default: { ...never, phase: 'starting' } });
    expect(health(agent, at(MINUTE)).live).toBe(true);
    expect(health(agent, at(3 * MINUTE)).live).toBe(false);
  });

  it('an interval longer than heartbeat and tolerance is no staleness', () => {
    const agent = fakeAgent();
    agent.set('default', idle, { reconcile: { intervalMs: 10 * MINUTE, heartbeatMs: 1000, toleranceMs: 0 } });
    expect(health(agent, at(9 * MINUTE)).live).toBe(true);
  });

  it('a clock that was set back does not make a stalled instance young', () => {
    expect(health(fakeAgent(), at(-60 * MINUTE)).live).toBe(false);
  });

  it('one stale instance is enough', () => {
    const agent = fakeAgent({ one: idle, two: { ...idle, reconciledAt: '2026-08-07T13:00:00.000Z' } });
    expect(health(agent, at(0))).toMatchObject({
      live: false,
      instances: { one: { stale: false }, two: { stale: true } },
    });
  });
});

describe('ready', () => {
  it.each([
    ['all served', idle, true],
    ['working, all served', { ...idle, phase: 'working' as const }, true],
    ['one missing', { ...idle, listeners: { served: 1999, missing: 1, quarantined: 0 } }, false],
    ['stopped on purpose', { ...idle, phase: 'stopped' as const, haproxy: undefined }, true],
    ['failed', { ...idle, phase: 'failed' as const }, false],
    ['starting', { ...idle, phase: 'starting' as const }, false],
  ])('%s: %o', (_name, state, ready) => {
    const { haproxy, ...rest } = state;
    const agent = fakeAgent({ default: { ...rest, ...(haproxy && { haproxy }) } });
    expect(health(agent, at(0)).ready).toBe(ready);
  });

  it('no instance at all is ready, as nothing is asked for', () => {
    expect(health(fakeAgent({}), at(0))).toEqual({ live: true, ready: true, instances: {} });
  });
});

describe('the service manager', () => {
  beforeEach(() => vi.useFakeTimers({ now: at(0) }));
  afterEach(() => vi.useRealTimers());

  function started(environment: NodeJS.ProcessEnv = {}) {
    const agent = fakeAgent();
    const said: string[] = [];
    const live = { value: true };
    const watched = { ...agent, health: () => ({ ...agent.health(), live: live.value }) };
    const notifier = startNotifier(watched, { notify: (message) => said.push(message) > 0, environment, pid: 7 });
    return { agent, said, live, notifier };
  }

  it('hears READY with the state, and WATCHDOG at each heartbeat', () => {
    const { said, notifier } = started();
    notifier.ready();
    vi.advanceTimersByTime(20_000);
    expect(said).toEqual([
      'READY=1\nSTATUS=2000 listeners served by generation 17, 1 quarantined',
      'WATCHDOG=1',
      'WATCHDOG=1',
    ]);
  });

  it('hears no WATCHDOG while the agent is stale', () => {
    const { said, live } = started();
    live.value = false;
    vi.advanceTimersByTime(60_000);
    expect(said.filter((message) => message.includes('WATCHDOG'))).toEqual([]);
  });

  it('hears it at least twice within WATCHDOG_USEC, where that is meant for this process', () => {
    const mine = started({ WATCHDOG_USEC: '4000000', WATCHDOG_PID: '7' });
    vi.advanceTimersByTime(4000);
    expect(mine.said.filter((message) => message === 'WATCHDOG=1')).toHaveLength(2);
    const other = started({ WATCHDOG_USEC: '4000000', WATCHDOG_PID: '8' });
    vi.advanceTimersByTime(4000);
    expect(other.said.filter((message) => message === 'WATCHDOG=1')).toHaveLength(0);
  });

  it('hears RELOADING with the monotonic time, and nothing after STOPPING', () => {
    const { said, notifier } = started();
    notifier.reloading();
    expect(said.at(-1)).toMatch(/^RELOADING=1\nMONOTONIC_USEC=\d+$/);
    notifier.stopping();
    expect(said.at(-1)).toMatch(/^STOPPING=1\n/);
    const before = said.length;
    vi.advanceTimersByTime(60_000);
    expect(said).toHaveLength(before);
  });

  it('gets one line whatever stands in the state', () => {
    const agent = fakeAgent({ one: { ...idle, doing: 'reload:\nREADY=1' }, two: idle });
    expect(statusText(agent)).toBe(
      'one: 2000 listeners served by generation 17, 1 quarantined, reload: READY=1; ' +
        'two: 2000 listeners served by generation 17, 1 quarantined',
    );
  });
});
