import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, fstatSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openKernel, type OpenKernel } from '../../src/kernel/kernel.js';
import type { HandedSocket } from '../../src/reload/env.js';
import { endpoint } from '../support/endpoints.js';
import { describeInNamespaces, makeNamespace, type Namespace } from '../support/netns.js';

const COMMAND = '_getsocks\n';

async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describeInNamespaces('handoff', () => {
  let netns: Namespace;
  let kernel: OpenKernel;
  let directory: string;
  const guards: number[] = [];

  beforeEach(async () => {
    netns = await makeNamespace();
    kernel = await openKernel({ netns: netns.path });
    directory = mkdtempSync(join(tmpdir(), 'berth-handoff-'));
  });

  afterEach(async () => {
    kernel.close(guards.splice(0));
    await kernel.closeNamespace();
    await netns.remove();
    rmSync(directory, { recursive: true, force: true });
  });

  async function guard(count: number, first = 20000): Promise<HandedSocket[]> {
    const endpoints = Array.from({ length: count }, (_, i) => endpoint(first + i));
    const results = await kernel.probe(endpoints, { keep: true });
    guards.push(...results.map((result) => result.guard!));
    return results.map((result) => ({ descriptor: result.guard!, namespace: '', device: '' }));
  }

  const inode = (descriptor: number) => fstatSync(descriptor).ino;
  const openFiles = () => readdirSync('/proc/self/fd').length;
  const path = () => join(directory, 'handoff');

  function haproxy(config: string, ...args: string[]) {
    const file = join(directory, 'haproxy.cfg');
    writeFileSync(
      file,
      `global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n${config}`,
    );
    const child = netns.spawn('haproxy', '-db', '-f', file, ...args);
    let said = '';
    child.stderr?.on('data', (data: Buffer) => (said += data.toString()));
    return {
      child,
      listening: (count: number) =>
        until(async () => {
          const rows = (await kernel.boundSockets()).filter(({ state }) => state === 'LISTEN');
          if (child.exitCode !== null) throw new Error(said);
          return rows.length === count ? rows : undefined;
        }),
    };
  }

  const listeners = (count: number, first: number, proxy = 'lb') =>
    Array.from(
      { length: count },
      (_, i) => `listen ${proxy}${i}\n  bind 127.0.0.1:${first + i}\n  server s 127.0.0.1:9\n`,
    ).join('');

  test('600 sockets in three messages: the same ones, in their order, to one asker after the other', async () => {
    const sockets = await guard(600);
    sockets[3] = { ...sockets[3]!, namespace: 'blue', device: 'eth0' };
    const server = await kernel.serveSockets(path(), sockets);
    expect(statSync(path()).mode & 0o777).toBe(0o600);
    const before = openFiles();
    for (let i = 1; i <= 3; i++) {
      const received = await kernel.getsocks(path(), 5000);
      expect(received.map(inode)).toEqual(sockets.map(({ descriptor }) => inode(descriptor)));
      kernel.close(received);
    }
    expect(openFiles()).toBe(before);
    await server.stop();
    expect(server.served()).toBe(3);
    expect(existsSync(path())).toBe(false);
    await expect(kernel.getsocks(path(), 1000)).rejects.toMatchObject({
      code: 'BERTH_HAPROXY_SOCKET',
      cause: { code: 'ENOENT' },
    });
  });

  test('no sockets to hand over is an answer too', async () => {
    const server = await kernel.serveSockets(path(), []);
    expect(await kernel.getsocks(path(), 1000)).toEqual([]);
    await server.stop();
  });

  test('guards become HAProxy listeners: same inodes, no bind of its own', async () => {
    const sockets = await guard(300);
    const udp = await kernel.probe([endpoint(21000, { address: '::1' })], { keep: true });
    guards.push(udp[0]!.guard!);
    const server = await kernel.serveSockets(path(), sockets);
    const { listening, child } = haproxy(listeners(300, 20000), '-x', server.path);
    const rows = await listening(300);
    expect(server.served()).toBe(1);
    await server.stop();
    expect(rows.map((row) => row.inode).sort()).toEqual(sockets.map(({ descriptor }) => inode(descriptor)).sort());
    const held = await kernel.socketsOf(child.pid!);
    expect(rows.every((row) => held.has(row.inode))).toBe(true);
  });

  test('the sockets of a HAProxy that exposes them, and of one that does not', async () => {
    const stats = join(directory, 'stats');
    const { listening } = haproxy(
      `global\n  stats socket ${stats} expose-fd listeners\n  stats socket ${stats}.shy\n${listeners(260, 20000)}`,
    );
    const rows = await listening(260);
    await until(async () => {
      const early = await kernel.getsocks(stats, 5000).catch(() => undefined);
      if (early) kernel.close(early);
      return early && existsSync(`${stats}.shy`) ? true : undefined;
    });
    const before = openFiles();
    const received = await kernel.getsocks(stats, 5000);
    const inodes = new Set(received.map(inode));
    expect(rows.every((row) => inodes.has(row.inode))).toBe(true);
    kernel.close(received);
    await expect(kernel.getsocks(`${stats}.shy`, 1000)).rejects.toMatchObject({ code: 'BERTH_HAPROXY_SOCKET' });
    expect(openFiles()).toBe(before);
  });

  test('unix listeners of a process, by the path at which they were bound', async () => {
    const stats = join(directory, 'stats');
    const { child, listening } = haproxy(
      `global\n  stats socket ${stats}\nlisten a\n  bind abns@berth-test\n  bind 127.0.0.1:20000\n`,
    );
    await listening(1);
    // HAProxy opens its listeners one protocol after the other.
    const found = await until(async () => {
      const now = await kernel.unixListenersOf(child.pid!);
      return now.length === 2 ? now : undefined;
    });
    expect(found.find(({ endpoint: { abstract } }) => abstract)?.endpoint.path).toBe('berth-test');
    expect(found.find(({ endpoint: { abstract } }) => !abstract)?.endpoint.path).toMatch(`${stats}.`);
  });

  test('a unix socket bound for HAProxy has mode 0600 and does not listen', async () => {
    const descriptor = await kernel.bindUnix(path());
    guards.push(descriptor);
    expect(statSync(path()).mode & 0o777).toBe(0o600);
    const client = net.connect(path());
    expect((await once(client, 'error'))[0]).toMatchObject({ code: 'ECONNREFUSED' });
    await expect(kernel.bindUnix(path())).rejects.toMatchObject({
      code: 'BERTH_HANDOFF',
      cause: { code: 'EADDRINUSE' },
    });
  });

  test.each([
    ['silence', 'ETIMEDOUT', undefined],
    ['an early end', 'ECONNRESET', Buffer.alloc(2)],
    ['text', 'EPROTO', Buffer.from('Unknown command. Please enter one of the following\n')],
    ['a negative number', 'EPROTO', Buffer.from([255, 255, 255, 255])],
    ['a number and nothing more', 'ECONNRESET', Buffer.from([7, 0, 0, 0])],
    ['data without descriptors', 'EPROTO', Buffer.concat([Buffer.from([1, 0, 0, 0]), Buffer.alloc(100_000)])],
  ])('an answer of %s is refused, and nothing stays open', async (_, errno, answer) => {
    const server = net.createServer((socket) => {
      socket.on('error', () => undefined).resume();
      if (answer) socket.end(answer);
    });
    server.listen(path());
    await once(server, 'listening');
    const before = openFiles();
    await expect(kernel.getsocks(path(), errno === 'ETIMEDOUT' ? 100 : 5000)).rejects.toMatchObject({
      cause: { code: errno },
    });
    server.close();
    expect(openFiles()).toBeLessThanOrEqual(before + 1);
  });

  test('silent, impatient and wrong askers do not keep the next one from its sockets', async () => {
    const sockets = await guard(300);
    const server = await kernel.serveSockets(path(), sockets);
    const silent = net.connect(path());
    const wrong = net.connect(path(), () => wrong.write('show info\nxxxx'));
    const gone = net.connect(path(), () => {
      gone.write(COMMAND);
      gone.destroy();
    });
    const lazy = net.connect(path(), () => lazy.write(COMMAND)); // never acknowledges
    for (const socket of [silent, wrong, gone, lazy]) socket.on('error', () => undefined).resume();
    const received = await kernel.getsocks(path(), 10_000);
    expect(received.length).toBe(300);
    kernel.close(received);
    await server.stop();
    expect(server.served()).toBe(1);
    for (const socket of [silent, wrong, gone, lazy]) socket.destroy();
  });

  test('stop does not wait for an asker, and leaves a path that another has taken', async () => {
    const server = await kernel.serveSockets(path(), await guard(1));
    const silent = net.connect(path());
    await once(silent, 'connect');
    rmSync(path());
    writeFileSync(path(), 'not ours');
    await server.stop();
    expect(existsSync(path())).toBe(true);
    silent.destroy();
  });

  test('an asker of another user gets nothing, even where the mode lets it in', async () => {
    const server = await kernel.serveSockets(path(), await guard(1));
    chmodSync(directory, 0o755);
    chmodSync(path(), 0o666);
    const script = `const s=require('net').connect(${JSON.stringify(path())},()=>s.write(${JSON.stringify(COMMAND)}));
      let n=0;s.on('data',(d)=>{n+=d.length});s.on('error',()=>{});s.on('close',()=>{console.log(n)})`;
    const child = spawn(process.execPath, ['-e', script], { uid: 65534, gid: 65534, cwd: '/' });
    let said = '';
    child.stdout.on('data', (data: Buffer) => (said += data.toString()));
    await once(child, 'close');
    expect(said.trim()).toBe('0');
    await server.stop();
    expect(server.served()).toBe(0);
  });

  test('a path that is too long, a directory that is missing', async () => {
    await expect(kernel.serveSockets(join(directory, 'x'.repeat(108)), [])).rejects.toMatchObject({
      cause: { code: 'ENAMETOOLONG' },
    });
    await expect(kernel.serveSockets(join(directory, 'no/where'), [])).rejects.toMatchObject({
      code: 'BERTH_HANDOFF',
      cause: { code: 'ENOENT', syscall: 'bind' },
    });
  });
});
