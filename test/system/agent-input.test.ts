/** Whatever comes in by the watched directory ends in a clear error and a serving HAProxy; what is right again goes live. */
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { agentIn, type TestAgent } from '../support/agent.js';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';
import { withFileSystem } from '../support/state.js';

const why = cannotRun();
const within = { timeout: 20_000, interval: 20 };

describe.skipIf(why !== undefined).each(haproxyBinaries())(
  'watched by an agent, HAProxy $version',
  ({ path: binary }) => {
    /** An agent whose source is the directory `conf.d`, in service with one listener. */
    async function watching(settings: Record<string, unknown> = {}) {
      const lab = await Lab.open();

      const source = lab.path('conf.d');
      mkdirSync(source);
      const write = (...ports: number[]) =>
        writeFileSync(join(source, 'a.cfg'), configuration(ports.map((port) => `127.0.0.1:${port}`)));
      write(8001);
      const agent = await agentIn(lab, binary, { sources: [source], reconcile: { intervalMs: 300 }, ...settings });
      let closed: Promise<void> | undefined;
      const close = () => (closed ??= agent.stop().then(() => lab.close()));
      onTestFinished(close);
      const serves = async (...ports: number[]) => {
        const names = ports.map((port) => `127.0.0.1:${port}`);
        // The backend of some of the tests listens on 9000.
        const found = () => [...lab.listeners().keys()].filter((name) => !name.endsWith(':9000')).sort();
        await expect.poll(found, within).toEqual(names);
      };
      await serves(8001);
      return { lab, source, write, agent, serves, close };
    }

    /** The error of a reload that failed, once there is one. */
    async function failure(agent: TestAgent, code: string): Promise<string> {
      const found = () =>
        agent.events.flatMap((event) =>
          event.type === 'reload-failed' && event.error['code'] === code ? [event] : [],
        );
      await expect.poll(() => found().length, within).toBeGreaterThan(0);
      return String(found()[0]?.error['message']);
    }

    test('a source that vanishes, and comes back', async () => {
      const { source, write, agent, serves } = await watching();
      renameSync(source, `${source}.away`);
      await expect.poll(() => agent.instance.state.problems.join(), within).toContain(source);
      await serves(8001);
      renameSync(`${source}.away`, source);
      write(8001, 8002);
      await serves(8001, 8002);
      await expect.poll(() => agent.instance.state.problems, within).toEqual([]);
    });

    test('half of a file, then the rest of it', async () => {
      const { source, agent, serves } = await watching();
      const whole = configuration(['127.0.0.1:8001', '127.0.0.1:8002']);
      const half = whole.indexOf('bind 127.0.0.1:8002') + 'bind 127.0'.length;
      writeFileSync(join(source, 'a.cfg'), whole.slice(0, half));
      const rejected = () => agent.events.some(({ type }) => type === 'reload-failed');
      await expect.poll(rejected, within).toBe(true);
      await serves(8001);
      appendFileSync(join(source, 'a.cfg'), whole.slice(half));
      await serves(8001, 8002);
    });

    test('more bytes than are read', async () => {
      const { source, write, agent, serves } = await watching({ config: { maxBytes: 100_000 } });
      writeFileSync(join(source, 'b.cfg'), `# ${'x'.repeat(200_000)}\n`);
      expect(await failure(agent, 'BERTH_CONFIG_TOO_LARGE')).toContain('b.cfg');
      await serves(8001);
      rmSync(join(source, 'b.cfg'));
      write(8003);
      await serves(8003);
    });

    test('a symlink out of the directory is followed, and what is there is copied', async () => {
      const { lab, source, write, agent, serves } = await watching();
      const outside = lab.write(
        'outside.cfg',
        'listen outside\n  mode tcp\n  bind 127.0.0.1:8009\n  timeout client 9s\n',
      );
      symlinkSync(outside, join(source, 'b.cfg'));
      await serves(8001, 8009);
      // The copy serves on whatever becomes of the original.
      rmSync(outside);
      write(8001);
      await expect.poll(() => agent.types(), within).toContain('reload-failed');
      await serves(8001, 8009);
      rmSync(join(source, 'b.cfg'));
      await serves(8001);
    });

    test('a clock that jumps, either way: nothing is cut, nothing is stale, and the next change goes live', async () => {
      const day = 86_400_000;
      const { lab, write, agent, serves } = await watching({ drain: { hardStopAfterMs: day / 2 } });
      await lab.startBackend([{ host: '127.0.0.1', port: 9000 }]);
      const load = await lab.startLoad({ targets: ['127.0.0.1:8001'], rate: 50, held: 3 });
      write(8001, 8002);
      await serves(8001, 8002);
      await expect.poll(() => agent.instance.state.oldProcesses.length, within).toBe(1);
      onTestFinished(() => void vi.useRealTimers());
      for (const [jump, port] of [
        [365 * day, 8003],
        [-365 * day, 8004],
      ] as const) {
        vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + jump });
        const before = agent.instance.state.reconciledAt;
        await expect.poll(() => agent.instance.state.reconciledAt, within).not.toBe(before);
        write(8001, 8002, port);
        await serves(8001, 8002, port);
        expect(agent.agent.health().live).toBe(true);
        vi.useRealTimers();
      }
      expect(agent.types()).not.toContain('old-process-ended');
      const counts = await load.stop();
      expect(counts).toMatchObject({ refused: 0, reset: 0, held: { open: 3, cut: 0 } });
    });

    test('links that lead nowhere useful, a FIFO, a directory called .cfg, a strange name: the next good one goes live', async () => {
      const { source, write, agent, serves } = await watching();
      symlinkSync('.', join(source, 'loop'));
      symlinkSync('/', join(source, 'root'));
      symlinkSync('self', join(source, 'self'));
      mkdirSync(join(source, 'sub.d/deep'), { recursive: true });
      writeFileSync(join(source, 'a\nb'), '');
      execFileSync('mkfifo', [join(source, 'pipe')]);
      write(8001, 8002);
      await serves(8001, 8002);
      expect(agent.instance.state.problems).toEqual([]);
    });

    test('a state directory without room', async (context) => {
      await withFileSystem(context, 'size=1m', async (mount) => {
        const { source, write, agent, serves, close } = await watching({ stateDir: join(mount, 'state') });
        writeFileSync(join(source, 'big.cfg'), `# ${'x'.repeat(2_000)}\n`.repeat(1000));
        expect(await failure(agent, 'BERTH_STATE_WRITE')).toContain('ENOSPC');
        await serves(8001);
        rmSync(join(source, 'big.cfg'));
        write(8001, 8002);
        await serves(8001, 8002);
        // Before the file system goes.
        await close();
      });
    });
  },
);
