import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openKernel, type OpenKernel } from '../../src/kernel/kernel.js';
import {
  describeListeners,
  removeStored,
  storeDescriptors,
  takeStored,
  watchdogIntervalMs,
} from '../../src/kernel/store.js';
import { endpoint } from '../support/endpoints.js';
import { describeInNamespaces, makeNamespace, type Namespace } from '../support/netns.js';
import { transpile } from '../support/transpile.js';

const addon = process.env['BERTH_ADDON'] ?? resolve('build/Release/berth.node');
const openFiles = () => readdirSync('/proc/self/fd').length;
const inode = (descriptor: number) => fstatSync(descriptor).ino;

let directory: string;
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'berth-store-'))));
afterEach(() => rmSync(directory, { recursive: true }));

interface Message {
  readonly text: string;
  readonly inodes: readonly number[];
}

describeInNamespaces('the descriptor store', () => {
  let netns: Namespace;
  let kernel: OpenKernel;
  let guards: number[];

  beforeEach(async () => {
    netns = await makeNamespace();
    kernel = await openKernel({ netns: netns.path });
    guards = [];
  });
  afterEach(async () => {
    kernel.close(guards);
    await kernel.closeNamespace();
    await netns.remove();
  });

  async function guard(...endpoints: Parameters<typeof kernel.probe>[0]): Promise<number[]> {
    const results = await kernel.probe(endpoints, { keep: true });
    const made = results.map((result) => result.guard!);
    guards.push(...made);
    return made;
  }

  /** In a namespace of its own, whose datagram queues hold ten messages. It takes none before `listen`. */
  async function manager(path: string) {
    const child = netns.spawn('python3', resolve('test/support/notify-socket.py'), path);
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe('ready');
    return {
      listen: () => child.stdin!.write('\n'),
      next: async () => JSON.parse((await lines.next()).value as string) as Message,
    };
  }

  test('what is given to it arrives, under its name, by 253 at most', async () => {
    const path = join(directory, 'notify');
    const service = await manager(path);
    service.listen();
    const sockets = await guard(...Array.from({ length: 300 }, (_, i) => endpoint(20000 + i)));
    const before = openFiles();
    expect(await storeDescriptors('default-7', sockets, path)).toBe(true);
    const text = 'FDSTORE=1\nFDNAME=default-7\nFDPOLL=0';
    expect(await service.next()).toEqual({ text, inodes: sockets.slice(0, 253).map(inode) });
    expect(await service.next()).toEqual({ text, inodes: sockets.slice(253).map(inode) });
    expect(await removeStored('default-7', path)).toBe(true);
    expect(await service.next()).toEqual({ text: 'FDSTOREREMOVE=1\nFDNAME=default-7', inodes: [] });
    expect(openFiles()).toBe(before);
  });

  test('one that is behind is waited for, and hears everything in order', async () => {
    const path = join(directory, 'notify');
    const service = await manager(path);
    const sockets = await guard(...Array.from({ length: 50 }, (_, i) => endpoint(20000 + i)));
    const inodes = sockets.map(inode);
    const before = openFiles();
    const storing = sockets.map((socket, i) => storeDescriptors(`a.${i}`, [socket], path));
    const removing = sockets.map((_, i) => removeStored(`a.${i}`, path));
    // They are the caller's to close, whatever is still to be said of them.
    kernel.close(guards.splice(0));
    let stored = 0;
    for (const each of storing) void each.then(() => stored++);
    await new Promise((resolve) => setImmediate(resolve));
    expect(stored).toBeLessThan(50);
    service.listen();
    for (const [i, expected] of inodes.entries()) {
      expect(await service.next()).toEqual({ text: `FDSTORE=1\nFDNAME=a.${i}\nFDPOLL=0`, inodes: [expected] });
    }
    for (const i of inodes.keys()) {
      expect(await service.next()).toEqual({ text: `FDSTOREREMOVE=1\nFDNAME=a.${i}`, inodes: [] });
    }
    expect(new Set(await Promise.all([...storing, ...removing]))).toEqual(new Set([true]));
    expect(openFiles()).toBe(before - 50);
  });

  test('one that ends meanwhile: what waited is refused, and nothing is left behind', async () => {
    const path = join(directory, 'notify');
    await manager(path);
    const sockets = await guard(...Array.from({ length: 50 }, (_, i) => endpoint(20000 + i)));
    const before = openFiles();
    const storing = Promise.allSettled(sockets.map((socket, i) => storeDescriptors(`a.${i}`, [socket], path)));
    await netns.remove();
    const results = await storing;
    expect(results.at(-1)).toMatchObject({ status: 'rejected', reason: { cause: { code: 'ECONNREFUSED' } } });
    await expect.poll(openFiles).toBeLessThanOrEqual(before);
    expect(await removeStored('a.0', path)).toBe(false);
  });

  test('without a service manager nothing is stored; one that is gone is an error', async () => {
    expect(await storeDescriptors('a', [0], undefined)).toBe(false);
    expect(await storeDescriptors('a', [0], '')).toBe(false);
    expect(await removeStored('a', undefined)).toBe(false);
    expect(await removeStored('a', join(directory, 'no'))).toBe(false);
    await expect(storeDescriptors('a', [0], join(directory, 'no'))).rejects.toMatchObject({
      code: 'BERTH_KERNEL',
      cause: { code: 'ENOENT', syscall: 'sendmsg' },
    });
  });

  test.each(['', 'a:b', 'a\nFDSTOREREMOVE=1', 'ä', 'x'.repeat(256)])(
    'a name that is none is refused: %j',
    async (name) => {
      await expect(storeDescriptors(name, [], '/no')).rejects.toMatchObject({ code: 'BERTH_INTERNAL' });
      await expect(removeStored(name, '/no')).rejects.toThrow(/colon/);
    },
  );

  test('sockets tell where they are bound', async () => {
    const v6 = { ...endpoint(20001), family: 6, address: 'fd00::1', transparent: true } as const;
    const wildcard = { ...endpoint(20002), family: 6, address: '::', v6only: true, device: 'lo' } as const;
    const udp = { ...endpoint(20003), transport: 'udp' } as const;
    const dual = { ...endpoint(20004), family: 6, address: '::' } as const;
    const inet = [endpoint(20000), v6, wildcard, udp, dual];
    const sockets = await guard(...inet);
    const path = join(directory, 'stats');
    const local = await kernel.bindUnix(path);
    guards.push(local);
    const file = openSync('/dev/null', 'r');
    const found = describeListeners([...sockets, file, local, -1, 1 << 20]);
    closeSync(file);
    const netnsOf = (fd: number, listening = false) => ({
      fd,
      inode: inode(fd),
      listening,
      netns: String(kernel.inode),
    });
    expect(found.slice(0, 5)).toEqual(
      // bind(2) sets IPV6_V6ONLY on a specific address.
      inet.map((each, i) => ({
        ...netnsOf(sockets[i]!),
        endpoint: each.address === 'fd00::1' ? { ...each, v6only: true } : each,
      })),
    );
    const { netns: _, ...unix } = found[5]!;
    expect(unix).toEqual({
      fd: local,
      inode: inode(local),
      listening: false,
      endpoint: { kind: 'unix', path, abstract: false },
    });
    expect(found).toHaveLength(6);
  });

  test('a listening socket says so', async () => {
    const server = net.createServer().listen(join(directory, 'listening'));
    await once(server, 'listening');
    const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
    expect(describeListeners([fd])[0]).toMatchObject({ listening: true });
    expect(describeListeners([])).toEqual([]);
    server.close();
  });

  describe('at the next start', () => {
    let source: ReturnType<typeof transpile>;
    beforeEach(() => (source = transpile('kernel/store')));
    afterEach(() => source.remove());

    /** What a process takes that was started with these sockets from descriptor 3 on, and these variables. */
    async function start(sockets: readonly number[], variables: string): Promise<Record<string, unknown>> {
      const script = `const { takeStored, describeListeners } = await import(${JSON.stringify(source.path('kernel/store'))});
        const { readFileSync } = await import('node:fs');
        const taken = takeStored();
        const flags = ({ fd }) => /flags:\\s*(\\d+)/.exec(readFileSync('/proc/self/fdinfo/' + fd, 'utf8'))[1];
        console.log(JSON.stringify({ taken, again: takeStored(),
          left: Object.keys(process.env).filter((name) => name.startsWith('LISTEN_')),
          closing: taken.every((one) => (parseInt(flags(one), 8) & 0o2000000) !== 0),
          inodes: describeListeners(taken.map(({ fd }) => fd)).map(({ inode }) => inode) }))`;
      const command = `${variables} exec "$0" --input-type=module -e "$1"`;
      const child: ChildProcess = spawn('sh', ['-c', command, process.execPath, script], {
        stdio: ['ignore', 'pipe', 'inherit', ...sockets],
        env: { ...process.env, BERTH_ADDON: addon, NODE_CHANNEL_FD: undefined },
      });
      let output = '';
      child.stdout!.on('data', (chunk: Buffer) => (output += chunk.toString()));
      expect(await once(child, 'exit')).toEqual([0, null]);
      return JSON.parse(output) as Record<string, unknown>;
    }

    test('they come back with their names, once, and are not inherited any further', async () => {
      const sockets = await guard(endpoint(20000), endpoint(20001), endpoint(20002));
      expect(await start(sockets, 'LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=web-1:web-1:mail-4')).toEqual({
        taken: [
          { name: 'web-1', fd: 3 },
          { name: 'web-1', fd: 4 },
          { name: 'mail-4', fd: 5 },
        ],
        again: [],
        left: [],
        closing: true,
        inodes: sockets.map(inode),
      });
    });

    test('more are announced than there are, fewer names than sockets: what is there', async () => {
      const sockets = await guard(endpoint(20000), endpoint(20001));
      expect(await start(sockets, 'LISTEN_PID=$$ LISTEN_FDS=4000000000 LISTEN_FDNAMES=web')).toMatchObject({
        taken: [
          { name: 'web', fd: 3 },
          { name: 'unknown', fd: 4 },
        ],
        inodes: sockets.map(inode),
      });
    });

    test.each([
      'LISTEN_PID=1 LISTEN_FDS=2',
      'LISTEN_FDS=2',
      'LISTEN_PID=$$',
      ...['-1', '0', '2x', '1e3', '0x2', '', '99999999999999999999'].map(
        (count) => `LISTEN_PID=$$ LISTEN_FDS='${count}'`,
      ),
    ])('%s: none', async (variables) => {
      const sockets = await guard(endpoint(20000), endpoint(20001));
      expect(await start(sockets, variables)).toMatchObject({ taken: [], left: [] });
    });
  });
});

describe('the watchdog', () => {
  test.each([
    [{}, undefined],
    [{ WATCHDOG_USEC: '30000000' }, 30_000],
    [{ WATCHDOG_USEC: '30000000', WATCHDOG_PID: String(process.pid) }, 30_000],
    [{ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '1' }, undefined],
    [{ WATCHDOG_USEC: '0' }, undefined],
    [{ WATCHDOG_USEC: '-5' }, undefined],
    [{ WATCHDOG_USEC: 'soon' }, undefined],
  ])('%j: %s', (environment, interval) => {
    expect(watchdogIntervalMs(environment)).toBe(interval);
  });

  test('takes nothing from an environment without a service manager', () => {
    expect(takeStored({})).toEqual([]);
  });
});
