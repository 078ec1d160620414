import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ask, statsIdentity } from '../../src/haproxy/cli.js';
import { showProc } from '../../src/haproxy/show-proc.js';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';

const skip = cannotRun() !== undefined;
const binaries = skip ? [] : haproxyBinaries();
const timeoutMs = 5_000;

describe.skipIf(skip)('a socket of HAProxy', () => {
  let lab: Lab;
  let servers: Server[];
  let sockets: Socket[];

  beforeEach(async () => {
    lab = await Lab.open();
    servers = [];
    sockets = [];
  });

  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    for (const server of servers) server.close();
    await lab.close();
  });

  /** Somebody else on a unix socket; what it was told is collected. */
  const stranger = async (answer: (socket: Socket) => void) => {
    const path = lab.path('stranger.sock');
    const heard: string[] = [];
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.push(socket);
      socket.on('error', () => undefined);
      socket.once('data', (text) => {
        heard.push(String(text));
        answer(socket);
      });
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return { path, heard };
  };

  it.each(binaries)('of $version tells pid and version, and answers whole', async ({ version, path: binary }) => {
    const stats = lab.path('stats.sock');
    const listeners = Array.from({ length: 300 }, (_, at) => `127.0.0.1:${10_000 + at}`);
    const file = lab.write('a.cfg', configuration(listeners, { global: [`stats socket ${stats} level admin`] }));
    const room = lab.haproxy({ binary });
    const { pid } = await room.start(lab.command([file]), {
      pidFile: lab.path('pid'),
      mode: 'standalone',
      timeoutMs: 20_000,
    });
    const identity = await room.statsIdentity(stats, timeoutMs);
    expect(identity.pid).toBe(pid);
    expect(identity.version.startsWith(`${version}.`)).toBe(true);
    const table = await room.command(stats, 'show stat', timeoutMs);
    expect(table.match(/^lb\d+,FRONTEND,/gm)).toHaveLength(300);
    await expect(showProc(stats, { timeoutMs })).rejects.toMatchObject({
      code: 'BERTH_HAPROXY_SOCKET',
      message: expect.stringContaining('it is a stats socket') as unknown,
    });
  });

  it('takes one command only', async () => {
    const { path, heard } = await stranger((socket) => socket.end());
    for (const command of ['show info; disable frontend x', 'show info\nshutdown', 'a\0b', '', '  ']) {
      await expect(ask(path, command, { timeoutMs })).rejects.toMatchObject({ code: 'BERTH_USAGE' });
    }
    expect(heard).toEqual([]);
  });

  it('that is somebody else’s is told by what it says', async () => {
    const { path, heard } = await stranger((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await expect(statsIdentity(path, timeoutMs)).rejects.toMatchObject({
      code: 'BERTH_HAPROXY_SOCKET',
      message: expect.stringContaining('HTTP/1.1 400 Bad Request') as unknown,
    });
    await expect(showProc(path, { timeoutMs })).rejects.toMatchObject({ code: 'BERTH_HAPROXY_SOCKET' });
    expect(heard).toEqual(['show info\n', 'show proc\n']);
  });

  it('that says nothing is given up after the limit', async () => {
    const { path } = await stranger(() => undefined);
    await expect(ask(path, 'show info', { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'BERTH_HAPROXY_SOCKET',
      details: { silent: true },
    });
  });

  it('that talks without end is given up', async () => {
    const { path } = await stranger((socket) => {
      const more = () => {
        while (!socket.destroyed && socket.write(Buffer.alloc(1 << 20, 'x')));
      };
      socket.on('drain', more);
      more();
    });
    await expect(ask(path, 'show info', { timeoutMs: 20_000 })).rejects.toMatchObject({
      code: 'BERTH_HAPROXY_SOCKET',
      message: expect.stringContaining('more than') as unknown,
    });
  });

  it('that is dead or missing is named', async () => {
    await expect(ask(lab.path('none'), 'show info', { timeoutMs })).rejects.toMatchObject({
      code: 'BERTH_HAPROXY_SOCKET',
      message: `The socket ${lab.path('none')} does not exist`,
    });
    const dead = lab.path('dead.sock');
    await lab
      .exec(process.execPath, [
        '-e',
        `require('net').createServer().listen('${dead}', () => process.kill(process.pid, 9))`,
      ])
      .catch(() => undefined);
    await expect(ask(dead, 'show info', { timeoutMs })).rejects.toMatchObject({
      code: 'BERTH_HAPROXY_SOCKET',
      cause: { code: 'ECONNREFUSED' },
    });
  });

  it('is left alone on an abort', async () => {
    const { path } = await stranger(() => undefined);
    const abort = new AbortController();
    const asking = ask(path, 'show info', { timeoutMs, signal: abort.signal });
    abort.abort();
    await expect(asking).rejects.toMatchObject({ code: 'BERTH_INTERRUPTED' });
  });
});
