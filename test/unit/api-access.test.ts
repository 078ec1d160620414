/** Who may do what over the agent's API. */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { groupId, roleOf } from '../../src/agent/server/access.js';
import { ROUTES } from '../../src/agent/server/routes.js';
import { askSocket, FakeAgent, MEMBER, openApi, OTHER, SOURCE, type Api } from '../support/api.js';

let api: Api;
afterEach(() => api.close());

/** A body that each route takes. */
const BODIES: Readonly<Record<string, object>> = {
  '/v1/preflight': { targets: ['tcp:10.0.0.1:443'] },
  '/v1/reserve': { targets: ['58824'] },
  '/v1/log-level': { level: 'debug' },
};
const QUERIES: Readonly<Record<string, string>> = { '/v1/diff': '?from=41&to=42' };

const askRoute = ({ method, path }: (typeof ROUTES)[number]) =>
  api.ask(method, path + (QUERIES[path] ?? ''), method === 'GET' ? undefined : (BODIES[path] ?? {}));

describe('roles', () => {
  it('root may ask every route, members of the group all but the hand-over', async () => {
    api = await openApi();
    for (const peer of [undefined, MEMBER]) {
      if (peer) api.peer = peer;
      for (const route of ROUTES) {
        const refused = peer && route.path === '/v1/hand-over';
        expect((await askRoute(route)).status, `${route.method} ${route.path}`).toBe(refused ? 403 : 200);
      }
    }
  });

  it('others may nothing', async () => {
    api = await openApi();
    api.peer = OTHER;
    for (const path of [
      ...ROUTES.map((route) => route.path),
      '/healthz',
      '/readyz',
      '/v1/events',
      '/v1/openapi.json',
      '/x',
    ]) {
      const { status, body } = await api.ask('GET', path);
      expect(status, path).toBe(403);
      expect(body).toMatchObject({ code: 'BERTH_PERMISSION' });
    }
    expect(api.agent.asked).toEqual([]);
  });

  it('others may read, and only read, under readers: all', async () => {
    api = await openApi(new FakeAgent(), { readers: 'all' });
    expect(statSync(api.socket).mode & 0o777).toBe(0o666);
    api.peer = OTHER;
    for (const route of ROUTES) {
      const { status, body } = await askRoute(route);
      expect(status, route.path).toBe(route.needs === 'read' ? 200 : 403);
      if (status === 403) expect(body).toMatchObject({ code: 'BERTH_PERMISSION', step: 'access' });
    }
    expect(api.agent.asked.map(([what]) => what)).not.toContain('reload');
  });

  it('are told by uid, gid and supplementary groups', () => {
    const peer = { pid: 9, uid: 5, gid: 5, groups: [5, 6] };
    expect(roleOf({ ...peer, uid: 0 }, undefined, 'group', 7)).toBe('owner');
    expect(roleOf({ ...peer, uid: 7 }, undefined, 'group', 7)).toBe('owner');
    expect(roleOf(peer, 5, 'group', 7)).toBe('member');
    expect(roleOf(peer, 6, 'group', 7)).toBe('member');
    expect(roleOf(peer, 8, 'group', 7)).toBe('stranger');
    expect(roleOf(peer, undefined, 'all', 7)).toBe('reader');
  });

  it('a peer that cannot be told is nobody', async () => {
    api = await openApi(
      new FakeAgent(),
      {},
      {
        peerOf: () => {
          throw new Error('gone');
        },
      },
    );
    expect((await api.ask('GET', '/v1/status')).status).toBe(403);
  });

  it('the group is one of /etc/group, or a number', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'berth-group-')), 'group');
    writeFileSync(file, 'root:x:0:\nberth:x:998:ann,bob\nberthold:x:5:\nminus:x:-1:\nhex:x:0x10:\nempty:x::\n');
    for (const name of ['minus', 'hex', 'empty']) expect(groupId(name, file)).toBeUndefined();
    expect(groupId('berth', file)).toBe(998);
    expect(groupId('77', file)).toBe(77);
    expect(groupId('none', file)).toBeUndefined();
    expect(groupId('none', '/nonexistent')).toBeUndefined();
    rmSync(file);
  });
});

describe('paths', () => {
  const asked = () => api.agent.asked.at(-1);

  it('root may name any', async () => {
    api = await openApi();
    expect((await api.ask('POST', '/v1/reload', { sources: ['/etc/x.cfg'], workingDirectory: '/srv' })).status).toBe(
      200,
    );
    expect(asked()).toMatchObject(['reload', { sources: ['/etc/x.cfg'], workingDirectory: '/srv' }]);
    await api.ask('POST', '/v1/plan', { targets: ['site.d'], workingDirectory: '/srv' });
    expect(asked()).toEqual(['plan', [['site.d'], { workingDirectory: '/srv' }]]);
  });

  it('a member may name the sources of the instance, and HAProxy starts in the directory of the settings', async () => {
    api = await openApi();
    api.peer = MEMBER;
    for (const [path, key] of [
      ['/v1/reload', 'sources'],
      ['/v1/plan', 'targets'],
      ['/v1/preflight', 'targets'],
    ] as const) {
      const good = await api.ask('POST', path, { [key]: ['haproxy'], workingDirectory: '/srv' });
      expect(good.status, path).toBe(200);
      expect(JSON.stringify(asked())).toContain(SOURCE);
      expect(JSON.stringify(asked())).not.toContain('workingDirectory');
      const before = api.agent.asked.length;
      for (const foreign of ['/etc/shadow', `${SOURCE}/../shadow`, `${SOURCE}/x`, '/srv', '/']) {
        const bad = await api.ask('POST', path, { [key]: [SOURCE, foreign] });
        expect(bad.status, `${path} ${foreign}`).toBe(403);
        expect(bad.body).toMatchObject({ code: 'BERTH_PERMISSION' });
      }
      expect(api.agent.asked.length).toBe(before);
    }
    expect((await api.ask('GET', '/v1/doctor?source=/etc/shadow')).status).toBe(403);
    expect((await api.ask('POST', '/v1/reserve', { targets: ['/etc/shadow'] })).status).toBe(403);
    expect((await api.ask('POST', '/v1/reserve', { targets: ['58824', '59000-59010'] })).status).toBe(200);
  });

  it('a relative path needs a directory: the one of the agent means nothing', async () => {
    api = await openApi();
    const { status, body } = await api.ask('POST', '/v1/plan', { targets: ['site.d'] });
    expect(status).toBe(400);
    expect(body).toMatchObject({ code: 'BERTH_USAGE', message: expect.stringContaining('absolute') as string });
  });

  it('no sources: those of the instance', async () => {
    api = await openApi();
    await api.ask('POST', '/v1/plan', {});
    expect(asked()).toEqual(['plan', [[SOURCE], {}]]);
    await api.ask('POST', '/v1/reload');
    expect(asked()).toMatchObject(['reload', { reason: 'asked by uid 0 (pid 1)' }]);
    expect(asked()?.[1]).not.toHaveProperty('sources');
  });
});

describe('the loopback TCP listener', () => {
  const open = async () => {
    api = await openApi(new FakeAgent(), { tcp: '127.0.0.1:0' });
    const to = { host: '127.0.0.1', port: api.server.tcpPort ?? 0 };
    return (method: string, path: string, body?: unknown, headers?: Record<string, string>) =>
      askSocket(to, method, path, body, headers);
  };

  it('answers questions and refuses changes', async () => {
    const ask = await open();
    for (const { method, path, needs, readOnly } of ROUTES) {
      const answer = await ask(method, path, method === 'GET' ? undefined : (BODIES[path] ?? {}));
      const may = needs === 'read' && (method === 'GET' || readOnly);
      expect(answer.status, `${method} ${path}`).toBe(may ? 200 : 403);
    }
    expect((await ask('GET', '/healthz')).status).toBe(200);
  });

  it('takes bare endpoints for a preflight, no paths', async () => {
    const ask = await open();
    expect((await ask('POST', '/v1/preflight', { targets: [SOURCE] })).status).toBe(403);
    expect((await ask('GET', `/v1/doctor?source=${SOURCE}`)).status).toBe(403);
  });

  it('refuses a foreign Host (DNS rebinding), and gives no leave to other origins', async () => {
    const ask = await open();
    for (const host of ['evil.example', '127.0.0.1.evil.example', 'localhost.evil.example:80', '10.0.0.1']) {
      expect((await ask('GET', '/v1/status', undefined, { host })).status, host).toBe(403);
    }
    for (const host of ['localhost', 'LOCALHOST:9105', '127.0.0.1:9105', '[::1]:80']) {
      expect((await ask('GET', '/v1/status', undefined, { host })).status, host).toBe(200);
    }
    const cors = await ask('OPTIONS', '/v1/preflight', undefined, {
      origin: 'https://evil.example',
      'access-control-request-method': 'POST',
    });
    expect(cors.status).toBe(405);
    expect(Object.keys(cors.headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
    const plain = await ask('POST', '/v1/preflight', BODIES['/v1/preflight'], { 'content-type': 'text/plain' });
    expect(plain.status).toBe(400);
  });
});

describe('the socket', () => {
  it('is for the group alone, and replaces that of a dead agent', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'berth-socket-'));
    const socket = join(directory, 'run/berth.sock');
    api = await openApi(new FakeAgent(), { socket });
    expect(statSync(socket).mode & 0o777).toBe(0o660);
    expect(statSync(join(directory, 'run')).mode & 0o777).toBe(0o755);
    await expect(openApi(new FakeAgent(), { socket })).rejects.toMatchObject({ code: 'BERTH_LOCKED' });
    expect((await api.ask('GET', '/healthz')).status).toBe(200);
    await api.close();
    expect(existsSync(socket)).toBe(false);

    // What an agent leaves behind that was killed: a name that nobody listens on.
    const dead = createServer();
    await new Promise<void>((resolve) => dead.listen(`${socket}.old`, resolve));
    symlinkSync(`${socket}.old`, `${socket}.link`);
    const { renameSync } = await import('node:fs');
    renameSync(`${socket}.old`, socket);
    await new Promise((resolve) => dead.close(resolve));
    expect(statSync(socket).isSocket()).toBe(true);
    api = await openApi(new FakeAgent(), { socket });
    expect((await api.ask('GET', '/healthz')).status).toBe(200);
    rmSync(directory, { recursive: true });
  });

  it.each<[string, number, number]>([
    ['that all can write to', 0o777, 0],
    ['of another user', 0o755, 65534],
  ])('is not made in a directory %s, who could have another file’s owner changed', async (_, mode, uid) => {
    const directory = mkdtempSync(join(tmpdir(), 'berth-door-'));
    chmodSync(directory, mode);
    chownSync(directory, uid, 0);
    const opened = openApi(undefined, { socket: join(directory, 'berth.sock') });
    await expect(opened).rejects.toMatchObject({
      code: 'BERTH_STATE_DIR',
      message: expect.stringContaining('others than the agent') as string,
    });
    expect(readdirSync(directory)).toEqual([]);
    rmSync(directory, { recursive: true });
  });

  it('is not made over a file', async () => {
    api = await openApi();
    const file = `${api.socket}.file`;
    writeFileSync(file, 'precious');
    await expect(openApi(new FakeAgent(), { socket: file })).rejects.toMatchObject({ code: 'BERTH_STATE_DIR' });
    expect(readFileSync(file, 'utf8')).toBe('precious');
  });

  it('is root’s where there is no such group, and that is said', async () => {
    api = await openApi(new FakeAgent(), { group: 'nobody-has-this-group' });
    expect(statSync(api.socket).mode & 0o777).toBe(0o600);
    expect(api.warnings).toEqual([expect.stringContaining('no group nobody-has-this-group')]);
  });

  it('leaves the place to whoever has taken it since', async () => {
    api = await openApi();
    rmSync(api.socket);
    writeFileSync(api.socket, 'another');
    chmodSync(api.socket, 0o600);
    await api.server.close();
    expect(existsSync(api.socket)).toBe(true);
  });
});
