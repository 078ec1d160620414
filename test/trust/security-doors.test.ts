/** Who can ask what over which door: every route of the API and every file and socket of Berth's, tried by real users. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { ROUTES } from '../../src/agent/server/routes.js';
import { openKernel } from '../../src/kernel/kernel.js';
import { agentIn, type TestAgent } from '../support/agent.js';
import { recordAttempts } from '../support/attempts.js';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';
import { as, GROUP, MEMBER, STRANGER, WORKER, type User } from '../support/strangers.js';

/** Of a request: the status of its answer, or why there was none (`EACCES`). */
type Outcome = number | string;
interface Try {
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
}

const why = cannotRun();
const routes: readonly Try[] = [
  ...ROUTES.map(({ method, path }) => ({ method, path, ...(method === 'GET' ? {} : { body: {} }) })),
  { method: 'GET', path: '/v1/events' },
  { method: 'GET', path: '/metrics' },
];
const acting = ROUTES.flatMap(({ needs, path }) => (needs === 'act' ? [path] : []));

function request(user: User, socketPath: string, tries: readonly Try[]): Promise<Outcome[]> {
  return as(user, { socketPath, tries }, async (asked, load) => {
    const http = load('node:http') as typeof import('node:http');
    const one = ({ method, path, body }: Try) =>
      new Promise<Outcome>((resolve) => {
        const options = { socketPath: asked.socketPath, method, path, headers: { 'content-type': 'application/json' } };
        const sent = http.request(options, (response) => {
          resolve(response.statusCode ?? 0);
          response.destroy();
        });
        sent.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
        sent.end(body === undefined ? undefined : JSON.stringify(body));
      });
    const outcomes: Outcome[] = [];
    for (const each of asked.tries) outcomes.push(await one(each));
    return outcomes;
  });
}

const granted = (outcomes: readonly Outcome[]) =>
  outcomes.filter((outcome) => typeof outcome === 'number' && outcome !== 403);

describe.skipIf(why !== undefined)('the doors of an agent', () => {
  const [binary = { version: '', path: '' }] = why === undefined ? haproxyBinaries() : [];
  let lab: Lab;
  let agent: TestAgent;

  const begin = async (readers: 'group' | 'all') => {
    lab = await Lab.open();
    const source = lab.path('conf.d');
    mkdirSync(source);
    writeFileSync(join(source, 'a.cfg'), configuration(['127.0.0.1:8001'], { global: ['user nobody'] }));
    agent = await agentIn(lab, binary.path, { sources: [source], agent: { group: GROUP, readers } });
    await vi.waitFor(() => expect(agent.instance.state.listeners.served).toBe(1), { timeout: 20_000 });
  };
  const end = async () => {
    await agent.stop();
    await lab.close();
  };
  const serving = () => ({
    listeners: [...lab.listeners()],
    processes: lab.haproxies().map(({ pid, startTicks }) => `${pid} ${startTicks}`),
    generations: readdirSync(lab.path('state', 'generations')).sort(),
  });

  describe('with agent.readers: group', () => {
    beforeAll(() => begin('group'));
    afterAll(end);

    test.each([
      ['a stranger', STRANGER],
      ['a process of HAProxy’s own user', WORKER],
    ])('%s gets nowhere: neither the API, nor a file, nor a socket of the state directory', async (who, user) => {
      const before = serving();
      const asked = await request(user, lab.path('agent.sock'), routes);
      const kernel = await openKernel({ netns: lab.netns });
      const handoff = lab.path('state', 'run', '99.handoff');
      const server = await kernel.serveSockets(handoff, []);
      const names = readdirSync(lab.path('state'), { recursive: true, encoding: 'utf8' });
      const paths = [...names.map((name) => lab.path('state', name)), lab.path('state'), handoff];
      const touched = await as(user, paths, async (all, load) => {
        const fs = load('node:fs') as typeof import('node:fs');
        const net = load('node:net') as typeof import('node:net');
        const tries = (path: string): (() => unknown)[] => [
          () => fs.readFileSync(path),
          () => fs.readdirSync(path),
          () => fs.writeFileSync(path, 'mine'),
          () => fs.writeFileSync(`${path}.new`, 'mine'),
          () => fs.renameSync(path, '/tmp/mine'),
          () => fs.chmodSync(path, 0o777),
          () => fs.symlinkSync('/etc/passwd', `${path}.link`),
        ];
        const succeeded: string[] = [];
        let count = 0;
        for (const path of all) {
          for (const attempt of tries(path)) {
            count += 1;
            try {
              attempt();
              succeeded.push(path);
            } catch {
              // as it should be
            }
          }
          count += 1;
          await new Promise<void>((resolve) => {
            const socket = net.connect(path, () => {
              succeeded.push(path);
              resolve();
            });
            socket.on('error', () => resolve());
          });
        }
        return { succeeded, count };
      });
      await server.stop();
      await kernel.closeNamespace();
      recordAttempts({
        name: `doors, ${who}`,
        promise: 'Who is neither root nor in the agent’s group can neither ask nor touch anything of Berth’s.',
        what: `by ${who}`,
        tried: asked.length + touched.count,
        succeeded: [...granted(asked), ...touched.succeeded],
        haproxy: binary,
      });
      expect(touched.succeeded).toEqual([]);
      expect(asked).toEqual(routes.map(() => 'EACCES'));
      expect(serving()).toEqual(before);
    });

    test('a member of the group acts, but on nothing that the settings do not name, and takes nothing over', async () => {
      const owners: Try[] = [
        ...['/etc/shadow', '/proc/1/environ', lab.path('state', 'journal'), '../../etc/shadow'].flatMap((path) => [
          { method: 'POST', path: '/v1/preflight', body: { targets: [path], workingDirectory: '/' } },
          { method: 'POST', path: '/v1/plan', body: { targets: [path], workingDirectory: '/' } },
          { method: 'POST', path: '/v1/reserve', body: { targets: [path], workingDirectory: '/' } },
          { method: 'POST', path: '/v1/reload', body: { sources: [path], workingDirectory: '/' } },
          { method: 'GET', path: `/v1/doctor?source=${encodeURIComponent(path)}&workingDirectory=/` },
        ]),
        { method: 'POST', path: '/v1/hand-over', body: {} },
      ];
      const outcomes = await request(MEMBER, lab.path('agent.sock'), owners);
      const status = await request(MEMBER, lab.path('agent.sock'), [{ method: 'GET', path: '/v1/status' }]);
      recordAttempts({
        name: 'doors, a member of the group',
        promise: 'A member of the agent’s group has Berth read and run no file that the settings do not name.',
        what: 'by a member',
        tried: owners.length,
        succeeded: granted(outcomes),
        haproxy: binary,
      });
      expect(outcomes).toEqual(owners.map(() => 403));
      expect(status).toEqual([200]);
    });
  });

  describe('with agent.readers: all', () => {
    beforeAll(() => begin('all'));
    afterAll(end);

    test('everybody may look, and nobody else may act', async () => {
      const before = serving();
      const outcomes = await request(STRANGER, lab.path('agent.sock'), routes);
      const acted = routes.filter(({ path }, at) => acting.includes(path) && outcomes[at] !== 403);
      recordAttempts({
        name: 'doors, a reader',
        promise: 'agent.readers: all lets everybody look and nobody act.',
        what: 'to act by one who may only look',
        tried: acting.length,
        succeeded: acted,
        haproxy: binary,
      });
      expect(acted).toEqual([]);
      expect(outcomes[routes.findIndex(({ path }) => path === '/v1/status')]).toBe(200);
      expect(serving()).toEqual(before);
    });
  });
});
