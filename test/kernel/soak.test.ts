/** What an agent does for years: no descriptor, no thread and no memory may be left behind by a call. States, not times. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { keepHeapSmall } from '../../src/agent/memory.js';
import { watchExit } from '../../src/kernel/exit.js';
import { openKernel, type OpenKernel } from '../../src/kernel/kernel.js';
import { readStat } from '../../src/kernel/process.js';
import { describeListeners, storeDescriptors } from '../../src/kernel/store.js';
import { endpoint } from '../support/endpoints.js';
import { describeInNamespaces, makeNamespace, type Namespace } from '../support/netns.js';
import { sanitized } from '../support/sanitized.js';

// As the agent does. Else V8 doubles its young generation in the middle of a soak, 27 MB at once on Node 24: no leak.
keepHeapSmall();
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const CALLS = sanitized ? 500 : 10_000;
const MEGABYTE = 1 << 20;
/** What the heap and the allocator move about by themselves; 2500 calls that lose one page each are 10. */
const ALLOWANCE = 8 * MEGABYTE;

const count = (directory: string) => readdirSync(`/proc/self/${directory}`).length;

/** A turn of the event loop: what the addon has lent to JavaScript is freed between turns only. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** After what is under way has come to its end: finalizers run a turn after the collection. */
async function residentBytes(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    collect();
    await turn();
  }
  return process.memoryUsage().rss;
}

describeInNamespaces('thousands of calls leave nothing behind', () => {
  vi.setConfig({ testTimeout: 300_000 });
  let netns: Namespace;
  let kernel: OpenKernel;
  let directory: string;
  let guards: number[];
  let startTicks: string;

  beforeEach(async () => {
    netns = await makeNamespace();
    kernel = await openKernel({ netns: netns.path });
    directory = mkdtempSync(join(tmpdir(), 'berth-soak-'));
    const probes = await kernel.probe(
      Array.from({ length: 20 }, (_, i) => endpoint(20000 + i)),
      { keep: true },
    );
    guards = probes.map(({ guard }) => guard!);
    startTicks = readStat(process.pid)!.startTicks;
  });
  afterEach(async () => {
    kernel.close(guards);
    await kernel.closeNamespace();
    await netns.remove();
    rmSync(directory, { recursive: true });
  });

  // The table of descriptors, heap and arenas grow once: in the first calls.
  async function soak(call: () => Promise<void>, calls = CALLS): Promise<void> {
    for (let i = 0; i < calls / 5; i++) await call();
    const [files, tasks, bytes] = [count('fd'), count('task'), await residentBytes()];
    for (let i = 0; i < calls; i++) await call();
    // A thread that has answered an asker closes and ends a moment after the asker has all: at the begin as at the end.
    await vi.waitFor(
      () => {
        expect(count('fd')).toBeLessThanOrEqual(files);
        expect(count('task')).toBeLessThanOrEqual(tasks);
      },
      { timeout: 20_000 },
    );
    if (!sanitized) expect((await residentBytes()) - bytes).toBeLessThan(ALLOWANCE);
  }

  test('probe', async () => {
    const endpoints = [endpoint(20000), endpoint(30000), { ...endpoint(30001), transport: 'udp' } as const];
    await soak(async () => {
      const results = await kernel.probe(endpoints, { keep: true });
      kernel.close(results.flatMap(({ guard }) => guard ?? []));
    });
  });

  test('socket tables', async () => {
    // Four tables each, for which the kernel walks those of the whole host.
    await soak(async () => {
      await kernel.boundSockets();
      await kernel.socketsOnPorts('tcp', [20000, 20001]);
    }, CALLS / 4);
  });

  test('owners and duplicates', async () => {
    const sockets = [...(await kernel.socketsOf(process.pid)).keys()];
    const inodes = describeListeners(guards).map(({ inode }) => inode);
    expect(inodes.every((inode) => sockets.includes(inode))).toBe(true);
    await soak(async () => {
      await kernel.owners(inodes, [process.pid]);
      const copies = await kernel.duplicate({ pid: process.pid, startTicks }, inodes);
      kernel.close([...copies.values()]);
    }, CALLS / 4);
  });

  test('handoffs, served and asked for', async () => {
    const path = join(directory, 'handoff');
    const handed = guards.map((descriptor) => ({ descriptor, namespace: '', device: '' }));
    const server = await kernel.serveSockets(path, handed);
    await soak(async () => kernel.close(await kernel.getsocks(path, 5000)));
    await server.stop();
    await soak(async () => {
      const each = await kernel.serveSockets(path, handed);
      await each.stop();
      await kernel.getsocks(path, 5000).catch(() => undefined);
    }, CALLS / 10);
  });

  test('namespaces opened and closed', async () => {
    await soak(async () => {
      const each = await openKernel({ netns: netns.path });
      await each.ephemeralRange();
      await each.closeNamespace();
    }, CALLS / 10);
  });

  test('watches of processes that live, and of one that is gone', async () => {
    await soak(() => {
      watchExit({ pid: process.pid, startTicks }).stop();
      watchExit({ pid: process.pid, startTicks: '1' }).stop();
      return turn();
    });
  });

  test('watches of processes that end', async () => {
    const run = promisify(execFile);
    await soak(async () => {
      const running = run('true');
      const target = readStat(running.child.pid!);
      const watch = target && watchExit({ pid: running.child.pid!, startTicks: target.startTicks });
      await running;
      await watch?.ended;
    }, CALLS / 50);
  });

  test('descriptors described, and offered to nobody', async () => {
    await soak(async () => {
      describeListeners(guards);
      // Not by expect: it keeps every error until the test ends.
      await storeDescriptors('a', guards, join(directory, 'no')).catch(() => undefined);
      await turn();
    });
  });
});
