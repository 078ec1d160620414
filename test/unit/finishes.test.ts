/** A HAProxy that was told to finish: whether it does, and what is done about one that does not. */
import { describe, expect, it } from 'vitest';
import type { HAProxy } from '../../src/reload/env.js';
import { finishes } from '../../src/reload/prove.js';
import { fakeKernel, listenRow, processInfo } from '../support/fake-kernel.js';

const worker = processInfo(71, { ppid: 70 });

/** @param hears the signal at which it gives up its listener, counted from 0: its master's */
function toldOnce(hears: number) {
  const sockets: Record<number, number[]> = { 71: [4711] };
  const signals: string[] = [];
  const hear = () => {
    if (signals.length >= hears) sockets[71] = [];
  };
  hear();
  const signal: HAProxy['signal'] = ({ pid }, name) => {
    signals.push(`${name} ${pid}`);
    hear();
    return Promise.resolve(true);
  };
  const kernel = fakeKernel({ rows: [listenRow(80, 4711)], socketsOf: sockets, processes: [worker] });
  return { signals, done: finishes({ kernel, haproxy: { signal } as HAProxy }, worker, 50) };
}

describe('a process that was told to finish', () => {
  it('is told no more where it has heard', async () => {
    const { signals, done } = toldOnce(0);
    expect(await done).toBe(true);
    expect(signals).toEqual([]);
  });

  // The way back of a reload had its master of 2.2 load the generation before, and the worker that was not to serve went on.
  it('is told once more where it listens on', async () => {
    const { signals, done } = toldOnce(1);
    expect(await done).toBe(true);
    expect(signals).toEqual(['SIGUSR1 71']);
  });

  it('that never hears is left to whoever looks', async () => {
    const { signals, done } = toldOnce(9);
    expect(await done).toBe(false);
    expect(signals).toEqual(['SIGUSR1 71']);
  });
});
