/** Who is who among the HAProxies, and what it costs to tell. */
import { describe, expect, it } from 'vitest';
import { processes } from '../../src/reload/processes.js';
import { rememberStop } from '../../src/reload/stop-times.js';
import { loadSettings } from '../../src/settings.js';
import type { HAProxy, ProcessInfo, RunningHAProxy } from '../../src/reload/env.js';
import { row } from '../support/binds.js';
import { fakeKernel, processInfo, type Staged } from '../support/fake-kernel.js';
import { openTestState } from '../support/state.js';

const worker = processInfo(1);
const connection = (inode: number, port: number) => row('ESTABLISHED', `10.0.0.1:${port}`, '10.0.0.9:443', { inode });

async function look(
  staged: Staged,
  {
    draining = [],
    stopped = [],
    connections,
  }: {
    readonly draining?: readonly ProcessInfo[];
    readonly stopped?: readonly number[];
    readonly connections?: 'old' | 'all';
  } = {},
) {
  const { state } = await openTestState();
  for (const pid of stopped) rememberStop(state, pid);
  const running: RunningHAProxy = { mode: 'standalone', worker, draining, foundBy: 'pid-file' };
  const kernel = fakeKernel({ haproxies: [worker, ...draining], ...staged });
  const settings = loadSettings({ flags: { haproxy: { pidFile: '/run/lb.pid' } } });
  const haproxy = { find: () => Promise.resolve(running) } as unknown as HAProxy;
  const context = { kernel, haproxy, state, settings };
  const report = await processes(context, connections === undefined ? {} : { connections });
  return { all: report.processes, calls: kernel.calls, state };
}

describe('the processes', () => {
  it('without an old one no socket table is read', async () => {
    const { all, calls } = await look({});
    expect(all).toMatchObject([{ pid: 1, role: 'serving', connections: 0 }]);
    expect(calls).toMatchObject({ bound: 0, dumps: [] });
  });

  it("the serving one's connections are counted where that is asked for; a listener is none", async () => {
    const rows = [connection(7, 40000), connection(8, 40000), row('LISTEN', '10.0.0.1:80', undefined, { inode: 9 })];
    const { all, calls } = await look({ rows, socketsOf: { 1: [7, 8, 9] } }, { connections: 'all' });
    expect(all).toMatchObject([{ connections: 2, ports: '40000' }]);
    expect(calls.dumps).toHaveLength(1);
  });

  it('draining ones oldest first; foreign is what neither command line nor note ties to this host', async () => {
    const draining = [
      processInfo(30, { argv: ['haproxy', '-p', '/elsewhere.pid'] }),
      processInfo(20, { argv: ['haproxy', '-D', '-p', 'lb.pid'], cwd: '/run' }),
      processInfo(25, { argv: ['haproxy'] }),
    ];
    const { all } = await look({}, { draining, stopped: [25] });
    expect(all.slice(1)).toMatchObject([{ pid: 20 }, { pid: 25 }, { pid: 30, foreign: true }]);
    expect(all.map(({ foreign }) => foreign)).toEqual([undefined, undefined, undefined, true]);
    expect(all[2]?.since).toBeDefined();
  });

  it('a note from before a process began is about another with the same pid', async () => {
    const young = processInfo(25, { startedAt: new Date(Date.now() + 60_000).toISOString() });
    const { all } = await look({}, { draining: [young], stopped: [25] });
    expect(all[1]).toMatchObject({ pid: 25, foreign: true });
    expect(all[1]?.since).toBeUndefined();
  });

  it('where nothing was ever served nobody is a stray', async () => {
    const stranger = processInfo(50);
    const rows = [row('LISTEN', '10.0.0.1:80', undefined, { inode: 9 })];
    const { all } = await look({ rows, haproxies: [worker, stranger], socketsOf: { 50: [9] } });
    expect(all.map(({ pid }) => pid)).toEqual([1]);
  });
});
