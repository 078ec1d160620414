/** How a HAProxy ended, and whether somebody wanted it. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { describeEnd, isDeliberate, Life } from '../../src/agent/life.js';
import { Queue } from '../../src/agent/queue.js';
import { Restarts } from '../../src/agent/restarts.js';
import { wasStopped } from '../../src/haproxy/unit.js';
import type { ServedSocket } from '../../src/model/plan.js';
import type { ProcessInfo } from '../../src/reload/env.js';

const directory = mkdtempSync(join(tmpdir(), 'berth-life-'));
afterAll(() => rmSync(directory, { recursive: true }));

describe('the end of a HAProxy', () => {
  it('is deliberate where it left by itself or by a stop signal', () => {
    expect(isDeliberate({ how: 'exited', status: 0 })).toBe(true);
    expect(isDeliberate({ how: 'exited', status: 143 })).toBe(true);
    expect(isDeliberate({ how: 'killed', signal: 'SIGTERM', core: false })).toBe(true);
  });

  it('is a crash where it was killed, failed, or nobody knows', () => {
    expect(isDeliberate({ how: 'killed', signal: 'SIGKILL', core: false })).toBe(false);
    expect(isDeliberate({ how: 'killed', signal: 'SIGSEGV', core: true })).toBe(false);
    expect(isDeliberate({ how: 'exited', status: 1 })).toBe(false);
    expect(isDeliberate({ how: 'unknown' })).toBe(false);
    expect(describeEnd({ how: 'killed', signal: 'SIGSEGV', core: true })).toBe('SIGSEGV (core dumped)');
  });

  it.each([
    ['a stop under way', 'deactivating', 'success', true],
    ['a stop that is over', 'inactive', 'success', true],
    ['a segfault', 'failed', 'core-dump', false],
    ['a kill -9 that systemd answers with a restart', 'activating', 'signal', false],
    ['the OOM killer', 'failed', 'oom-kill', false],
  ])('by systemd: %s', async (_, state, result, expected) => {
    const systemctl = join(directory, 'systemctl');
    writeFileSync(
      systemctl,
      `#!/bin/sh\n[ "$5" = haproxy.service ] && echo ActiveState=${state} && echo Result=${result}\n`,
    );
    chmodSync(systemctl, 0o755);
    expect(await wasStopped('haproxy.service', { PATH: `${directory}:${process.env['PATH'] ?? ''}` })).toBe(expected);
  });

  it('without systemd nobody knows', async () => {
    expect(await wasStopped('haproxy.service', { PATH: '/nowhere' })).toBe(false);
    expect(await wasStopped('container 0123456789ab')).toBe(false);
  });
});

describe('the life of a HAProxy', () => {
  it('ends, or gives up listeners; each is told once, and nothing after another one is watched', async () => {
    vi.useFakeTimers();
    const told: string[] = [];
    let end = (_: { how: 'unknown' }): void => undefined;
    let inode = 7;
    const life = new Life(
      {
        watchExit: () => ({ ended: new Promise((resolve) => (end = resolve)), stop: () => undefined }),
        socketAt: () => inode,
        wasStopped: () => Promise.resolve(false),
      },
      { end: ({ pid }) => void told.push(`end ${pid}`), loss: ({ pid }) => void told.push(`loss ${pid}`) },
    );
    const process = (pid: number) => ({ pid, startTicks: '1' }) as ProcessInfo;
    const place = { inode: 7, owner: { pid: 1, fd: 3 } } as ServedSocket;
    life.watch(process(1), [place]);
    vi.advanceTimersByTime(2000);
    expect(told).toEqual([]);
    inode = 8;
    vi.advanceTimersByTime(2000);
    expect(told).toEqual(['loss 1']);
    end({ how: 'unknown' });
    await vi.advanceTimersByTimeAsync(1);
    expect(told).toEqual(['loss 1', 'end 1']);
    life.stop();
    vi.advanceTimersByTime(5000);
    expect(told).toHaveLength(2);
    vi.useRealTimers();
  });
});

describe('restarts', () => {
  const settings = { backOffMs: 1000, maxBackOffMs: 5000, limit: 5, windowMs: 60_000 };

  it('the first at once, then after ever longer pauses, and no more than the limit', () => {
    const restarts = new Restarts();
    expect([0, 1, 2, 3, 4, 5].map((now) => restarts.next(settings, now))).toEqual([
      0,
      1000,
      2000,
      4000,
      5000,
      undefined,
    ]);
    expect(restarts.total).toBe(5);
  });

  it('what was long ago does not count', () => {
    const restarts = new Restarts();
    for (let at = 0; at < 5; at++) restarts.next(settings, at);
    expect(restarts.next(settings, 61_000)).toBe(0);
  });

  it('a person who reloads starts anew', () => {
    const restarts = new Restarts();
    for (let at = 0; at < 5; at++) restarts.next(settings, at);
    restarts.forget();
    expect(restarts.next(settings, 6)).toBe(0);
  });
});

describe('the queue', () => {
  it('one at a time, in order; of those that wait with one key the last takes the place of the others', async () => {
    const queue = new Queue();
    const done: string[] = [];
    const work = (name: string) => async () => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      done.push(name);
      return name;
    };
    const first = queue.run('reload', work('1'));
    const rest = ['2', '3', '4'].map((name) => queue.run('reload', work(name)));
    const other = queue.run('stop', work('stop'));
    expect(await Promise.all([first, ...rest, other])).toEqual(['4', '4', '4', '4', 'stop']);
    expect(done).toEqual(['4', 'stop']);
    await queue.idle();
    expect(queue.length).toBe(0);
  });

  it('a failure is told to all who wait for it, and keeps nobody else from working', async () => {
    const queue = new Queue();
    const fails = queue.run(undefined, () => Promise.reject(new Error('no')));
    const works = queue.run(undefined, () => Promise.resolve('yes'));
    await expect(fails).rejects.toThrow('no');
    expect(await works).toBe('yes');
  });
});
