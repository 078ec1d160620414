import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';
import { readProcess } from '../support/process-table.js';

function descriptors(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
    } catch {
      return [];
    }
  });
}

/** What this process itself was born with: whoever runs the tests may leave descriptors open for all its descendants. */
const inherited = new Set(descriptors(process.pid));
const skip = cannotRun() !== undefined;
const binaries = skip ? [] : haproxyBinaries();

describe.skipIf(skip).each(binaries)('HAProxy $version as a process', ({ version, path: binary }) => {
  let lab: Lab;

  beforeEach(async () => {
    lab = await Lab.open({ addresses: ['10.9.0.1'] });
  });

  afterEach(async () => {
    await lab.close();
  });

  const start = (files: readonly string[], more: Partial<Parameters<ReturnType<Lab['haproxy']>['start']>[1]> = {}) =>
    lab
      .haproxy({ binary })
      .start(lab.command(files), { pidFile: lab.path('pid'), mode: 'standalone', timeoutMs: 20_000, ...more });

  it('starts in the background, serves, and names its process', async () => {
    const started = await start([lab.write('a.cfg', configuration(['10.9.0.1:8080', '127.0.0.1:8081']))]);
    expect(readFileSync(lab.path('pid'), 'utf8').trim()).toBe(String(started.pid));
    expect(readProcess(started.pid)).toMatchObject({
      comm: 'haproxy',
      startTicks: started.startTicks,
      cwd: lab.directory,
    });
    expect([...lab.listeners().keys()].sort()).toEqual(['10.9.0.1:8080', '127.0.0.1:8081']);
    expect(readProcess(started.pid)?.ppid).not.toBe(process.pid);
  });

  it('inherits no descriptor of ours and keeps no output open', async () => {
    const server = createServer().listen(lab.path('ours.sock'));
    const file = await open(lab.path('ours'), 'w');
    const started = await start([lab.write('a.cfg', configuration(['10.9.0.1:8080']))]);
    const ours = new Set(descriptors(process.pid).filter((target) => !inherited.has(target)));
    const theirs = descriptors(started.pid);
    expect([...ours]).toContain(lab.path('ours'));
    expect(theirs.filter((target) => ours.has(target))).toEqual([]);
    server.close();
    await file.close();
    // The process in the background lets go of its output itself, a moment after its parent has ended.
    await vi.waitFor(() => {
      const output = descriptors(started.pid).filter((target) => target.includes('haproxy-output'));
      expect(output).toEqual([]);
    });
    expect([0, 1, 2].map((fd) => readlinkSync(`/proc/${started.pid}/fd/${fd}`))).toEqual(Array(3).fill('/dev/null'));
    expect(readdirSync(lab.directory).sort()).toEqual(['a.cfg', 'ours', 'pid']);
  });

  it('tells every bind that failed, and leaves nothing running', async () => {
    const first = await start([lab.write('a.cfg', configuration(['10.9.0.1:8080']))], { pidFile: lab.path('one') });
    const holder = lab.write('b.cfg', configuration(['10.9.0.1:8080', '10.9.0.2:80'], { global: ['noreuseport'] }));
    const failure = await start([holder], { pidFile: lab.path('two') }).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'BERTH_RELOAD_FAILED', step: 'hand-over' });
    const { failedBinds } = (failure as { details: { failedBinds: { address: string; reason?: string }[] } }).details;
    expect(failedBinds.map(({ address }) => address)).toEqual(['10.9.0.1:8080', '10.9.0.2:80']);
    if (version !== '2.2') expect(failedBinds[1]?.reason).toBe('Cannot assign requested address');
    expect(lab.haproxies().map(({ pid }) => pid)).toEqual([first.pid]);
    expect(existsSync(lab.path('two'))).toBe(false);
  });

  it('says file and line of a configuration that is refused', async () => {
    const file = lab.write('bad.cfg', 'listen x\n  bnid 10.9.0.1:1\n');
    await expect(start([file])).rejects.toMatchObject({
      code: 'BERTH_RELOAD_FAILED',
      details: {
        messages: expect.arrayContaining([expect.objectContaining({ level: 'ALERT', file, line: 2 })]) as unknown,
      },
    });
  });

  it('ends a start that takes too long, with all of its processes', async () => {
    // Opening a FIFO for reading waits for a writer: a start that hangs before it forks.
    await lab.exec('mkfifo', [lab.path('hang.cfg')]);
    await expect(start([lab.path('hang.cfg')], { timeoutMs: 300 })).rejects.toMatchObject({ code: 'BERTH_TIMEOUT' });
    expect(lab.haproxies()).toEqual([]);
    await expect(
      start([lab.path('hang.cfg')], { timeoutMs: 300, mode: 'master-worker', masterSocket: lab.path('m') }),
    ).rejects.toMatchObject({ code: 'BERTH_TIMEOUT' });
    expect(lab.haproxies()).toEqual([]);
  });

  it('ends a start when the caller aborts', async () => {
    await lab.exec('mkfifo', [lab.path('hang.cfg')]);
    const abort = new AbortController();
    const starting = start([lab.path('hang.cfg')], { signal: abort.signal });
    setTimeout(() => abort.abort(), 100);
    await expect(starting).rejects.toMatchObject({ code: 'BERTH_INTERRUPTED' });
    await expect(start([lab.path('hang.cfg')], { signal: abort.signal })).rejects.toMatchObject({
      code: 'BERTH_INTERRUPTED',
    });
    expect(lab.haproxies()).toEqual([]);
  });

  it('keeps what a service manager and a master told us away from the new HAProxy, and its umask usual', async () => {
    const umask = process.umask(0o077);
    try {
      const environment = { PATH: process.env['PATH'], HAPROXY_MWORKER_REEXEC: '1', NOTIFY_SOCKET: '/x', KEPT: 'yes' };
      const file = lab.write('a.cfg', configuration(['10.9.0.1:8080']));
      const { pid } = await lab
        .haproxy({ binary, environment })
        .start(lab.command([file]), { pidFile: lab.path('pid'), mode: 'standalone', timeoutMs: 20_000 });
      const names = readFileSync(`/proc/${pid}/environ`, 'utf8')
        .split('\0')
        .map((pair) => pair.split('=')[0]);
      expect(names).toContain('KEPT');
      expect(names).not.toContain('NOTIFY_SOCKET');
      expect(readFileSync(`/proc/${pid}/status`, 'utf8')).toMatch(/^Umask:\t0?022$/m);
      expect(process.umask(0o077)).toBe(0o077);
    } finally {
      process.umask(umask);
    }
  });

  it('starts a master with its worker', async () => {
    const file = lab.write('a.cfg', configuration(['10.9.0.1:8080']));
    const started = await start([file], { mode: 'master-worker', masterSocket: lab.path('master.sock') });
    const [master, worker] = lab.haproxies().sort((one, other) => one.pid - other.pid);
    expect(master?.pid).toBe(started.pid);
    expect(worker?.ppid).toBe(started.pid);
    expect([0, 1, 2].map((fd) => readlinkSync(`/proc/${started.pid}/fd/${fd}`))).toEqual(Array(3).fill('/dev/null'));
  });

  it('leaves nothing of a master whose worker cannot bind', async () => {
    const file = lab.write('a.cfg', configuration(['10.9.0.1:8080', '10.9.0.2:80']));
    await expect(start([file], { mode: 'master-worker', masterSocket: lab.path('m') })).rejects.toMatchObject({
      code: 'BERTH_RELOAD_FAILED',
      details: { failedBinds: [expect.objectContaining({ address: '10.9.0.2:80' })] },
    });
    expect(lab.haproxies()).toEqual([]);
  });

  // HAProxy 2.5 has no nbproc any more: there is nothing to refuse.
  const before25 = Number(version) < 2.5 ? it : undefined;
  before25?.('refuses nbproc', async () => {
    const file = lab.write('a.cfg', configuration(['10.9.0.1:8080'], { global: ['nbproc 2'] }));
    await expect(start([file])).rejects.toMatchObject({ code: 'BERTH_HAPROXY_UNSUITABLE' });
    expect(lab.haproxies()).toEqual([]);
  });
});
