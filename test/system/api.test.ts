/** The agent's API with real peers and real HAProxy, and the documentation that shows it. */
import { execFile, spawnSync } from 'node:child_process';
import { chownSync, copyFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { agentIn, type TestAgent } from '../support/agent.js';
import { cannotRun, configuration, haproxyBinaries, Lab, repository } from '../support/haproxy.js';

const why = cannotRun();
const [binary] = haproxyBinaries().slice(-1);
/** A group and two users that need no entry anywhere: the kernel compares numbers. */
const GROUP = 54_321;
const MEMBER = ['--reuid=54322', '--regid=54322', `--groups=${GROUP}`];
const OTHER = ['--reuid=54323', '--regid=54323', '--clear-groups'];

interface Done {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

describe.skipIf(why !== undefined)('API', () => {
  let lab: Lab;
  let agent: TestAgent | undefined;
  let config: string;

  afterEach(async () => {
    await agent?.stop();
    agent = undefined;
    await lab.close();
  });

  async function start(settings: Record<string, unknown> = {}): Promise<void> {
    lab = await Lab.open();
    config = lab.write('haproxy.cfg', configuration(['127.0.0.1:8001', '127.0.0.1:8002']));
    agent = await agentIn(lab, binary?.path ?? '', { sources: [config], agent: { group: String(GROUP), ...settings } });
    await expect.poll(() => agent?.instance.state.listeners.served, { timeout: 20_000, interval: 20 }).toBe(2);
  }

  const run = (command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd = '/'): Promise<Done> =>
    new Promise((done) =>
      execFile(command, args, { cwd, env: { PATH: process.env['PATH'], ...env } }, (error, out, err) =>
        done({ status: error ? Number(error.code) : 0, out, err }),
      ),
    );

  /** HTTP status and body of a request by a user; status 0 where the kernel did not let it connect. */
  async function as(user: readonly string[], path: string, body?: object): Promise<{ status: number; body: unknown }> {
    const data = body ? ['--header', 'content-type: application/json', '--data', JSON.stringify(body)] : [];
    const curl = ['curl', '-s', '-w', '\n%{http_code}', '--unix-socket', lab.path('agent.sock'), ...data];
    const { out } = await run('setpriv', [...user, ...curl, `http://localhost${path}`]);
    const [, text = '', status = '0'] = /^(.*)\n(\d+)$/s.exec(out) ?? [];
    return { status: Number(status), body: text === '' ? undefined : JSON.parse(text) };
  }

  test('the kernel tells a member of the group from others', async () => {
    await start();
    expect(statSync(lab.path('agent.sock'))).toMatchObject({ gid: GROUP });
    expect(await as(MEMBER, '/v1/status')).toMatchObject({ status: 200, body: { ok: true } });
    expect(await as(MEMBER, '/v1/reload', {})).toMatchObject({ status: 200, body: { outcome: 'served' } });
    expect(await as(MEMBER, '/v1/reload', { sources: ['/etc/shadow'] })).toMatchObject({
      status: 403,
      body: { code: 'BERTH_PERMISSION' },
    });
    expect(await as(['--reuid=54322', `--regid=${GROUP}`, '--clear-groups'], '/v1/diff?from=1&to=2')).toMatchObject({
      status: 200,
    });
    expect((await as(OTHER, '/v1/status')).status).toBe(0);
    const history = await agent?.instance.berth.history();
    expect(history?.generations.length).toBe(2);
  });

  test('others read, and read only, where the settings say so', async () => {
    await start({ readers: 'all' });
    expect(await as(OTHER, '/v1/status')).toMatchObject({ status: 200, body: { ok: true } });
    expect(await as(OTHER, '/v1/preflight', { targets: ['tcp:127.0.0.1:8003'] })).toMatchObject({ status: 200 });
    for (const path of ['/v1/reload', '/v1/stop', '/v1/rollback']) expect((await as(OTHER, path, {})).status).toBe(403);
    expect((await as(OTHER, '/v1/diff?from=1&to=1')).status).toBe(403);
    expect([...lab.listeners().keys()].sort()).toEqual(['127.0.0.1:8001', '127.0.0.1:8002']);
  });

  test.each(['api.md', 'control-plane.md'])('docs/%s: every command of it works', async (page) => {
    await start();
    await agent?.instance.reload({ reason: 'a second generation' });
    const text = readFileSync(join(repository, 'docs', page), 'utf8');
    const commands = [...text.matchAll(/```sh\n(.*?)```/gs)].flatMap(([, block = '']) =>
      block.replaceAll('\\\n', ' ').split('\n').filter(Boolean),
    );
    expect(commands.length).toBeGreaterThan(1);
    for (const command of commands) {
      const here = command.replace('/run/berth/berth.sock', lab.path('agent.sock'));
      const done = await run('bash', ['--norc', '-c', here.replace('curl ', 'curl -sS ')]);
      expect(done, command).toMatchObject({ status: 0, err: '' });
      expect(done.out, command).not.toContain('"code":"BERTH_');
      if (command.includes('text/event-stream')) expect(done.out).toMatch(/^event: result$/m);
    }
  });

  /** `berth` as the examples call it, with the settings of this lab. */
  function tools(): NodeJS.ProcessEnv {
    if (!existsSync(join(repository, 'dist/cli/main.js'))) throw new Error('dist is missing: npm run build');
    mkdirSync(lab.path('bin'), { recursive: true });
    writeFileSync(
      lab.path('bin/berth'),
      `#!/bin/sh\nexec ${process.execPath} ${join(repository, 'dist/cli/main.js')} "$@"\n`,
      { mode: 0o755 },
    );
    return {
      PATH: `${lab.path('bin')}:${process.env['PATH'] ?? ''}`,
      BERTH_STATE_DIR: lab.path('state'),
      BERTH_AGENT_SOCKET: lab.path('agent.sock'),
    };
  }

  test('gate.sh says yes, no with the holder, or that there was no answer', async () => {
    await start();
    const gate = join(repository, 'examples/gate.sh');
    expect(spawnSync('sh', ['-n', gate]).status).toBe(0);
    const env = { BERTH_SOCKET: lab.path('agent.sock') };
    const ask = (...targets: string[]) => run(gate, targets, env);
    expect(await ask('tcp:127.0.0.1:8003', 'tcp:[::1]:8004-8006')).toEqual({ status: 0, out: '', err: '' });
    await lab.startBackend([{ host: '127.0.0.1', port: 8003 }]);
    const no = await ask('tcp:127.0.0.1:8003', 'tcp:127.0.0.1:8004');
    expect(no.status).toBe(1);
    expect(no.err).toMatch(/^gate: 127\.0\.0\.1:8003\/tcp taken by .*\n$/);
    for (const bad of ['a"b', 'a\\b', '$(id)', 'a b']) expect((await ask(bad)).status, bad).toBe(2);
    expect((await ask()).status).toBe(2);
    expect((await run(gate, ['tcp:127.0.0.1:1'], { BERTH_SOCKET: '/nonexistent' })).status).toBe(2);
    expect(await ask('tcp:nonsense')).toMatchObject({ status: 2, err: expect.stringContaining('BERTH_') as unknown });
  });

  test('github-actions.yml: its steps, one after the other, through the agent', async () => {
    await start();
    const workflow = parse(readFileSync(join(repository, 'examples/github-actions.yml'), 'utf8')) as {
      jobs: { deploy: { env: Record<string, string>; steps: { run?: string }[] } };
    };
    const { env, steps } = workflow.jobs.deploy;
    const checkout = lab.path('checkout');
    mkdirSync(checkout);
    writeFileSync(join(checkout, 'haproxy.cfg'), configuration(['127.0.0.1:8001', '127.0.0.1:8005']));
    for (const { run: step } of steps) {
      if (step === undefined) continue;
      const done = await run('bash', ['--norc', '-e', '-o', 'pipefail', '-c', step], { ...tools(), ...env }, checkout);
      expect(done, step).toMatchObject({ status: 0, err: '' });
    }
    expect([...lab.listeners().keys()].sort()).toEqual(['127.0.0.1:8001', '127.0.0.1:8005']);
    const plan = JSON.parse(readFileSync(join(checkout, 'plan.json'), 'utf8')) as { verb: string };
    expect(plan.verb).toBe('plan');
    // By the agent, which has it in its log; not beside it.
    expect(agent?.events).toContainEqual(
      expect.objectContaining({ type: 'reload-begun', reason: expect.stringContaining('asked by uid 0') as unknown }),
    );
  });

  test('ansible-playbook.yml: its commands, one after the other', async () => {
    await start();
    const [play] = parse(readFileSync(join(repository, 'examples/ansible-playbook.yml'), 'utf8')) as {
      tasks: Record<string, { cmd?: string; src?: string }>[];
    }[];
    const words: Record<string, string> = { candidate: lab.path('new.cfg'), live: config };
    writeFileSync(lab.path('source.cfg'), configuration(['127.0.0.1:8002', '127.0.0.1:8006']));
    for (const task of play?.tasks ?? []) {
      if (task['ansible.builtin.copy']) copyFileSync(lab.path('source.cfg'), lab.path('new.cfg'));
      const cmd = task['ansible.builtin.command']?.cmd;
      if (cmd === undefined) continue;
      const [command = '', ...args] = cmd
        .replaceAll(/\{\{ (\w+) \}\}/g, (_, name: string) => words[name] ?? '')
        .split(' ');
      expect(await run(command, args, tools()), cmd).toMatchObject({ status: 0, err: '' });
    }
    expect([...lab.listeners().keys()].sort()).toEqual(['127.0.0.1:8002', '127.0.0.1:8006']);
  });

  test('berth status shows the agent; a member of the group gets it, too', async () => {
    await start();
    const seen = await run('berth', ['status'], tools());
    expect(seen).toMatchObject({ status: 0, err: '' });
    expect(seen.out).toMatch(/^agent {4}0\.0\.0, process \d+, since .*, instance default: idle$/m);
    chownSync(lab.path('bin'), 0, 0);
    const member = await run('setpriv', [...MEMBER, 'berth', 'status', '--json'], tools());
    expect(member).toMatchObject({ status: 0, err: '' });
    expect(JSON.parse(member.out)).toMatchObject({ ok: true, result: { agent: { phase: 'idle' } } });
    const alone = await run('berth', ['--no-agent', 'status', '--json', '--netns', lab.netns], tools());
    expect(JSON.parse(alone.out)).toMatchObject({ verb: 'status' });
    expect(alone.out).not.toContain('"agent"');
  });
});
