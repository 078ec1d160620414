import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { beforeAll, describe, expect, test } from 'vitest';
import { becomeSubreaper, reapStrangers, watchExit } from '../../src/kernel/exit.js';
import { readStat } from '../../src/kernel/process.js';
import { orphan, waitForZombie } from '../support/orphan.js';

const run = promisify(execFile);
const addon = process.env['BERTH_ADDON'] ?? fileURLToPath(new URL('../../build/Release/berth.node', import.meta.url));
const [major = 0, minor = 0] = release().split('.').map(Number);
/** The pidfd itself remembers how its process ended. */
const kernelRemembers = major > 6 || (major === 6 && minor >= 15);
const openFiles = () => readdirSync('/proc/self/fd').length;

/** A child of Node's own that does nothing. */
async function sleeper() {
  const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
  await once(child, 'spawn');
  const pid = child.pid!;
  return { child, pid, startTicks: readStat(pid)!.startTicks, exit: once(child, 'exit') };
}

/** A child of a shell, which runs `then` afterwards. */
async function childOfAnother(then: string) {
  const parent = spawn('sh', ['-c', `sleep 1000 & echo $!; ${then}`], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(line);
  return { parent, pid, startTicks: readStat(pid)!.startTicks };
}

describe('the end of a process that came to us as its subreaper', () => {
  beforeAll(becomeSubreaper);

  test.each([
    ['exits', 'exit 7', { how: 'exited', status: 7 }],
    ['exits well', 'exit 0', { how: 'exited', status: 0 }],
    ['is killed', 'exec sh -c "kill -KILL \\$\\$"', { how: 'killed', signal: 'SIGKILL', core: false }],
    [
      'does what may not be done',
      'exec sh -c "kill -SEGV \\$\\$"',
      { how: 'killed', signal: 'SIGSEGV', core: expect.any(Boolean) as boolean },
    ],
  ])('it %s', async (_, body, end) => {
    const process_ = await orphan(body);
    expect(readStat(process_.pid)?.ppid).toBe(process.pid);
    const watch = watchExit(process_);
    process_.go();
    expect(await watch.ended).toEqual(end);
    expect(existsSync(`/proc/${process_.pid}`)).toBe(false);
  });

  test('it was dead already, and nobody had reaped it', async () => {
    const dead = await orphan('exit 3');
    dead.go();
    waitForZombie(dead.pid);
    expect(await watchExit(dead).ended).toEqual({ how: 'exited', status: 3 });
  });

  test('a hundred at once, each its own status', async () => {
    const processes = await Promise.all(Array.from({ length: 100 }, (_, i) => orphan(`exit ${i}`)));
    const watches = processes.map((each) => watchExit(each));
    for (const each of processes) each.go();
    expect(await Promise.all(watches.map(({ ended }) => ended))).toEqual(
      processes.map((_, status) => ({ how: 'exited', status })),
    );
  });

  test('strangers are reaped; the watched, and the children of Node, are not', async () => {
    const [stranger, other, watched] = await Promise.all([orphan('exit 1'), orphan('exit 2'), orphan('exit 3')]);
    const own = spawn('true');
    const exit = once(own, 'exit');
    stranger.go();
    other.go();
    const watch = watchExit(watched);
    waitForZombie(own.pid!);
    waitForZombie(stranger.pid);
    waitForZombie(other.pid);
    expect(reapStrangers()).toBe(2);
    expect(reapStrangers()).toBe(0);
    expect(existsSync(`/proc/${stranger.pid}`)).toBe(false);
    expect(await exit).toEqual([0, null]);
    watched.go();
    expect(await watch.ended).toEqual({ how: 'exited', status: 3 });
    expect(reapStrangers()).toBe(0);
  });
});

describe('the end of another process', () => {
  test('a child of Node: its exit event comes all the same', async () => {
    const { child, exit, ...target } = await sleeper();
    const watch = watchExit(target);
    child.kill('SIGTERM');
    expect(await exit).toEqual([null, 'SIGTERM']);
    const end = await watch.ended;
    if (kernelRemembers || end.how !== 'unknown')
      expect(end).toEqual({ how: 'killed', signal: 'SIGTERM', core: false });
  });

  test('its parent reaps it: known where the kernel remembers', async () => {
    const { parent, ...target } = await childOfAnother('wait');
    const exit = once(parent, 'exit');
    const watch = watchExit(target);
    process.kill(target.pid, 'SIGTERM');
    const end = await watch.ended;
    if (kernelRemembers || end.how !== 'unknown')
      expect(end).toEqual({ how: 'killed', signal: 'SIGTERM', core: false });
    await exit;
  });

  test('its parent never reaps it: /proc shows how', async () => {
    const { parent, ...target } = await childOfAnother('exec sleep 1000');
    const watch = watchExit(target);
    process.kill(target.pid, 'SIGKILL');
    expect(await watch.ended).toEqual({ how: 'killed', signal: 'SIGKILL', core: false });
    parent.kill('SIGKILL');
    await once(parent, 'exit');
  });

  test('it is gone, or another has its pid: unknown', async () => {
    expect(await watchExit({ pid: 4_000_000, startTicks: '1' }).ended).toEqual({ how: 'unknown' });
    expect(await watchExit({ pid: process.pid, startTicks: '1' }).ended).toEqual({ how: 'unknown' });
    watchExit({ pid: process.pid, startTicks: '1' }).stop();
  });
});

describe('a watch', () => {
  test('that is stopped never settles', async () => {
    const { child, exit, ...target } = await sleeper();
    let settled = false;
    const stopped = watchExit(target);
    const late = watchExit(target);
    const watch = watchExit(target);
    void stopped.ended.then(() => (settled = true));
    void late.ended.then(() => (settled = true));
    stopped.stop();
    child.kill('SIGKILL');
    // Now the end of `late` is known to the thread, and on its way.
    waitForZombie(target.pid);
    late.stop();
    await Promise.all([watch.ended, exit]);
    await new Promise((resolve) => setImmediate(resolve));
    expect(settled).toBe(false);
    stopped.stop();
    watch.stop();
  });

  test('leaves no descriptor behind, nor do a thousand', async () => {
    const { child, exit, ...target } = await sleeper();
    watchExit(target).stop();
    const before = openFiles();
    const watches = Array.from({ length: 1000 }, () => watchExit(target));
    expect(openFiles()).toBe(before + 1000);
    for (const watch of watches) watch.stop();
    expect(openFiles()).toBe(before);
    const ending = Array.from({ length: 1000 }, () => watchExit(target).ended);
    child.kill('SIGKILL');
    await Promise.all([...ending, exit]);
    // The pipes of ended children close a turn of the loop later.
    await expect.poll(openFiles).toBeLessThanOrEqual(before);
  });

  test('keeps no process alive, and ends with it', async () => {
    const ticks = Number(readStat(process.pid)!.startTicks);
    const script = `require(${JSON.stringify(addon)}).watchExit(${process.pid},${ticks},false)[1].then(console.log)`;
    expect((await run(process.execPath, ['-e', script])).stdout).toBe('');
  });

  test('ends with its worker', async () => {
    const ticks = Number(readStat(process.pid)!.startTicks);
    const script = `const {parentPort}=require('worker_threads');
      require(${JSON.stringify(addon)}).watchExit(${process.pid},${ticks},false);
      parentPort.postMessage('up');setInterval(()=>{},1e6)`;
    const before = openFiles();
    for (let i = 0; i < 5; i++) {
      const worker = new Worker(script, { eval: true });
      await once(worker, 'message');
      await worker.terminate();
    }
    await expect.poll(openFiles).toBeLessThanOrEqual(before + 1);
  });
});
