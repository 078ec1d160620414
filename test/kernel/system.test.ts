import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { native } from '../../src/kernel/addon.js';
import { openKernel } from '../../src/kernel/kernel.js';
import { lockFile, notifyServiceManager, peerCredentials, raiseDescriptorLimit } from '../../src/kernel/system.js';
import { describeInNamespaces, makeNamespace } from '../support/netns.js';
import { sanitized } from '../support/sanitized.js';

const run = promisify(execFile);
const addon = process.env['BERTH_ADDON'] ?? fileURLToPath(new URL('../../build/Release/berth.node', import.meta.url));

describe('what Node lacks', () => {
  let directory: string;
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'berth-system-'))));
  afterEach(() => rmSync(directory, { recursive: true }));

  test('a lock is taken once, names its holder, and is free again when the descriptor closes', async () => {
    const path = join(directory, 'lock');
    const first = await lockFile(path, 0);
    if (!('fd' in first)) throw new Error('not locked');
    expect(await lockFile(path, 0)).toEqual({ busyPid: undefined });
    writeSync(first.fd, '4711\nreload\n');
    expect(await lockFile(path, 1)).toEqual({ busyPid: 4711 });
    const waiting = lockFile(path, 60_000);
    closeSync(first.fd);
    const second = await waiting;
    if (!('fd' in second)) throw new Error('not locked');
    closeSync(second.fd);
  });

  test('a lock dies with its process', async () => {
    const path = join(directory, 'lock');
    const script = `require(${JSON.stringify(addon)}).tryLock(${JSON.stringify(path)});console.log('locked');setInterval(()=>{},1e6)`;
    const child = spawn(process.execPath, ['-e', script]);
    await once(child.stdout, 'data');
    expect(await lockFile(path, 0)).toEqual({ busyPid: undefined });
    child.kill('SIGKILL');
    const lock = await lockFile(path, 60_000);
    if (!('fd' in lock)) throw new Error('not locked');
    closeSync(lock.fd);
  });

  test('a lock file that is a symlink or has no directory is refused', async () => {
    writeFileSync(join(directory, 'target'), '');
    symlinkSync('target', join(directory, 'link'));
    await expect(lockFile(join(directory, 'link'), 0)).rejects.toMatchObject({
      code: 'BERTH_STATE_DIR',
      cause: { code: 'ELOOP' },
    });
    await expect(lockFile(join(directory, 'no/lock'), 0)).rejects.toMatchObject({ cause: { code: 'ENOENT' } });
  });

  test('the peer of a unix socket', async () => {
    const server = net.createServer().listen(join(directory, 'socket'));
    await once(server, 'listening');
    const client = net.connect(join(directory, 'socket'));
    const [peer] = (await once(server, 'connection')) as [net.Socket & { _handle: { fd: number } }];
    expect(peerCredentials(peer._handle.fd)).toEqual({
      pid: process.pid,
      uid: process.geteuid!(),
      gid: process.getegid!(),
      groups: expect.arrayContaining([]) as number[],
    });
    client.destroy();
    peer.destroy();
    server.close();
    expect(() => peerCredentials(1 << 20)).toThrow(expect.objectContaining({ code: 'BERTH_KERNEL' }) as Error);
  });

  test('the groups of a peer are those that it had when it connected, however many', async () => {
    const server = net.createServer().listen(join(directory, 'groups'));
    await once(server, 'listening');
    const groups = Array.from({ length: 100 }, (_, at) => 5000 + at);
    const script = `import os,socket,time; os.setgroups(${JSON.stringify(groups)}); s=socket.socket(socket.AF_UNIX); s.connect('${join(directory, 'groups')}'); os.setgroups([0]); s.send(b'x'); time.sleep(60)`;
    const client = spawn('python3', ['-c', script], { stdio: 'inherit' });
    const [peer] = (await once(server, 'connection')) as [net.Socket & { _handle: { fd: number } }];
    await once(peer, 'data');
    expect(peerCredentials(peer._handle.fd)).toMatchObject({ pid: client.pid, groups });
    client.kill('SIGKILL');
    peer.destroy();
    server.close();
  });

  test('the absence of a service manager does not matter', () => {
    const path = join(directory, 'notify');
    expect(notifyServiceManager('READY=1', path)).toBe(false);
    expect(notifyServiceManager('READY=1', undefined)).toBe(false);
  });

  test('the limit of open files is raised to what is allowed', () => {
    const { soft, hard } = raiseDescriptorLimit();
    expect(soft).toBe(hard);
  });

  test('a file system is flushed', async () => {
    const kernel = await openKernel();
    await kernel.syncFileSystem(directory);
    await expect(kernel.syncFileSystem(join(directory, 'no'))).rejects.toMatchObject({ cause: { code: 'ENOENT' } });
    await kernel.closeNamespace();
  });

  test('what malloc keeps for later is given back', async () => {
    // 64 MB of which the last piece stays: malloc cannot give back by itself what is below it.
    const script = `
      const pieces = Array.from({ length: 4000 }, () => Buffer.allocUnsafeSlow(16_000).fill(1));
      const last = pieces.at(-1);
      pieces.length = 0;
      const addon = require(${JSON.stringify(addon)});
      const turn = () => new Promise((resolve) => setImmediate(resolve));
      (async () => {
        const [id] = await addon.openNamespace(null);
        for (let i = 0; i < 5; i++) { gc(); await turn(); }
        const kept = process.memoryUsage.rss();
        await addon.releaseMemory(id);
        console.log((kept - process.memoryUsage.rss()) / last.length);
      })();`;
    const { stdout } = await run(process.execPath, ['--expose-gc', '-e', script]);
    expect(stdout).toMatch(/^-?\d/);
    if (!sanitized) expect(Number(stdout)).toBeGreaterThan(3000);
  });
});

describe('the addon', () => {
  test('wrong arguments are TypeErrors that name the argument', () => {
    const calls = native() as unknown as Record<string, (...args: unknown[]) => unknown>;
    expect(() => calls['openNamespace']!(7)).toThrow(new TypeError('argument 1 must be a string without NUL'));
    expect(() => calls['tryLock']!('a\0b')).toThrow(/argument 1 must be a string without NUL/);
    expect(() => calls['probe']!(1, ['a'], [3], new Uint32Array(), true, false)).toThrow(
      /argument 3 must be an array of strings/,
    );
    expect(() => calls['probe']!(1, [], [], new Int32Array(), true, false)).toThrow(/argument 4 must be a typed array/);
    for (const number of [NaN, 0.5, 2 ** 31, -Infinity]) {
      expect(() => calls['peerCredentials']!(number)).toThrow(/argument 1 must be a whole number of 32 bits/);
    }
    expect(() => calls['signalProcess']!(1, -1, 0)).toThrow(/argument 2 must be a whole number, not negative/);
  });

  test('an error that an argument throws itself comes through, and does not end the process', () => {
    const trap = Object.defineProperty(['a'], 0, {
      get: () => {
        throw new RangeError('from the inside');
      },
    });
    expect(() => void native().probe(1, trap, [], new Uint32Array(), true, false)).toThrow(RangeError);
  });

  test('a namespace that was closed, or never was, rejects', async () => {
    await expect(native().readSysctl(123456, '/proc/sys/kernel/ostype')).rejects.toMatchObject({ code: 'EBADF' });
    const kernel = await openKernel();
    await kernel.closeNamespace();
    await expect(kernel.boundSockets()).rejects.toMatchObject({ code: 'BERTH_KERNEL' });
  });

  test('a namespace that cannot be entered says why', async () => {
    await expect(openKernel({ netns: '/no/such/namespace' })).rejects.toMatchObject({
      code: 'BERTH_KERNEL',
      cause: { code: 'ENOENT' },
    });
    await expect(openKernel({ netns: '/proc/self/ns/mnt' })).rejects.toMatchObject({
      cause: { code: 'EINVAL', syscall: 'setns' },
    });
  });

  test('an open namespace does not keep the process alive, work under way does', async () => {
    const script = `const a=require(${JSON.stringify(addon)});
      a.openNamespace(null).then(([id])=>{a.readSysctl(id,'/proc/sys/kernel/ostype').then((t)=>console.log(t.trim()))})`;
    expect((await run(process.execPath, ['-e', script])).stdout).toBe('Linux\n');
  });

  test('a process that exits in the middle of a job, or of an answer, ends cleanly', async () => {
    const script = `const a=require(${JSON.stringify(addon)});
      a.openNamespace(null).then(([id])=>{for(let i=0;i<50;i++)a.holders(id,new Uint32Array([1]),new Int32Array());
      a.getsocks(id,'/nonexistent',1).catch(()=>{process.exit(7)});setImmediate(()=>process.exit(7))})`;
    await expect(run(process.execPath, ['-e', script])).rejects.toMatchObject({ code: 7, stderr: '' });
  });

  test('workers have namespaces of their own, and may be ended at any moment', async () => {
    const script = `const a=require(${JSON.stringify(addon)});const {parentPort}=require('worker_threads');
      a.openNamespace(null).then(async([id])=>{await a.readSysctl(id,'/proc/sys/kernel/ostype');parentPort.postMessage('up');
      for(;;)await a.processesNamed(id,'none')})`;
    const tasks = readdirSync('/proc/self/task').length;
    const workers = Array.from({ length: 4 }, () => new Worker(script, { eval: true }));
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    await Promise.all(workers.map((worker) => worker.terminate()));
    expect(readdirSync('/proc/self/task').length).toBeLessThanOrEqual(tasks + 4);
  });

  test('a handoff server that was not stopped ends with its process and takes its socket along', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'berth-system-'));
    const path = join(directory, 'handoff');
    const script = `require(${JSON.stringify(addon)}).serveSockets(${JSON.stringify(path)},0,new Int32Array(),[],[])`;
    await run(process.execPath, ['-e', script]);
    expect(existsSync(path)).toBe(false);
    rmSync(directory, { recursive: true });
  });

  test('a missing addon is named', async () => {
    vi.resetModules();
    const { native: load } = await import('../../src/kernel/addon.js');
    const before = process.env['BERTH_ADDON'];
    process.env['BERTH_ADDON'] = '/no/such.node';
    try {
      expect(() => load()).toThrow(
        expect.objectContaining({ code: 'BERTH_ADDON', details: { tried: ['/no/such.node'] } }) as Error,
      );
    } finally {
      if (before === undefined) delete process.env['BERTH_ADDON'];
      else process.env['BERTH_ADDON'] = before;
    }
  });
});

describeInNamespaces('namespaces', () => {
  test('several at once, each sees its own sockets; none is left behind', async () => {
    const before = readdirSync('/proc/self/fd').length;
    const spaces = await Promise.all([makeNamespace(), makeNamespace(), makeNamespace()]);
    const kernels = await Promise.all(spaces.map(({ path }) => openKernel({ netns: path })));
    expect(new Set(kernels.map(({ inode }) => inode)).size).toBe(3);
    const endpoint = {
      kind: 'inet',
      transport: 'tcp',
      family: 4,
      address: '127.0.0.1',
      port: 30000,
      v6only: false,
      transparent: false,
    } as const;
    const guards = await Promise.all(kernels.map((kernel) => kernel.probe([endpoint], { keep: true })));
    for (const [i, kernel] of kernels.entries()) {
      expect(guards[i]![0]!.outcome).toBe('free');
      expect((await kernel.boundSockets()).map(({ state, localPort }) => `${state} ${localPort}`)).toEqual([
        'BOUND 30000',
      ]);
    }
    for (const [i, kernel] of kernels.entries()) kernel.close([guards[i]![0]!.guard!]);
    await Promise.all(kernels.map((kernel) => kernel.closeNamespace()));
    await Promise.all(spaces.map((space) => space.remove()));
    // The pipes of the ended keepers close a turn of the loop later.
    await expect.poll(() => readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before);
  });
});
