/** Reloads over the API: progress, clients that go away, idempotency keys; and the stream of events. */
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { ReloadDemand } from '../../src/agent/contract.js';
import { Jobs } from '../../src/agent/server/jobs.js';
import { eventsOf } from '../../src/client/event-stream.js';
import { BerthError } from '../../src/errors.js';
import { askSocket, FakeAgent, MEMBER, openApi, type Api } from '../support/api.js';
import * as sample from './cli-samples.js';

let api: Api;
afterEach(() => api.close());

/** A reload that ends when the test says so. */
function held(agent: FakeAgent) {
  const demands: ReloadDemand[] = [];
  let finish: (value: unknown) => void = () => undefined;
  let fail: (error: unknown) => void = () => undefined;
  agent.reloading = (demand) => {
    demands.push(demand);
    return new Promise((resolve, reject) => {
      finish = resolve;
      fail = reject;
    });
  };
  return { demands, finish: (value: unknown = sample.reload) => finish(value), fail: (error: unknown) => fail(error) };
}

async function stream(method: string, path: string, body?: object, headers: Record<string, string> = {}) {
  const type = body ? { 'content-type': 'application/json' } : {};
  const sent = request({
    socketPath: api.socket,
    method,
    path,
    agent: false,
    headers: { accept: 'text/event-stream', ...type, ...headers },
  });
  sent.on('error', () => undefined).end(body && JSON.stringify(body));
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return { sent, response, events: eventsOf(response) };
}

const running = (demands: readonly unknown[], count = 1) => vi.waitFor(() => expect(demands).toHaveLength(count));

describe('progress', () => {
  it('comes as it happens, then the result, then the end', async () => {
    api = await openApi();
    const run = held(api.agent);
    const { response, events } = await stream('POST', '/v1/reload', {});
    expect(response.headers['content-type']).toBe('text/event-stream');
    await running(run.demands);
    run.demands[0]?.observer?.({ type: 'phase', name: 'read', state: 'begin' });
    expect((await events.next()).value).toEqual({
      event: 'progress',
      data: { type: 'phase', name: 'read', state: 'begin' },
    });
    run.demands[0]?.observer?.({ type: 'warning', text: 'line\nbreak' });
    expect((await events.next()).value).toMatchObject({ data: { text: 'line\nbreak' } });
    run.finish();
    expect((await events.next()).value).toEqual({ event: 'result', data: sample.reload });
    expect((await events.next()).done).toBe(true);
  });

  it('ends with the error where it fails', async () => {
    api = await openApi();
    const run = held(api.agent);
    const { events } = await stream('POST', '/v1/rollback', {});
    api.agent.asked.length = 0;
    expect((await events.next()).value).toMatchObject({ event: 'result' });
    const failing = await stream('POST', '/v1/reload', {});
    await running(run.demands);
    run.fail(new BerthError('BERTH_CONFIG_REFUSED', 'no', { step: 'check', details: { line: 3 } }));
    expect((await failing.events.next()).value).toEqual({
      event: 'error',
      data: expect.objectContaining({ code: 'BERTH_CONFIG_REFUSED', step: 'check', details: { line: 3 } }) as unknown,
    });
  });

  it('goes on where the client goes away', async () => {
    api = await openApi();
    const run = held(api.agent);
    const { sent, response } = await stream('POST', '/v1/reload', {}, { 'idempotency-key': 'k' });
    await running(run.demands);
    response.on('error', () => undefined);
    sent.destroy();
    await new Promise((resolve) => response.once('close', resolve));
    run.demands[0]?.observer?.({ type: 'warning', text: 'nobody listens' });
    run.finish();
    const again = await api.ask('POST', '/v1/reload', {}, { 'idempotency-key': 'k' });
    expect(again.body).toEqual(sample.reload);
    expect(run.demands).toHaveLength(1);
  });

  it('says that the agent lives while nothing happens', async () => {
    api = await openApi();
    const run = held(api.agent);
    const { response } = await stream('POST', '/v1/reload', {});
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    await vi.waitFor(() => expect(text.split(':\n\n').length).toBeGreaterThan(3));
    run.finish();
    await once(response, 'end');
  });
});

describe('idempotency keys', () => {
  const key = { 'idempotency-key': 'deploy-17' };

  it('two at once share one run; the same again gets its answer; another demand is refused', async () => {
    api = await openApi();
    const run = held(api.agent);
    const body = { ifChanged: false };
    const both = [api.ask('POST', '/v1/reload', body, key), api.ask('POST', '/v1/reload', body, key)];
    await running(run.demands);
    const other = await api.ask('POST', '/v1/reload', { ifChanged: true }, key);
    expect([other.status, other.body]).toMatchObject([422, { code: 'BERTH_API_KEY' }]);
    run.finish();
    const answers = await Promise.all(both);
    expect(answers.map(({ body: one }) => one)).toEqual([sample.reload, sample.reload]);
    expect((await api.ask('POST', '/v1/reload', body, key)).body).toEqual(sample.reload);
    expect((await api.ask('POST', '/v1/stop', body, key)).status).toBe(400);
    expect((await api.ask('POST', '/v1/stop', {}, key)).status).toBe(422);
    expect(run.demands).toHaveLength(1);
  });

  it('an error is an answer, too', async () => {
    api = await openApi();
    const run = held(api.agent);
    const first = api.ask('POST', '/v1/reload', {}, key);
    await running(run.demands);
    run.fail(new BerthError('BERTH_RELOAD_FAILED', 'no', { step: 'hand-over' }));
    const second = await api.ask('POST', '/v1/reload', {}, key);
    expect([(await first).status, second.status]).toEqual([500, 500]);
    expect(run.demands).toHaveLength(1);
  });

  it('belong to a uid', async () => {
    api = await openApi();
    await api.ask('POST', '/v1/reload', {}, key);
    api.peer = MEMBER;
    await api.ask('POST', '/v1/reload', {}, key);
    expect(api.agent.asked).toHaveLength(2);
  });

  it.each(['', 'with space', 'ü', 'x'.repeat(201)])('refuses the key %j', async (bad) => {
    api = await openApi();
    const headers = { 'idempotency-key': Buffer.from(bad, 'utf8').toString('latin1') };
    const { status } = await api.ask('POST', '/v1/reload', {}, headers);
    expect(status).toBe(400);
    expect(api.agent.asked).toEqual([]);
  });

  it('are forgotten after ten minutes, and when there are too many', async () => {
    api = await openApi();
    let now = 0;
    let runs = 0;
    const jobs = new Jobs(() => now);
    const run = async (name: string) => jobs.run(name, 'same', () => Promise.resolve(++runs)).answer;
    expect((await run('a')).body).toBe('1');
    now = 599_000;
    expect((await run('a')).body).toBe('1');
    now = 601_000;
    expect((await run('a')).body).toBe('2');
    for (let i = 0; i < 1000; i++) await run(`k${i}`);
    expect((await run('a')).body).not.toBe('2');
    const never = jobs.run('running', 'x', () => new Promise(() => undefined));
    for (let i = 0; i < 2000; i++) await run(`m${i}`);
    expect(jobs.run('running', 'x', () => Promise.resolve(0))).toBe(never);
  });
});

describe('events', () => {
  it('of the kinds and the instance that were asked for', async () => {
    api = await openApi(new FakeAgent(['a', 'b']));
    const { sent, events } = await stream('GET', '/v1/events?instance=a&type=warning&type=recovered');
    await vi.waitFor(() => expect(api.agent.listeners.size).toBe(1));
    const at = '2026-08-07T14:02:00.000Z';
    api.agent.emit({ at, instance: 'b', type: 'warning', text: 'not this' });
    api.agent.emit({ at, instance: 'a', type: 'reload-unchanged', reason: 'nor this' });
    api.agent.emit({ at, instance: 'a', type: 'warning', text: 'this' });
    expect((await events.next()).value).toEqual({
      event: 'warning',
      data: { at, instance: 'a', type: 'warning', text: 'this' },
    });
    sent.destroy();
    await vi.waitFor(() => expect(api.agent.listeners.size).toBe(0));
  });

  it('a client that does not read is let go', async () => {
    api = await openApi();
    const { sent, response } = await stream('GET', '/v1/events');
    response.pause();
    await vi.waitFor(() => expect(api.agent.listeners.size).toBe(1));
    const text = 'x'.repeat(100_000);
    for (let i = 0; i < 100; i++) api.agent.emit({ at: '', instance: 'default', type: 'warning', text });
    expect(api.agent.listeners.size).toBe(0);
    sent.destroy();
  });

  it('end with the server', async () => {
    api = await openApi();
    const { events } = await stream('GET', '/v1/events');
    await vi.waitFor(() => expect(api.agent.listeners.size).toBe(1));
    const next = events.next();
    await api.server.close();
    expect((await next).done).toBe(true);
    expect(api.agent.listeners.size).toBe(0);
  });
});

describe('the rest of the API', () => {
  it('picks the only instance, the default one, or asks which', async () => {
    api = await openApi(new FakeAgent(['a', 'b']));
    expect(await api.ask('GET', '/v1/status')).toMatchObject({ status: 400, body: { code: 'BERTH_USAGE' } });
    expect((await api.ask('GET', '/v1/status?instance=b')).body).toMatchObject({ agent: { instance: 'b' } });
    expect(await api.ask('GET', '/v1/status?instance=c')).toMatchObject({
      status: 404,
      body: { code: 'BERTH_INSTANCE_UNKNOWN', message: expect.stringContaining('a, b') as unknown },
    });
    expect((await api.ask('GET', '/v1/instances')).status).toBe(200);
  });

  it('passes on what was asked', async () => {
    api = await openApi();
    await api.ask('GET', '/v1/listeners?after=x&limit=5');
    await api.ask('GET', '/v1/listeners');
    await api.ask('POST', '/v1/rollback', { generation: 3 });
    await api.ask('POST', '/v1/stop', { hard: true });
    await api.ask('POST', '/v1/release', { ports: '80,90-91' });
    const policy = { conflicts: { share: 'off', wait: { deadlineMs: 5 } }, reserve: { enabled: false } };
    await api.ask('POST', '/v1/reload', { ifChanged: true, policy });
    expect(api.agent.asked).toEqual([
      ['listeners', [{ after: 'x', limit: 5 }]],
      ['listeners', [{ limit: 1024 }]],
      ['rollback', [3, expect.objectContaining({ reason: 'asked by uid 0 (pid 1)' })]],
      ['stop', [{ hard: true }]],
      ['release', ['80,90-91']],
      ['reload', expect.objectContaining({ ifChanged: true, policy })],
    ]);
  });

  it('health: 200 or 503, with the same report', async () => {
    api = await openApi();
    expect((await api.ask('GET', '/healthz')).status).toBe(200);
    expect((await api.ask('GET', '/readyz')).status).toBe(503);
    api.agent.live = false;
    expect(await api.ask('GET', '/healthz')).toMatchObject({ status: 503, body: { live: false } });
    expect((await api.ask('GET', '/v1/health')).status).toBe(200);
  });

  it('metrics are what the agent gives, over TCP as well; without them there is no such path', async () => {
    const metrics = () => Promise.resolve({ contentType: 'text/plain; version=0.0.4', text: 'berth_up 1\n' });
    api = await openApi(new FakeAgent(), { tcp: '127.0.0.1:0' }, { metrics });
    const over = await askSocket({ host: '127.0.0.1', port: api.server.tcpPort ?? 0 }, 'GET', '/metrics');
    expect([over.status, over.text, over.headers['content-type']]).toEqual([
      200,
      'berth_up 1\n',
      'text/plain; version=0.0.4',
    ]);
    await api.close();
    api = await openApi();
    expect((await api.ask('GET', '/metrics')).status).toBe(404);
  });

  it('tells of every answer', async () => {
    const seen: unknown[] = [];
    api = await openApi(new FakeAgent(), {}, { onAnswer: ({ ms, ...rest }) => seen.push([typeof ms, rest]) });
    await api.ask('POST', '/v1/stop', {});
    await api.ask('GET', '/%2e%2e/etc/passwd');
    const caller = { role: 'owner', peer: api.peer };
    expect(seen).toEqual([
      ['number', { method: 'POST', route: '/v1/stop', status: 200, caller }],
      ['number', { method: 'GET', route: 'other', status: 404, caller }],
    ]);
  });
});
