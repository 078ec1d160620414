/** The client against a server with an agent that answers with samples: the same answers as in one process. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { openBerthOrAgent } from '../../src/cli/open.js';
import { connectAgent, type AgentClient } from '../../src/client/client.js';
import { ask } from '../../src/client/transport.js';
import { BerthError } from '../../src/errors.js';
import type { ReloadEvent } from '../../src/reload/reports.js';
import { FakeAgent, openApi, SOURCE, type Api } from '../support/api.js';
import * as sample from './cli-samples.js';

/** A server with next to no backlog. */
const BUSY = `
  const server = require('node:http').createServer((_, response) => response.end('{"there":true}'));
  server.listen({ path: process.argv[1], backlog: 1 }, () => console.log('listens'));`;

let api: Api | undefined;
afterEach(async () => {
  await api?.close();
  api = undefined;
});

async function connected(agent = new FakeAgent(), over: object = {}): Promise<AgentClient> {
  api = await openApi(agent);
  const client = await connectAgent({ socket: api.socket, ...over });
  if (client === undefined) throw new Error('no agent');
  return client;
}

describe('the client', () => {
  it('answers every method as a Berth does', async () => {
    const client = await connected();
    expect(client.agent).toEqual({ version: '0.1.0', pid: process.pid, startedAt: expect.any(String) as unknown });
    expect(await client.preflight(['tcp:10.0.0.1:443'])).toEqual(sample.preflight);
    expect(await client.plan([SOURCE])).toEqual(sample.plan);
    expect(await client.reload([SOURCE])).toEqual(sample.reload);
    expect(await client.reload()).toEqual(sample.reload);
    expect(await client.rollback(41)).toEqual(sample.reload);
    expect(await client.stop({ hard: true })).toMatchObject({ how: 'soft' });
    expect(await client.reserve(['58824'])).toMatchObject({ added: '58824' });
    expect(await client.release()).toMatchObject({ removed: '58824' });
    expect(await client.reservations()).toEqual(sample.reservations);
    expect(await client.history()).toEqual(sample.history);
    expect(await client.diff(41, 42)).toEqual(sample.diff);
    expect(await client.status()).toMatchObject({ ...sample.status, agent: { instance: 'default', phase: 'idle' } });
    expect(await client.listeners({ limit: 5 })).toMatchObject({ total: 1 });
    expect(await client.conflicts()).toMatchObject({ listeners: [{ name: sample.foreign.name }] });
    expect(await client.processes()).toMatchObject({ processes: [{ role: 'serving' }] });
    expect(await client.doctor([SOURCE])).toEqual(sample.doctor);
    expect((await client.settings()).sources).toEqual([SOURCE]);
    expect((await client.health()).live).toBe(true);
    expect((await client.instances()).instances).toHaveLength(1);
    await client.reconcile();
    await client.close();
  });

  it('means relative paths from its own directory', async () => {
    const client = await connected();
    await client.reload(['site.d']);
    await client.plan(['site.d'], { workingDirectory: 'sub' });
    await client.preflight(['tcp:10.0.0.1:80']);
    expect(api?.agent.asked).toMatchObject([
      ['reload', { sources: ['site.d'], workingDirectory: process.cwd() }],
      ['plan', [['site.d'], { workingDirectory: join(process.cwd(), 'sub') }]],
      ['preflight', [['tcp:10.0.0.1:80'], {}]],
    ]);
  });

  it('tells the progress, and passes on what a reload may have for itself', async () => {
    const seen: ReloadEvent[] = [];
    const agent = new FakeAgent();
    agent.reloading = ({ observer }) => {
      observer?.({ type: 'phase', name: 'read', state: 'begin' });
      observer?.({ type: 'warning', text: 'ü\n' });
      return Promise.resolve({ outcome: 'unchanged', generation: 42 });
    };
    const client = await connected(agent, { observer: (event: ReloadEvent) => seen.push(event) });
    const policy = { conflicts: { share: 'off' } };
    expect(await client.reload([], { ifChanged: true, policy, idempotencyKey: 'k' })).toMatchObject({
      outcome: 'unchanged',
    });
    expect(seen).toEqual([
      { type: 'phase', name: 'read', state: 'begin' },
      { type: 'warning', text: 'ü\n' },
    ]);
    expect(agent.asked).toMatchObject([['reload', { ifChanged: true, policy }]]);
  });

  it('rejects with the error of the agent: code, step, advice, details, system call', async () => {
    const cause = Object.assign(new Error('full'), { code: 'ENOSPC', errno: -28, syscall: 'write' });
    const error = new BerthError('BERTH_STATE_WRITE', 'no room', {
      step: 'journal',
      cause,
      advice: 'do',
      details: { a: 1 },
    });
    const agent = new FakeAgent(['default'], { history: () => Promise.reject(error) });
    agent.reloading = () => Promise.reject(error);
    const client = await connected(agent);
    for (const failing of [client.history(), client.reload()]) {
      const caught = (await failing.catch((one: unknown) => one)) as BerthError;
      expect(caught).toBeInstanceOf(BerthError);
      expect(caught.toJSON()).toEqual(error.toJSON());
      expect(caught.exitStatus).toBe(9);
    }
  });

  it('a signal ends the waiting, not the work', async () => {
    const agent = new FakeAgent();
    agent.reloading = () => new Promise(() => undefined);
    const controller = new AbortController();
    const client = await connected(agent, { signal: controller.signal });
    const waiting = client.reload();
    await vi.waitFor(() => expect(agent.asked).toHaveLength(1));
    controller.abort();
    await expect(waiting).rejects.toMatchObject({
      code: 'BERTH_INTERRUPTED',
      message: expect.stringContaining('the agent goes on') as unknown,
    });
  });

  it('an agent that ends in the middle is an error', async () => {
    const agent = new FakeAgent();
    agent.reloading = () => new Promise(() => undefined);
    const client = await connected(agent);
    const waiting = client.reload().catch((error: unknown) => error);
    await vi.waitFor(() => expect(agent.asked).toHaveLength(1));
    await api?.server.close();
    expect(await waiting).toMatchObject({ code: 'BERTH_AGENT' });
  });

  // Ten thousand connections of one member filled the backlog: the kernel sent root away (EAGAIN), and so did Berth.
  it('waits for its turn where the agent’s backlog is full, as long as it waits for an answer', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'berth-backlog-'));
    const socket = join(directory, 's');
    const agent = spawn(process.execPath, ['-e', BUSY, socket], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(agent.stdout, 'data');
    agent.kill('SIGSTOP');
    const others = Array.from({ length: 4 }, () => connect(socket).on('error', () => undefined));
    await vi.waitFor(() => expect(others.some(({ destroyed }) => destroyed)).toBe(true));
    const exchange = { method: 'GET', path: '/' } as const;
    await expect(ask(socket, { ...exchange, timeoutMs: 60 })).rejects.toMatchObject({ code: 'BERTH_TIMEOUT' });
    const waiting = ask(socket, { ...exchange, timeoutMs: 20_000 });
    agent.kill('SIGCONT');
    expect(await waiting).toEqual({ there: true });
    for (const other of others) other.destroy();
    agent.kill('SIGKILL');
    rmSync(directory, { recursive: true });
  });

  it('follows the events', async () => {
    const client = await connected();
    const events = client.events(['warning']);
    const first = events.next();
    await vi.waitFor(() => expect(api?.agent.listeners.size).toBe(1));
    api?.agent.emit({ at: '', instance: 'default', type: 'recovered', found: 'x', done: [] });
    api?.agent.emit({ at: '', instance: 'default', type: 'warning', text: 'this' });
    expect((await first).value).toMatchObject({ text: 'this' });
    await events.return(undefined);
    await vi.waitFor(() => expect(api?.agent.listeners.size).toBe(0));
  });
});

describe('which agent', () => {
  it('none: no socket, nobody behind it, no access, another state directory', async () => {
    expect(await connectAgent({ socket: '/nonexistent/berth.sock' })).toBeUndefined();
    api = await openApi();
    const { socket } = api;
    for (const wanted of [{ stateDir: '/elsewhere' }, { instance: 'b' }, { pidFile: '/run/x.pid' }]) {
      expect(await connectAgent({ socket, ...wanted }), JSON.stringify(wanted)).toBeUndefined();
    }
    api.peer = { pid: 9, uid: 9, gid: 9, groups: [] };
    expect(await connectAgent({ socket })).toBeUndefined();
    await api.server.close();
    expect(await connectAgent({ socket })).toBeUndefined();
  });

  it('by name, state directory or pid file; with several, the default one', async () => {
    api = await openApi(new FakeAgent(['a', 'default']));
    const { socket } = api;
    const named = async (wanted: object) => (await connectAgent({ socket, ...wanted }))?.instance.name;
    expect(await named({})).toBe('default');
    expect(await named({ instance: 'a' })).toBe('a');
    expect(await named({ stateDir: '/var/lib/berth/a' })).toBe('a');
    expect(await named({ pidFile: '/run/a.pid' })).toBe('a');
  });

  it('what is no agent is said', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'berth-client-'));
    const socket = join(directory, 's');
    const other = createServer((_, response) => response.writeHead(500).end('<html>'));
    await new Promise<void>((resolve) => other.listen(socket, resolve));
    await expect(connectAgent({ socket })).rejects.toMatchObject({ code: 'BERTH_AGENT' });
    await new Promise((resolve) => other.close(resolve));
    rmSync(directory, { recursive: true });
  });
});

describe('the command through the agent', () => {
  /** A settings file as the fake agent has it. */
  async function opened(settings: Record<string, unknown> = {}, agent = true) {
    api = await openApi();
    const directory = mkdtempSync(join(tmpdir(), 'berth-open-'));
    const file = join(directory, 'berth.yaml');
    writeFileSync(
      file,
      JSON.stringify({
        stateDir: '/var/lib/berth/default',
        sources: [SOURCE],
        haproxy: { pidFile: '/run/default.pid' },
        agent: { socket: api.socket },
      }),
    );
    const said: string[] = [];
    const berth = await openBerthOrAgent(
      { settingsFile: file, settings, environment: {} },
      { agent, say: (line) => void said.push(line) },
    );
    rmSync(directory, { recursive: true });
    return { berth, said, remote: 'agent' in berth };
  }

  it('goes there, and says nothing about it', async () => {
    expect(await opened()).toMatchObject({ remote: true, said: [] });
    await api?.close();
    expect(await opened({ haproxy: { pidFile: '/run/default.pid' }, lockWaitMs: 5 })).toMatchObject({
      remote: true,
      said: [],
    });
  });

  it('stays here under --no-agent, without a socket, and with options that the agent cannot follow', async () => {
    expect(await opened({}, false)).toMatchObject({ remote: false, said: [] });
    await api?.close();
    expect(await opened({ agent: { socket: '/nonexistent' } })).toMatchObject({ remote: false, said: [] });
    await api?.close();
    const other = await opened({ haproxy: { binary: '/opt/haproxy', pidFile: '/run/other.pid' } });
    expect(other.remote).toBe(false);
    expect(other.said).toEqual([expect.stringContaining('haproxy.binary, haproxy.pidFile')]);
    await api?.close();
    const elsewhere = mkdtempSync(join(tmpdir(), 'berth-state-'));
    expect(await opened({ stateDir: elsewhere })).toMatchObject({ remote: false, said: [] });
    rmSync(elsewhere, { recursive: true });
  });

  it('takes the ladder and the reservation along as a policy', async () => {
    const { berth, remote } = await opened({ conflicts: { share: 'off', wait: { deadlineMs: 7 } }, dataPreserveN: 3 });
    expect(remote).toBe(true);
    const policy = { conflicts: { share: 'off', wait: { deadlineMs: 7 } }, dataPreserveN: 3 };
    await berth.reload([SOURCE]);
    await berth.rollback(3);
    expect(api?.agent.asked).toMatchObject([
      ['reload', { policy, sources: [SOURCE] }],
      ['rollback', [3, { policy }]],
    ]);
    await berth.close();
  });

  it('finds the state directory behind a symlink', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'berth-real-'));
    mkdirSync(join(directory, 'state'));
    symlinkSync(join(directory, 'state'), join(directory, 'link'));
    const agent = new FakeAgent();
    const [instance] = agent.instances.values();
    Object.assign(instance?.settings ?? {}, { stateDir: join(directory, 'state') });
    api = await openApi(agent);
    expect((await connectAgent({ socket: api.socket, stateDir: join(directory, 'link') }))?.instance.name).toBe(
      'default',
    );
    rmSync(directory, { recursive: true });
  });
});
