import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RunningHAProxy } from '../../src/reload/env.js';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';

const skip = cannotRun() !== undefined;
const binaries = skip ? [] : haproxyBinaries();
const limit = { timeoutMs: 30_000 };

describe.skipIf(skip).each(binaries)('the master of HAProxy $version', ({ version, path: binary }) => {
  let lab: Lab;
  let masterSocket: string;

  beforeEach(async () => {
    lab = await Lab.open({ addresses: ['10.9.0.1'] });
    masterSocket = lab.path('master.sock');
  });

  afterEach(async () => {
    await lab.close();
  });

  const write = (...binds: string[]) =>
    lab.write(
      'a.cfg',
      configuration(binds, { global: [`stats socket ${lab.path('stats.sock')} expose-fd listeners level admin`] }),
    );
  const room = (more = {}) => lab.haproxy({ binary, masterSocket, ...more });

  async function begin(more = {}): Promise<RunningHAProxy> {
    const file = write('10.9.0.1:8080');
    await lab.haproxy({ binary }).start(lab.command([file]), {
      pidFile: lab.path('pid'),
      mode: 'master-worker',
      timeoutMs: 20_000,
      masterSocket,
      ...more,
    });
    const running = await room(more).find();
    expect(running).toBeDefined();
    return running!;
  }

  const addresses = () => [...lab.listeners().keys()].sort();

  it('reloads by its socket', async () => {
    const running = await begin();
    const inode = lab.listeners().get('10.9.0.1:8080');
    write('10.9.0.1:8080', '10.9.0.1:8081');
    const reload = await room().reloadMaster(running, limit);
    expect(reload.success).toBe(true);
    expect(reload.worker?.ppid).toBe(running.master?.pid);
    expect(reload.worker?.pid).not.toBe(running.worker.pid);
    expect(addresses()).toEqual(['10.9.0.1:8080', '10.9.0.1:8081']);
    expect(lab.listeners().get('10.9.0.1:8080')).toEqual(inode);
    expect(await room().handoffLost(running)).toBe(false);
  });

  it('tells a refused configuration, and what the next reload would lose', async () => {
    const running = await begin();
    lab.write('a.cfg', 'listen x\n  bnid 10.9.0.1:1\n');
    const reload = await room().reloadMaster(running, limit);
    expect(reload.success).toBe(false);
    expect(reload.worker).toBeUndefined();
    if (Number(version) >= 2.7) {
      expect(reload.messages).toContainEqual(
        expect.objectContaining({ level: 'ALERT', file: lab.path('a.cfg'), line: 2 }),
      );
    }
    expect(addresses()).toEqual(['10.9.0.1:8080']);
    expect(await room().handoffLost(running)).toBe(['2.2', '3.2'].includes(version));
    const inode = lab.listeners().get('10.9.0.1:8080');
    expect((await room().find())?.worker.pid).toBe(running.worker.pid);
    write('10.9.0.1:8080');
    expect((await room().reloadMaster(running, limit)).success).toBe(true);
    const kept = JSON.stringify(lab.listeners().get('10.9.0.1:8080')) === JSON.stringify(inode);
    expect(kept).toBe(!['2.2', '3.2'].includes(version));
  });

  it('tells a failed bind', async () => {
    const running = await begin();
    write('10.9.0.1:8080', '10.9.0.2:80');
    const reload = await room().reloadMaster(running, limit);
    expect(reload.success).toBe(false);
    if (Number(version) >= 2.7) {
      expect(reload.messages.some(({ text }) => text.includes('10.9.0.2:80'))).toBe(true);
    }
    expect(addresses()).toEqual(['10.9.0.1:8080']);
  });

  it('waits while another reload is in progress', async () => {
    const running = await begin();
    write('10.9.0.1:8080', '10.9.0.2:80');
    const failing = room().reloadMaster(running, limit);
    // A worker that cannot bind silences the one before it until it gives up: then the reload is under way.
    await vi.waitFor(() => expect(addresses()).not.toContain('10.9.0.1:8080'), { timeout: 20_000, interval: 5 });
    write('10.9.0.1:8080', '10.9.0.1:8082');
    const succeeding = room().reloadMaster(running, limit);
    expect((await succeeding).success).toBe(true);
    // What the first asker is told is HAProxy's affair: some versions answer it with the result of the second.
    await failing;
    expect(addresses()).toEqual(['10.9.0.1:8080', '10.9.0.1:8082']);
  });

  it('reloads by SIGUSR2 where there is no socket', async () => {
    const running = await begin({ masterSocket: undefined, pidFile: lab.path('pid') });
    expect(running.masterSocket).toBeUndefined();
    write('10.9.0.1:8080', '10.9.0.1:8081');
    const reload = await room().reloadMaster(running, limit);
    expect(reload.success).toBe(true);
    expect(addresses()).toEqual(['10.9.0.1:8080', '10.9.0.1:8081']);
    lab.write('a.cfg', 'listen x\n  bnid 10.9.0.1:1\n');
    const again = (await room({ masterSocket: undefined, pidFile: lab.path('pid') }).find())!;
    const refused = await room().reloadMaster(again, { timeoutMs: 5_000 });
    expect(refused.success).not.toBe(true);
    expect(addresses()).toEqual(['10.9.0.1:8080', '10.9.0.1:8081']);
  });

  it('that dies is told', async () => {
    const running = await begin();
    await lab.haproxy().signal(running.master!, 'SIGKILL');
    await expect(room().reloadMaster(running, limit)).rejects.toMatchObject({ code: 'BERTH_RELOAD_FAILED' });
  });

  it('stops waiting on an abort', async () => {
    const running = await begin();
    const abort = new AbortController();
    write('10.9.0.1:8080', '10.9.0.2:80');
    const reloading = room().reloadMaster(running, { ...limit, signal: abort.signal });
    setTimeout(() => abort.abort(), 200);
    await expect(reloading).rejects.toMatchObject({ code: 'BERTH_INTERRUPTED' });
    await expect(room().reloadMaster(running, { timeoutMs: 0 })).rejects.toMatchObject({ code: 'BERTH_TIMEOUT' });
  });
});
