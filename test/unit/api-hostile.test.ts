/** What nobody should send to the API: each ends in a clear answer, and the next request is answered as if nothing had been. */
import { once } from 'node:events';
import { connect, Socket } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Connections, MAX_CONNECTIONS, Turns } from '../../src/agent/server/limits.js';
import { FakeAgent, MEMBER, openApi, OTHER, type Api } from '../support/api.js';

let api: Api;
afterEach(() => api.close());

/** Everything that the server sends to these bytes until it closes the connection. */
async function raw(text: string | Buffer, then?: (socket: Socket) => void): Promise<string> {
  const socket = connect(api.socket);
  await once(socket, 'connect');
  let all = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => (all += chunk));
  socket.on('error', () => undefined).write(text);
  then?.(socket);
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
  return all;
}

const post = (body: string, more = '') =>
  `POST /v1/preflight HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n` +
  `Content-Length: ${Buffer.byteLength(body)}\r\n${more}\r\n${body}`;
const alive = async () => expect((await api.ask('GET', '/v1/status')).status).toBe(200);
const nothingAsked = () => expect(api.agent.asked).toEqual([]);

describe('bodies', () => {
  it.each([
    ['not JSON', '{"targets":', 'not JSON'],
    ['not an object', '[]', 'body'],
    ['null', 'null', 'body'],
    ['nothing that is needed', '{}', 'targets'],
    ['an unknown key', '{"target":["tcp:1.2.3.4:5"]}', 'did you mean targets?'],
    ['a wrong type', '{"targets":"tcp:1.2.3.4:5"}', 'targets'],
    ['an empty list', '{"targets":[]}', 'targets'],
    ['a NUL', '{"targets":["/etc/x\\u0000.cfg"]}', 'NUL'],
    ['a relative working directory', '{"targets":["x"],"workingDirectory":"y"}', 'absolute'],
    ['a long word', JSON.stringify({ targets: ['x'.repeat(5000)] }), 'targets.0'],
    ['prototype pollution', '{"targets":["tcp:1.2.3.4:5"],"__proto__":{"admin":true}}', '__proto__'],
    ['pollution through the constructor', '{"targets":["a"],"constructor":{"prototype":{"x":1}}}', 'constructor'],
    ['depth', `{"targets":${'['.repeat(500)}${']'.repeat(500)}}`, 'deep'],
    ['more depth than a stack', '['.repeat(500_000), 'deep'],
    ['brackets in text are not depth', JSON.stringify({ targets: ['['.repeat(100)] }), 'absolute'],
    ['a number for a switch', '{"targets":["a"],"workingDirectory":7}', 'workingDirectory'],
  ])('%s', async (_, body, text) => {
    api = await openApi();
    const answer = await api.ask('POST', '/v1/preflight', body);
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ code: 'BERTH_USAGE', message: expect.stringContaining(text) as unknown });
    expect(({} as Record<string, unknown>)['admin']).toBeUndefined();
    nothingAsked();
    await alive();
  });

  it.each([
    ['{"policy":{"conflicts":{"shar":"all"}}}', 'did you mean share?'],
    ['{"policy":{"conflicts":{"share":"everything"}}}', 'policy.conflicts.share'],
    ['{"policy":{"haproxy":{"binary":"/tmp/evil"}}}', 'policy.haproxy'],
    ['{"policy":{"stateDir":"/tmp"}}', 'policy.stateDir'],
    ['{"policy":{"conflicts":{"__proto__":{"share":"all"}}}}', '__proto__'],
    ['{"generation":0}', 'generation'],
  ])('a policy is the ladder and the reservation, no more: %s', async (body, text) => {
    api = await openApi();
    const answer = await api.ask('POST', body.includes('generation') ? '/v1/rollback' : '/v1/reload', body);
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ message: expect.stringContaining(text) as unknown });
    nothingAsked();
  });

  it('too large: refused by its length, and where it has none, as soon as it is', async () => {
    api = await openApi(new FakeAgent(), { maxBodyBytes: 2000 });
    const large = JSON.stringify({ targets: Array.from({ length: 1000 }, () => 'tcp:1.2.3.4:5') });
    const answer = await api.ask('POST', '/v1/preflight', large);
    expect(answer).toMatchObject({ status: 413, body: { code: 'BERTH_API_TOO_LARGE' } });
    const promised = await raw(post('', 'X: y\r\n').replace('Content-Length: 0', 'Content-Length: 99999999999'));
    expect(promised).toMatch(/^HTTP\/1\.1 413 /);
    const chunk = `${(1000).toString(16)}\r\n${'x'.repeat(1000)}\r\n`;
    const chunked = await raw(
      `POST /v1/preflight HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n` +
        chunk.repeat(5),
    );
    expect(chunked).toMatch(/^HTTP\/1\.1 413 /);
    nothingAsked();
    await alive();
  });

  it('not UTF-8, and of another type', async () => {
    api = await openApi();
    const wrong = Buffer.from('{"targets":["\xff\xfe"]}', 'latin1');
    const head = post('x'.repeat(wrong.length)).replace(/x+$/, '');
    const bytes = Buffer.concat([Buffer.from(head), wrong]);
    expect(await raw(bytes)).toContain('not UTF-8');
    const form = await api.ask('POST', '/v1/preflight', 'targets=x', {
      'content-type': 'application/x-www-form-urlencoded',
    });
    expect(form).toMatchObject({
      status: 400,
      body: { message: expect.stringContaining('application/json') as unknown },
    });
    nothingAsked();
  });

  it('one word that stands for all ports', async () => {
    api = await openApi(new FakeAgent(), { readers: 'all' });
    const ranges = (count: number) => ({ targets: Array.from({ length: count }, (_, i) => `tcp:10.0.0.${i}:1-65535`) });
    expect((await api.ask('POST', '/v1/preflight', ranges(1))).status).toBe(200);
    expect(await api.ask('POST', '/v1/preflight', ranges(2))).toMatchObject({
      status: 413,
      body: { details: { endpoints: 131_070 } },
    });
    api.peer = OTHER;
    expect((await api.ask('POST', '/v1/preflight', ranges(1))).status).toBe(413);
  });
});

describe('paths, queries and heads', () => {
  it.each([
    '/',
    '//',
    '/v1',
    '/v1/',
    '/v2/status',
    '/v1/status/',
    '/v1//status',
    '/V1/STATUS',
    '/v1/status%00',
    '/v1/%2e%2e/%2e%2e/etc/passwd',
    '/../../etc/passwd',
    '/v1/../../etc/passwd',
    '/..%2f..%2fetc/passwd',
    '/constructor',
    '/__proto__',
    '/v1/toString',
    '/*',
    `/${'a'.repeat(4000)}`,
  ])('no such path: %s', async (path) => {
    api = await openApi();
    const answer = await raw(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 (404|400) /);
    expect(answer).toContain('"code":"BERTH_');
    expect(answer).not.toContain('root:');
    nothingAsked();
  });

  it.each([
    ['POST', '/v1/status', 'GET'],
    ['GET', '/v1/reload', 'POST'],
    ['DELETE', '/v1/reload', 'POST'],
    ['OPTIONS', '/v1/reload', 'POST'],
    ['PATCH', '/v1/log-level', 'PUT'],
    ['POST', '/healthz', 'GET'],
  ])('no such method: %s %s', async (method, path, allow) => {
    api = await openApi();
    const answer = await api.ask(method, path);
    expect(answer).toMatchObject({ status: 405, body: { code: 'BERTH_API_METHOD' }, headers: { allow } });
    nothingAsked();
  });

  it.each([
    ['/v1/diff?from=1', 'to'],
    ['/v1/diff?from=1&to=x', 'to'],
    ['/v1/diff?from=1&from=2&to=3', 'more than once'],
    ['/v1/diff?from=1e9&to=2', 'from'],
    ['/v1/listeners?limit=0', 'limit'],
    ['/v1/listeners?limit=99999999', 'limit'],
    ['/v1/listeners?limt=5', 'did you mean limit?'],
    ['/v1/status?__proto__=1', '__proto__'],
    ['/v1/events?typ=x', 'did you mean type?'],
  ])('a wrong query: %s', async (path, text) => {
    api = await openApi();
    expect(await api.ask('GET', path)).toMatchObject({
      status: 400,
      body: { code: 'BERTH_USAGE', message: expect.stringContaining(text) as unknown },
    });
    nothingAsked();
  });

  it.each([
    ['no HTTP', 'hello\r\n\r\n', 400],
    ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
    ['no Host', 'GET /v1/status HTTP/1.1\r\n\r\n', 400],
    ['two lengths', 'POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\n{}', 400],
    [
      'length and chunks (request smuggling)',
      'POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['a folded header', 'GET /v1/status HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n', 400],
    ['a bare carriage return in a header', 'GET /v1/status HTTP/1.1\r\nHost: x\r\nX: a\rSet-Cookie: b\r\n\r\n', 400],
    ['a head without an end', `GET /v1/status HTTP/1.1\r\nHost: x\r\n${'X: y\r\n'.repeat(10_000)}`, 431],
    ['a host that is none', 'GET /v1/status HTTP/1.1\r\nHost: a b/c\r\nConnection: close\r\n\r\n', 400],
    ['a CONNECT', 'CONNECT 10.0.0.1:80 HTTP/1.1\r\nHost: x\r\n\r\n', undefined],
    [
      'an upgrade',
      'POST /v1/stop HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\nContent-Length: 9\r\n\r\n{"hard":1}',
      undefined,
    ],
  ])('%s', async (_, text, status) => {
    api = await openApi();
    const answer = await raw(Buffer.from(text, 'latin1'));
    if (status !== undefined) {
      expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
      expect(answer.toLowerCase()).not.toContain('set-cookie');
    }
    nothingAsked();
    await alive();
  });

  it('what is sent back is no header', async () => {
    api = await openApi();
    const { headers, body } = await api.ask('GET', '/v1/status?instance=a%0d%0aSet-Cookie:%20x');
    expect(body).toMatchObject({ code: 'BERTH_INSTANCE_UNKNOWN' });
    expect(headers['set-cookie']).toBeUndefined();
    expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' });
  });

  it('pipelined requests are answered in their order, the role of each that of the connection', async () => {
    api = await openApi(new FakeAgent(), { readers: 'all' });
    api.peer = OTHER;
    const stop = 'POST /v1/stop HTTP/1.1\r\nHost: x\r\nX-Forwarded-User: root\r\nContent-Length: 0\r\n\r\n';
    const status = 'GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n';
    const answer = await raw(stop + status + stop + status.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
    expect([...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1])).toEqual(['403', '200', '403', '200']);
    nothingAsked();
  });
});

describe('slow, many and silent', () => {
  const quick = { requestTimeoutMs: 300 };

  it.each([
    ['nothing at all', ''],
    ['half a head', 'POST /v1/stop HTTP/1.1\r\nHost: x\r\n'],
    [
      'half a body',
      'POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"ha',
    ],
  ])('%s: the connection ends by itself', async (_, text) => {
    api = await openApi(new FakeAgent(), quick);
    // Ends at all: no clock is compared.
    await raw(text);
    nothingAsked();
    await alive();
  });

  it('a letter at a time (slow loris)', async () => {
    api = await openApi(new FakeAgent(), quick);
    let timer: NodeJS.Timeout | undefined;
    await raw('GET /v1/status HTTP/1.1\r\nX: ', (socket) => {
      timer = setInterval(() => socket.write('a'), 20);
    });
    clearInterval(timer);
    await alive();
  });

  it('a thousand idle connections of one user leave room for the others', async () => {
    api = await openApi();
    api.peer = MEMBER;
    const sockets: Socket[] = [];
    // In portions: connect(2) on a unix socket does not wait for room in the backlog.
    for (let i = 0; i < 20; i++) {
      const portion = Array.from({ length: 50 }, () => connect(api.socket).on('error', () => undefined));
      await Promise.all(portion.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
      sockets.push(...portion);
    }
    const ended = sockets.map(
      (socket) => new Promise((resolve) => (socket.closed ? resolve(0) : socket.once('close', resolve))),
    );
    await vi.waitFor(() => expect(sockets.filter((socket) => socket.closed)).toHaveLength(1000 - 128), {
      timeout: 20_000,
    });
    api.peer = { ...OTHER, groups: [0] };
    expect((await api.ask('GET', '/v1/status')).status).toBe(200);
    api.peer = { pid: 1, uid: 0, gid: 0, groups: [] };
    expect((await api.ask('GET', '/v1/status')).status).toBe(200);
    for (const socket of sockets) socket.destroy();
    await Promise.all(ended);
    api.peer = MEMBER;
    await vi.waitFor(async () => expect((await api.ask('GET', '/v1/status')).status).toBe(200));
  });

  it('many users together leave room for root', () => {
    const connections = new Connections();
    const take = (uid: number) => connections.take(new Socket(), { role: 'reader', peer: { ...OTHER, uid } });
    const taken = Array.from({ length: 2000 }, (_, at) => take(100_000 + at)).filter(Boolean).length;
    expect(taken).toBe(MAX_CONNECTIONS - 128);
    expect(connections.take(new Socket(), { role: 'owner' })).toBe(true);
  });

  it('a thousand requests at once on one connection: few are begun, and it is ended', async () => {
    api = await openApi();
    api.peer = MEMBER;
    await raw('GET /v1/conflicts HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1000));
    expect(api.agent.asked.length).toBeLessThanOrEqual(16);
    await alive();
  });

  it('the questions of one user wait for his own, and those of who has gone are not begun', async () => {
    const turns = new Turns();
    const caller = { role: 'reader', peer: OTHER } as const;
    const begun: number[] = [];
    const ends: (() => void)[] = [];
    const work = (at: number) => () => {
      begun.push(at);
      return new Promise<string>((resolve) => ends.push(() => resolve('done')));
    };
    const gone = new Set([9]);
    const all = Array.from({ length: 12 }, (_, at) => turns.take(caller, () => gone.has(at), work(at), 'gone'));
    await vi.waitFor(() => expect(begun).toHaveLength(8));
    await expect(
      turns.take(
        { role: 'owner' },
        () => false,
        () => Promise.resolve('root'),
        '',
      ),
    ).resolves.toBe('root');
    for (let at = 0; at < 11; at += 1) {
      await vi.waitFor(() => expect(ends.length).toBeGreaterThan(at));
      ends[at]?.();
    }
    expect(await Promise.all(all)).toEqual(all.map((_, at) => (at === 9 ? 'gone' : 'done')));
    expect(begun).not.toContain(9);
  });

  it('a defect of the agent is an answer, and says nothing of its files', async () => {
    api = await openApi(
      new FakeAgent(['default'], { history: () => Promise.reject(new TypeError('x is not a function')) }),
    );
    const { status, body } = await api.ask('GET', '/v1/history');
    expect([status, body]).toMatchObject([500, { code: 'BERTH_INTERNAL' }]);
    expect(JSON.stringify(body)).not.toContain('.ts');
    await alive();
  });
});
