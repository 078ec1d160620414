/** The agent on a host: it watches, applies, heals, and never makes things worse. */
import { mkdirSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { agentIn, type TestAgent } from '../support/agent.js';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';

const why = cannotRun();
const quick = { reconcile: { intervalMs: 300 } };
const within = { timeout: 15_000, interval: 20 };
const at = (...ports: number[]) => ports.map((port) => `127.0.0.1:${port}`);

describe.skipIf(why !== undefined).each(haproxyBinaries())('agent with HAProxy $version', ({ path }) => {
  let lab: Lab;
  let agent: TestAgent | undefined;

  afterEach(async () => {
    await agent?.stop();
    agent = undefined;
    await lab.close();
  });

  const start = async (settings: Record<string, unknown>, settingsFile?: string) => {
    const started = (agent = await agentIn(lab, path, settings, settingsFile));
    await expect.poll(() => started.instance.state.phase, within).not.toBe('working');
    return started;
  };
  const served = () => [...lab.listeners().keys()].sort();
  const reloads = ({ types }: TestAgent) => types().filter((type) => type === 'reload-ended').length;

  test('a directory that lbagent swaps by rename and symlink goes live', { timeout: 60_000 }, async () => {
    lab = await Lab.open();
    const link = lab.path('haproxy.conf.d');
    const write = (name: string, ...ports: number[]) => {
      mkdirSync(lab.path(`${name}.staging`));
      writeFileSync(lab.path(`${name}.staging/00-haproxy.cfg`), configuration(at(...ports)));
      renameSync(lab.path(`${name}.staging`), lab.path(name));
      rmSync(link, { force: true });
      symlinkSync(lab.path(name), link);
    };
    write('20261123.1', 8001, 8002);
    const running = await start({ sources: [link] });
    expect(served()).toEqual(at(8001, 8002));
    write('20261123.2', 8002, 8003);
    await expect.poll(served, within).toEqual(at(8002, 8003));
    expect(running.types()).toContain('source-changed');
    await expect.poll(() => running.instance.state.generation, within).toBe(2);
  });

  test(
    'a burst of changes: the first and the last go live, those between are skipped',
    { timeout: 60_000 },
    async () => {
      lab = await Lab.open();
      const file = lab.write('haproxy.cfg', configuration(at(8000)));
      const running = await start({ sources: [file] });
      for (let port = 8001; port <= 8060; port++) {
        lab.write('haproxy.cfg', configuration(at(port)));
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      await expect.poll(served, within).toEqual(at(8060));
      await expect.poll(() => running.instance.state.phase, within).toBe('idle');
      expect(reloads(running)).toBeLessThan(30);
    },
  );

  test(
    'a configuration that is wrong: the old one serves on, the reason is told, the next one goes live',
    { timeout: 60_000 },
    async () => {
      lab = await Lab.open();
      const file = lab.write('haproxy.cfg', configuration(at(8001)));
      const running = await start({ sources: [file], ...quick });
      const pid = running.instance.state.haproxy?.pid;
      writeFileSync(file, 'listen broken\n  bind 127.0.0.1:8002\n  no such keyword\n');
      // Seen half-written, it is refused once more than when it is whole.
      await expect.poll(() => running.instance.state.lastReload?.error?.code, within).toBe('BERTH_CONFIG_REFUSED');
      await running.instance.reconcile();
      expect(served()).toEqual(at(8001));
      expect(running.instance.state).toMatchObject({
        haproxy: { pid },
        problems: [expect.stringContaining('refuses the configuration')],
      });
      const failures = () => running.types().filter((type) => type === 'reload-failed').length;
      const before = failures();
      await running.instance.reconcile();
      await running.instance.reconcile();
      expect(failures(), 'the same wrong files are not tried again and again').toBe(before);
      expect((await running.instance.berth.status()).lastAttempt).toMatchObject({ outcome: 'failed' });
      writeFileSync(file, configuration(at(8002)));
      await expect.poll(served, within).toEqual(at(8002));
      await expect.poll(() => running.instance.state.problems, within).toEqual([]);
    },
  );

  test(
    'nothing serves and the configuration is refused: the last good generation serves instead',
    { timeout: 60_000 },
    async () => {
      lab = await Lab.open();
      const file = lab.write('haproxy.cfg', configuration(at(8001)));
      const first = await start({ sources: [file], keeper: 'off' });
      process.kill(first.instance.state.haproxy?.pid ?? 0, 'SIGKILL');
      await expect.poll(() => lab.haproxies(), within).toEqual([]);
      await first.stop();
      writeFileSync(file, 'nonsense\n');
      const running = await start({ sources: [file] });
      expect(served()).toEqual(at(8001));
      expect(running.instance.state.lastReload).toMatchObject({ outcome: 'failed' });
      expect(running.instance.state.problems.join()).toMatch(/instead of what was asked for/);
      expect((await running.instance.berth.status()).lastAttempt).toMatchObject({ outcome: 'failed', instead: 2 });
    },
  );

  test('a quarantined listener goes live when its port is free', { timeout: 60_000 }, async () => {
    lab = await Lab.open();
    const holder = lab.exec('timeout', ['60', 'python3', '-c', HOLD, '8002']).catch(() => undefined);
    await expect.poll(served, within).toEqual(at(8002));
    const file = lab.write('haproxy.cfg', configuration(at(8001, 8002)));
    const running = await start({ sources: [file], conflicts: { wait: { enabled: false } }, ...quick });
    expect(running.instance.state.listeners).toMatchObject({ served: 1, quarantined: 1 });
    await lab.exec('bash', ['-c', 'exec 3<>/dev/tcp/127.0.0.1/8002; read -r -u 3 _ || true']);
    await holder;
    await expect.poll(served, within).toEqual(at(8001, 8002));
    await expect.poll(() => running.instance.state.listeners, within).toMatchObject({ served: 2, quarantined: 0 });
    expect(running.types()).toContain('quarantine-freed');
  });

  test('reservations that somebody overwrote are put back, and counted', { timeout: 60_000 }, async () => {
    lab = await Lab.open();
    const file = lab.write('haproxy.cfg', configuration(at(40_001, 40_002)));
    const running = await start({ sources: [file], ...quick });
    const reserved = async () => (await lab.exec('sysctl', ['-n', 'net.ipv4.ip_local_reserved_ports'])).trim();
    expect(await reserved()).toBe('40001-40002');
    await lab.exec('sysctl', ['-w', 'net.ipv4.ip_local_reserved_ports=50000']);
    await expect.poll(reserved, within).toBe('40001-40002,50000');
    await expect
      .poll(() => running.instance.state.reservations, within)
      .toMatchObject({ reasserted: 1, foreign: '50000' });
  });

  test('listeners that left the kernel are made to listen again', { timeout: 60_000 }, async () => {
    lab = await Lab.open();
    const file = lab.write('haproxy.cfg', configuration(at(8001, 8002)));
    const running = await start({ sources: [file], ...quick });
    process.kill(running.instance.state.haproxy?.pid ?? 0, 'SIGTTOU');
    await expect.poll(() => running.types(), within).toContain('listeners-repaired');
    await expect.poll(served, within).toEqual(at(8001, 8002));
  });

  test('a HAProxy that somebody else started is taken over with its sockets', { timeout: 60_000 }, async () => {
    lab = await Lab.open();
    const file = lab.write('haproxy.cfg', configuration(at(8001)));
    await lab.exec(path, ['-D', '-p', lab.path('haproxy.pid'), '-f', file]);
    const [before] = lab.listeners().values();
    const running = await start({ sources: [file] });
    expect([...lab.listeners().values()]).toEqual([before]);
    expect(running.instance.state).toMatchObject({ generation: 1, keeper: { enabled: true, held: 1 } });
  });

  test(
    'two instances, one of them in a namespace of its own; new settings by SIGHUP',
    { timeout: 90_000 },
    async () => {
      lab = await Lab.open();
      const other = await Lab.open();
      try {
        const files = ['a', 'b', 'c'].map((name, index) => lab.write(`${name}.cfg`, configuration(at(8001 + index))));
        const section = (name: string, index: number, netns: string) =>
          `  ${name}:\n    sources: [${files[index] ?? ''}]\n    netns: ${netns}\n    stateDir: ${lab.path(name)}\n    haproxy: { binary: ${path}, pidFile: ${lab.path(name)}.pid }\n`;
        const head = `agent: { socket: ${lab.path('agent.sock')} }\ninstances:\n`;
        const settings = lab.write('berth.yaml', head + section('a', 0, lab.netns) + section('b', 1, other.netns));
        const running = (agent = await agentFrom(lab, settings));
        expect([served(), [...other.listeners().keys()]]).toEqual([at(8001), at(8002)]);

        writeFileSync(settings, 'agent: { sockett: /nowhere }\n');
        await expect(running.agent.reloadSettings()).rejects.toMatchObject({ code: 'BERTH_SETTINGS' });
        expect([...running.agent.instances.keys()]).toEqual(['a', 'b']);

        writeFileSync(settings, head + section('a', 0, lab.netns) + section('c', 2, lab.netns));
        await running.agent.reloadSettings();
        expect([...running.agent.instances.keys()]).toEqual(['a', 'c']);
        expect(served()).toEqual(at(8001, 8003));
        // The one that is gone from the settings serves on; nobody cares for it any more.
        expect([...other.listeners().keys()]).toEqual(at(8002));
      } finally {
        await agent?.stop();
        agent = undefined;
        await other.close();
      }
    },
  );

  test('a source that vanishes and comes back', { timeout: 60_000 }, async () => {
    lab = await Lab.open();
    const file = lab.write('haproxy.cfg', configuration(at(8001)));
    const running = await start({ sources: [file], ...quick });
    unlinkSync(file);
    await expect.poll(() => running.instance.state.lastReload?.outcome, within).toBe('failed');
    expect(served()).toEqual(at(8001));
    writeFileSync(file, configuration(at(8002)));
    await expect.poll(served, within).toEqual(at(8002));
  });
});

/** Listens on a port, on strange terms, until somebody has connected once. */
const HOLD =
  "import socket,sys; s=socket.socket(); s.bind(('127.0.0.1',int(sys.argv[1]))); s.listen(); c,_=s.accept(); s.close(); c.close()";

async function agentFrom(lab: Lab, settingsFile: string): Promise<TestAgent> {
  const { startAgent } = await import('../../src/agent/agent.js');
  const { openLog } = await import('../../src/agent/log.js');
  const running = await startAgent({
    settingsFile,
    environment: { PATH: process.env['PATH'] },
    version: '0.0.0',
    log: openLog({ level: 'silent', destination: { write: () => undefined } }),
  });
  const [instance] = running.agent.instances.values();
  if (!instance) throw new Error(`no instance in ${lab.directory}`);
  return { ...running, instance, events: [], lines: [], types: () => [] };
}
