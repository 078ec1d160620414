import { spawn } from 'node:child_process';
import { chownSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';
import { pose, STRANGER, WORKER } from '../support/strangers.js';

const skip = cannotRun() !== undefined;
const binaries = skip ? [] : haproxyBinaries();
const notFound = (text: string) => ({
  code: 'BERTH_HAPROXY_NOT_FOUND',
  step: 'find',
  message: expect.stringContaining(text) as unknown,
});

describe.skipIf(skip).each(binaries)('finding HAProxy $version', ({ version, path: binary }) => {
  let lab: Lab;
  let pidFile: string;
  let masterSocket: string;

  beforeEach(async () => {
    lab = await Lab.open();
    pidFile = lab.path('pid');
    masterSocket = lab.path('master.sock');
  });

  afterEach(async () => {
    await lab.close();
  });

  const room = (more = {}) => lab.haproxy({ binary, ...more });

  async function start(name: string, port: number, more = {}) {
    const stats = `stats socket ${lab.path(`${name}.sock`)} expose-fd listeners level admin`;
    const file = lab.write(`${name}.cfg`, configuration([`127.0.0.1:${port}`], { global: [stats] }));
    return room().start(lab.command([file]), { pidFile, mode: 'standalone', timeoutMs: 20_000, ...more });
  }

  it('none: a first start', async () => {
    expect(await room().find()).toBeUndefined();
    expect(await room({ pidFile, masterSocket }).find()).toBeUndefined();
  });

  it('by its pid file, by who listens, and by memory', async () => {
    const { pid, startTicks } = await start('a', 8080);
    const worker = expect.objectContaining({ pid, comm: 'haproxy' }) as unknown;
    const found = { mode: 'standalone', worker, draining: [], pidFile };
    expect(await room({ pidFile }).find()).toEqual({ ...found, foundBy: 'pid-file' });
    expect(await room().find()).toEqual({ ...found, foundBy: 'listeners' });
    rmSync(pidFile);
    expect(await room({ pidFile }).find()).toEqual({ ...found, foundBy: 'listeners' });
    const remembered = () => Promise.resolve({ pid, startTicks });
    expect(await room({ remembered }).find()).toEqual({ ...found, foundBy: 'journal' });
    const recycled = () => Promise.resolve({ pid, startTicks: '1' });
    expect(await room({ remembered: recycled }).find()).toEqual({ ...found, foundBy: 'listeners' });
  });

  it('not: somebody else’s, where ours is named and does not run', async () => {
    await start('a', 8080);
    expect(await room({ pidFile: lab.path('other') }).find()).toBeUndefined();
    expect(await room({ masterSocket }).find()).toBeUndefined();
  });

  it('not: a process of another user that calls itself haproxy, whatever it listens on', async () => {
    const impostor = await pose(STRANGER, lab.netns, ['127.0.0.1:9999']);
    expect((await lab.kernel.process(impostor))?.comm).toBe('haproxy');
    expect(await room().find()).toBeUndefined();
    const { pid } = await start('a', 8080);
    expect((await room().find())?.worker.pid).toBe(pid);
  });

  it('by memory, where the pid file names another and is not root’s alone to write', async () => {
    mkdirSync(lab.path('pids'));
    const file = lab.path('pids', 'haproxy.pid');
    const ours = await start('a', 8080, { pidFile: file });
    const other = await start('b', 8081, { pidFile: lab.path('other') });
    const remembered = () => Promise.resolve(ours);
    const find = () => room({ pidFile: file, remembered }).find();
    writeFileSync(file, `${other.pid}\n`);
    expect(await find()).toMatchObject({ worker: { pid: other.pid }, foundBy: 'pid-file' });
    chownSync(lab.path('pids'), WORKER.uid, WORKER.gid);
    expect(await find()).toMatchObject({ worker: { pid: ours.pid }, foundBy: 'journal' });
    await room().signal(ours, 'SIGUSR1');
    await vi.waitFor(async () => expect(await find()).toMatchObject({ foundBy: 'pid-file' }));
  });

  it('several that listen are not guessed between', async () => {
    await start('a', 8080, { pidFile: lab.path('one') });
    await start('b', 8081, { pidFile: lab.path('two') });
    await expect(room().find()).rejects.toMatchObject(notFound('Several HAProxies listen'));
    expect((await room({ pidFile: lab.path('one') }).find())?.pidFile).toBe(lab.path('one'));
  });

  it('with the older ones that drain', async () => {
    const old = await start('a', 8080, { pidFile: lab.path('old') });
    const backend = await lab.startBackend([{ host: '127.0.0.1', port: 9000 }]);
    const load = await lab.startLoad({ targets: ['127.0.0.1:8080'], rate: 0, held: 1 });
    const fresh = await start('a', 8080, { handoff: lab.path('a.sock') });
    await room().signal(old, 'SIGUSR1');
    const find = () => room({ pidFile }).find();
    await vi.waitFor(async () => expect((await find())?.draining.map(({ pid }) => pid)).toEqual([old.pid]));
    expect((await find())?.worker.pid).toBe(fresh.pid);
    expect((await room().find())?.worker.pid).toBe(fresh.pid);
    const report = await load.stop();
    expect(report.held).toMatchObject({ cut: 0, hung: 0, failed: 0 });
    await backend.stop();
  });

  it.each([
    ['that names nobody', '4194304\n', 'names process 4194304, which is gone'],
    ['that is empty', '', 'is empty'],
    ['that is no pid file', 'listen x\n', 'is not a pid file'],
  ])('by a pid file %s', async (_, text, message) => {
    lab.write('pid', text);
    await expect(room({ pidFile }).find()).rejects.toMatchObject(notFound(message));
  });

  it('by a pid file that names another program', async () => {
    const other = spawn('nsenter', [`--net=${lab.netns}`, '--', 'sleep', '60']);
    await vi.waitFor(async () => expect((await lab.kernel.process(other.pid!))?.comm).toBe('sleep'));
    lab.write('pid', `${other.pid}\n`);
    await expect(room({ pidFile }).find()).rejects.toMatchObject(
      notFound(`names process ${other.pid}, which is sleep, not haproxy`),
    );
  });

  it('by a pid file of another network namespace', async () => {
    const there = await Lab.open();
    try {
      const file = there.write('a.cfg', configuration(['127.0.0.1:8080']));
      await there
        .haproxy({ binary })
        .start(there.command([file]), { pidFile: there.path('pid'), mode: 'standalone', timeoutMs: 20_000 });
      await expect(room({ pidFile: there.path('pid') }).find()).rejects.toMatchObject(
        notFound('another network namespace'),
      );
    } finally {
      await there.close();
    }
  });

  it('a master with its worker, by all ways', async () => {
    const { pid } = await start('a', 8080, { mode: 'master-worker', masterSocket });
    const found = {
      mode: 'master-worker',
      master: expect.objectContaining({ pid }) as unknown,
      worker: expect.objectContaining({ ppid: pid }) as unknown,
      draining: [],
      pidFile,
      masterSocket,
    };
    expect(await room({ pidFile }).find()).toEqual({ ...found, foundBy: 'pid-file' });
    expect(await room({ masterSocket }).find()).toEqual({ ...found, foundBy: 'master-socket' });
    expect(await room().find()).toEqual({ ...found, foundBy: 'listeners' });
    const worker = (await room().find())!.worker;
    const remembered = () => Promise.resolve(worker);
    expect(await room({ remembered }).find()).toEqual({ ...found, foundBy: 'journal' });
  });

  it('a master that was told so by its configuration, not by its command line', async () => {
    const global = ['master-worker', `stats socket ${lab.path('s')} expose-fd listeners`];
    const file = lab.write('a.cfg', configuration(['127.0.0.1:8080'], { global }));
    await lab.exec(binary, ['-D', '-p', pidFile, '-f', file]);
    await vi.waitFor(async () => expect((await room({ pidFile }).find())?.mode).toBe('master-worker'), {
      timeout: 5_000,
    });
  });

  it('by a master socket that is dead, or another program’s', async () => {
    const { pid, startTicks } = await start('a', 8080, { mode: 'master-worker', masterSocket });
    await expect(room({ masterSocket: lab.path('a.sock') }).find()).rejects.toMatchObject({
      code: 'BERTH_HAPROXY_SOCKET',
    });
    await room().signal({ pid, startTicks }, 'SIGKILL');
    await vi.waitFor(() => expect(lab.haproxies()).toEqual([]), { timeout: 5_000 });
    await expect(room({ masterSocket }).find()).rejects.toMatchObject(notFound('Nobody listens on the master socket'));
    await expect(room({ masterSocket, pidFile }).find()).rejects.toMatchObject(notFound('which is gone'));
  });

  // HAProxy 2.5 has no nbproc any more: there is nothing to refuse.
  const before25 = Number(version) < 2.5 ? it : undefined;
  before25?.('nbproc is refused by name', async () => {
    const file = lab.write('n.cfg', configuration(['127.0.0.1:8080'], { global: ['nbproc 2'] }));
    await lab.exec(binary, ['-D', '-p', pidFile, '-f', file]);
    await expect(room({ pidFile }).find()).rejects.toMatchObject({ code: 'BERTH_HAPROXY_UNSUITABLE' });
  });
});
