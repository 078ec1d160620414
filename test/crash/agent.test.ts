/** The agent's own end, by itself, by kill -9, and together with HAProxy's: nobody is refused, nothing is left half. */
import { writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';
import { type Service, serviceIn } from '../support/service-manager.js';

const why = cannotRun();
const binds = Array.from({ length: 50 }, (_, at) => `169.254.0.101:${8000 + at}`);
const within = { timeout: 20_000, interval: 20 };

describe.skipIf(why !== undefined).each(haproxyBinaries())('the end of the agent, HAProxy $version', ({ path }) => {
  let lab: Lab;
  let service: Service | undefined;

  afterEach(async () => {
    await service?.close();
    service = undefined;
    await lab.close();
  });

  const prepare = async () => {
    lab = await Lab.open({ peer: true });
    await lab.startBackend([{ host: '169.254.0.100', port: 9000 }]);
    const file = lab.write('haproxy.cfg', configuration(binds, { server: '169.254.0.100:9000' }));
    const settings = lab.write(
      'berth.yaml',
      [
        `stateDir: ${lab.path('state')}`,
        `netns: ${lab.netns}`,
        `sources: [${file}]`,
        `haproxy: { binary: ${path}, pidFile: ${lab.path('haproxy.pid')} }`,
        'restart: { backOffMs: 0, maxBackOffMs: 0, limit: 1000 }',
        `agent: { socket: ${lab.path('agent.sock')} }`,
        '',
      ].join('\n'),
    );
    const started = (service = serviceIn(lab, settings));
    await started.start();
    expect(lab.listeners().size).toBe(50);
    return { file, settings, service: started };
  };
  const only = () => {
    const [haproxy, ...others] = lab.haproxies();
    expect(others).toEqual([]);
    return haproxy?.pid ?? 0;
  };

  test(
    'killed and started again under load: HAProxy and its listeners do not notice',
    { timeout: 90_000 },
    async () => {
      const { service } = await prepare();
      const [before, pid] = [lab.listeners(), only()];
      const load = await lab.startLoad({ targets: binds, rate: 200, held: 10 });
      for (const signal of ['SIGKILL', 'SIGTERM', 'SIGKILL'] as const) {
        await service.kill(signal);
        await service.start();
      }
      const seen = await load.stop();
      expect({ refused: seen.refused, reset: seen.reset, hung: seen.hung, cut: seen.held.cut }).toEqual({
        refused: 0,
        reset: 0,
        hung: 0,
        cut: 0,
      });
      expect(only()).toBe(pid);
      expect(lab.listeners()).toEqual(before);
    },
  );

  test(
    'killed together with HAProxy: the next agent has its sockets from the service manager',
    { timeout: 90_000 },
    async () => {
      const { service } = await prepare();
      const before = lab.listeners();
      await expect.poll(() => service.stored(), within).toBe(50);
      const load = await lab.startLoad({ targets: binds, rate: 100, timeoutMs: 20_000 });
      await service.kill('SIGKILL');
      process.kill(only(), 'SIGKILL');
      await service.start();
      await expect.poll(() => lab.haproxies().length, within).toBe(1);
      const seen = await load.stop();
      expect({ refused: seen.refused, hung: seen.hung }).toEqual({ refused: 0, hung: 0 });
      expect(lab.listeners()).toEqual(before);
      await expect.poll(() => service.stored(), within).toBe(50);
    },
  );

  test(
    'replaced by another agent: what it holds goes over, and outlives HAProxy there',
    { timeout: 90_000 },
    async () => {
      const { settings, service } = await prepare();
      const [before, pid] = [lab.listeners(), only()];
      const next = serviceIn(lab, settings, ['--replace'], 'notify2');
      try {
        await next.start();
        expect(await service.ended()).toBe('ended 0');
        expect(only()).toBe(pid);
        expect(await next.stored()).toBe(50);
        const load = await lab.startLoad({ targets: binds, rate: 100, timeoutMs: 20_000 });
        process.kill(pid, 'SIGKILL');
        await expect.poll(() => lab.haproxies().map((each) => each.pid !== pid), within).toEqual([true]);
        const seen = await load.stop();
        expect({ refused: seen.refused, hung: seen.hung }).toEqual({ refused: 0, hung: 0 });
        expect(lab.listeners()).toEqual(before);
      } finally {
        await next.close();
      }
    },
  );

  test('a listener that goes leaves the store, too', { timeout: 90_000 }, async () => {
    const { file, service } = await prepare();
    writeFileSync(file, configuration(binds.slice(0, 30), { server: '169.254.0.100:9000' }));
    await expect.poll(() => lab.listeners().size, within).toBe(30);
    await expect.poll(() => service.stored(), within).toBe(30);
  });

  test('killed at any moment of a reload: the next one finishes or undoes it', { timeout: 240_000 }, async () => {
    const { file, service } = await prepare();
    const load = await lab.startLoad({ targets: binds.slice(0, 10), rate: 100 });
    for (let round = 1; round <= 8; round++) {
      const wanted = [...binds.slice(0, 10), `169.254.0.101:${8100 + round}`];
      writeFileSync(file, configuration(wanted, { server: '169.254.0.100:9000' }));
      await new Promise((resolve) => setTimeout(resolve, round * 90));
      await service.kill('SIGKILL');
      await service.start();
      await expect.poll(() => [...lab.listeners().keys()].sort(), within).toEqual([...wanted].sort());
    }
    const seen = await load.stop();
    expect({ refused: seen.refused, hung: seen.hung }).toEqual({ refused: 0, hung: 0 });
    await expect.poll(() => lab.haproxies().length, within).toBe(1);
  });
});
