/** Listeners that survive HAProxy: the agent holds duplicates of its listening sockets, and starts it again with them. */
import { rmSync, writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import type { ReloadReport } from '../../src/reload/reports.js';
import { agentIn, type TestAgent } from '../support/agent.js';
import { buildOf } from '../support/families.js';
import { recordFigure } from '../support/figures.js';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';

const why = cannotRun();
const KILLS = Number(process.env['BERTH_KEEPER_KILLS'] ?? 20);
/** Deaths in a row are the subject here, not how long to wait between them. */
const eager = { restart: { backOffMs: 0, maxBackOffMs: 0, limit: 1000 } };
const ports = (count: number, first = 8000) => Array.from({ length: count }, (_, at) => `169.254.0.101:${first + at}`);

describe.skipIf(why !== undefined).each(haproxyBinaries())('keeper with HAProxy $version', ({ path, version }) => {
  let lab: Lab;
  let agent: TestAgent | undefined;

  afterEach(async () => {
    await agent?.stop();
    agent = undefined;
    await lab.close();
  });

  const serve = async (binds: readonly string[], settings: Record<string, unknown> = {}) => {
    lab = await Lab.open({ peer: true });
    await lab.startBackend([{ host: '169.254.0.100', port: 9000 }]);
    const file = lab.write('haproxy.cfg', configuration(binds, { server: '169.254.0.100:9000' }));
    agent = await agentIn(lab, path, { sources: [file], ...eager, ...settings });
    const { instance } = agent;
    await expect.poll(() => instance.state.phase, { timeout: 10_000 }).toBe('idle');
    expect(instance.state).toMatchObject({ listeners: { served: binds.length, missing: 0 } });
    return { file, running: agent };
  };
  const pidOf = (running: TestAgent) => running.instance.state.haproxy?.pid ?? 0;
  /** What a new client of this listener gets: its answer comes at once or never. */
  const connect = (bind: string) => {
    const [host = '', port = ''] = bind.split(':');
    return lab.execPeer('timeout', ['5', 'bash', '-c', `exec 3<>/dev/tcp/${host}/${port} && echo connected`]).then(
      () => 'connected',
      (error: unknown) => ((error as { code?: number }).code === 124 ? 'hung' : 'refused'),
    );
  };
  const killed = async (running: TestAgent, pid: number) => {
    const before = running.types().filter((type) => type === 'haproxy-restarted').length;
    process.kill(pid, 'SIGKILL');
    await expect
      .poll(() => running.types().filter((type) => type === 'haproxy-restarted').length, {
        timeout: 20_000,
        interval: 10,
      })
      .toBe(before + 1);
    await expect.poll(() => running.instance.state.phase, { timeout: 5000, interval: 10 }).toBe('idle');
  };

  test('killed, it serves again on the very sockets that it had', { timeout: 60_000 }, async () => {
    const { running } = await serve(ports(3));
    const before = lab.listeners();
    const pid = pidOf(running);
    await killed(running, pid);
    expect(pidOf(running)).not.toBe(pid);
    expect(lab.listeners()).toEqual(before);
    expect(running.events).toContainEqual(
      expect.objectContaining({ type: 'haproxy-died', pid, how: 'SIGKILL', deliberate: false }),
    );
    expect(await connect(ports(1)[0] ?? '')).toBe('connected');
  });

  test(
    'killed right after a reload: the end of the one before it lets go of nothing',
    { timeout: 60_000 },
    async () => {
      const { running } = await serve(ports(3));
      const before = lab.listeners();
      for (let round = 0; round < 8; round++) {
        const { haproxy } = (await running.instance.reload({ reason: `round ${round}` })) as ReloadReport;
        await killed(running, haproxy.pid);
        expect(lab.listeners()).toEqual(before);
      }
    },
  );

  test(`2000 listeners under load, killed ${KILLS} times: nobody is refused`, { timeout: 240_000 }, async () => {
    const binds = ports(2000);
    const { running } = await serve(binds);
    const before = lab.listeners();
    const load = await lab.startLoad({ targets: binds, rate: 200, timeoutMs: 20_000 });
    for (let kill = 0; kill < KILLS; kill++) await killed(running, pidOf(running));
    const seen = await load.stop();
    const same = JSON.stringify([...lab.listeners()]) === JSON.stringify([...before]);
    recordFigure({
      part: 'lbagent',
      name: `keeper, HAProxy ${version}`,
      promise: 'A HAProxy that dies is back on the very sockets that it had, and no new client is refused meanwhile.',
      figure:
        `${KILLS} times SIGKILL, ${before.size} listeners: ${seen.refused} refused and ${seen.hung} hung of ` +
        `${seen.attempts} clients, sockets ${same ? 'the same' : 'not the same'}`,
      kept: seen.refused + seen.hung === 0 && same,
      haproxy: [buildOf(path).version],
    });
    expect(seen.ok).toBeGreaterThan(KILLS);
    expect({ refused: seen.refused, hung: seen.hung }).toEqual({ refused: 0, hung: 0 });
    expect(lab.listeners()).toEqual(before);
    expect(running.instance.state.keeper).toMatchObject({ enabled: true, held: 2000, restarts: KILLS });
  });

  test('killed again the moment it is back, before anybody watches it', { timeout: 60_000 }, async () => {
    const { running } = await serve(ports(3));
    const before = lab.listeners();
    let again = 3;
    running.agent.subscribe((event) => {
      if (event.type === 'haproxy-restarted' && again-- > 0) process.kill(event.report.pid, 'SIGKILL');
    });
    process.kill(pidOf(running), 'SIGKILL');
    await expect.poll(() => running.instance.state.keeper.restarts, { timeout: 20_000, interval: 20 }).toBe(4);
    await expect.poll(() => running.instance.state.phase, { timeout: 5000, interval: 20 }).toBe('idle');
    expect(lab.listeners()).toEqual(before);
    expect(await connect(ports(1)[0] ?? '')).toBe('connected');
  });

  test('a listener that was removed is refused at once, and its socket is gone', { timeout: 60_000 }, async () => {
    const [stays = '', goes = ''] = ports(2);
    const { file, running } = await serve([stays, goes]);
    writeFileSync(file, configuration([stays], { server: '169.254.0.100:9000' }));
    await expect.poll(() => running.instance.state.generation, { timeout: 10_000 }).toBe(2);
    expect(await connect(goes)).toBe('refused');
    expect([...lab.listeners().keys()]).toEqual([stays]);
    await killed(running, pidOf(running));
    expect(await connect(goes)).toBe('refused');
    expect(await connect(stays)).toBe('connected');
  });

  test('told to end by somebody else (SIGTERM), it stays ended and nobody waits', { timeout: 60_000 }, async () => {
    const [bind = ''] = ports(1);
    const { running } = await serve([bind]);
    process.kill(pidOf(running), 'SIGTERM');
    await expect.poll(() => running.instance.state.phase, { timeout: 10_000 }).toBe('stopped');
    expect(await connect(bind)).toBe('refused');
    await running.instance.reconcile();
    expect(lab.haproxies()).toEqual([]);
    expect(running.events).toContainEqual(expect.objectContaining({ type: 'haproxy-died', deliberate: true }));
  });

  test('told to drain by somebody else (SIGUSR1), it drains and nobody waits', { timeout: 60_000 }, async () => {
    const binds = ports(20);
    const { running } = await serve(binds);
    const load = await lab.startLoad({ targets: binds, rate: 0, held: 2 });
    await expect.poll(async () => (await load.report()).held.open, { timeout: 10_000 }).toBe(2);
    process.kill(pidOf(running), 'SIGUSR1');
    await expect.poll(() => running.instance.state.phase, { timeout: 10_000 }).toBe('stopped');
    expect(await connect(binds[0] ?? '')).toBe('refused');
    expect((await load.report()).held).toMatchObject({ open: 2, cut: 0 });
    await load.stop();
  });

  test(
    'stopped through Berth, it stays stopped, also for the next agent, until a reload',
    { timeout: 60_000 },
    async () => {
      const [bind = ''] = ports(1);
      const { file, running } = await serve([bind]);
      const report = await running.instance.stop({ hard: true });
      expect(report).toMatchObject({ how: 'hard', ended: true });
      expect(await connect(bind)).toBe('refused');
      await running.stop();
      agent = await agentIn(lab, path, { sources: [file], ...eager });
      expect(agent.instance.state.phase).toBe('stopped');
      expect(lab.haproxies()).toEqual([]);
      await agent.instance.reload({ reason: 'asked for' });
      expect(agent.instance.state.phase).toBe('idle');
      expect(await connect(bind)).toBe('connected');
    },
  );

  test('more deaths than the limit allows: it is left alone, and says so', { timeout: 60_000 }, async () => {
    const [bind = ''] = ports(1);
    const { running } = await serve([bind], { restart: { backOffMs: 0, maxBackOffMs: 0, limit: 2 } });
    await killed(running, pidOf(running));
    await killed(running, pidOf(running));
    process.kill(pidOf(running), 'SIGKILL');
    await expect.poll(() => running.instance.state.phase, { timeout: 10_000 }).toBe('failed');
    expect(running.instance.state.problems.join()).toMatch(/died 2 times/);
    expect(await connect(bind)).toBe('refused');
    await running.instance.reload({ reason: 'asked for' });
    expect(running.instance.state).toMatchObject({ phase: 'idle', problems: [] });
  });

  test(
    'an agent that ends and one that begins: HAProxy and its listeners do not notice',
    { timeout: 60_000 },
    async () => {
      const { file, running } = await serve(ports(3));
      const [before, pid] = [lab.listeners(), pidOf(running)];
      await running.stop();
      expect(lab.listeners()).toEqual(before);
      agent = await agentIn(lab, path, { sources: [file], ...eager });
      expect(pidOf(agent)).toBe(pid);
      expect(lab.listeners()).toEqual(before);
      expect(agent.types()).not.toContain('reload-begun');
      await killed(agent, pid);
      expect(lab.listeners()).toEqual(before);
    },
  );

  test('dead while no agent ran: the next one starts it', { timeout: 60_000 }, async () => {
    const { file, running } = await serve(ports(3));
    const pid = pidOf(running);
    await running.stop();
    process.kill(pid, 'SIGKILL');
    rmSync(lab.path('haproxy.pid'), { force: true });
    agent = await agentIn(lab, path, { sources: [file], ...eager });
    await expect
      .poll(() => agent?.instance.state, { timeout: 10_000 })
      .toMatchObject({ phase: 'idle', listeners: { served: 3, missing: 0 } });
  });

  test('a HAProxy that Berth never reloaded: its death is told, and nobody waits', { timeout: 60_000 }, async () => {
    lab = await Lab.open({ peer: true });
    const [bind = ''] = ports(1);
    const file = lab.write('haproxy.cfg', configuration([bind]));
    await lab.exec(path, ['-D', '-p', lab.path('haproxy.pid'), '-f', file]);
    const running = (agent = await agentIn(lab, path, { keeper: 'on' }));
    expect(running.instance.state.keeper).toMatchObject({ enabled: true, held: 1 });
    process.kill(pidOf(running), 'SIGKILL');
    await expect.poll(() => running.instance.state.phase, { timeout: 10_000 }).toBe('failed');
    expect(await connect(bind)).toBe('refused');
    expect(running.instance.state.problems.join()).toMatch(/no generation has served/);
  });

  test('a master that dies is started again with the sockets of its worker', { timeout: 60_000 }, async () => {
    const { running } = await serve(ports(3), { haproxy: { binary: path, mode: 'master-worker' } });
    const before = lab.listeners();
    const master = lab.haproxies().find(({ pid }) => pid !== pidOf(running));
    await killed(running, master?.pid ?? 0);
    expect(lab.listeners()).toEqual(before);
    expect(await connect(ports(1)[0] ?? '')).toBe('connected');
  });
});
