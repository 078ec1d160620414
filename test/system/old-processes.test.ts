/** Old HAProxies, strays and listeners as the kernel has them: each is told of as what it is, and only what may be ended is. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { applyDrain, type DrainEvent, drainPolicy } from '../../src/agent/drain.js';
import { OldProcesses } from '../../src/agent/old-processes.js';
import type { HostProcess } from '../../src/reload/processes.js';
import type { Settings } from '../../src/settings.js';
import { cannotRun, configuration, haproxyBinaries } from '../support/haproxy.js';
import { HOST, Incident, PEER, PORT, SERVER } from '../support/incident.js';

const why = cannotRun();
const NAME = `${HOST}:${PORT}`;
const COUNT = 5;

describe.skipIf(why !== undefined)('old processes', () => {
  describe.each(haproxyBinaries())('HAProxy $version', ({ path: binary }) => {
    async function serving(settings: Readonly<Record<string, unknown>> = {}): Promise<Incident> {
      const scene = await Incident.open({ binary, listeners: COUNT, settings });
      await scene.reload();
      return scene;
    }

    const processes = async ({ berth }: Incident): Promise<readonly HostProcess[]> =>
      (await berth.processes()).processes;

    /** A HAProxy that Berth has nothing to do with. */
    async function another(scene: Incident, name: string, ...binds: string[]): Promise<number> {
      const { lab } = scene;
      const file = lab.write(`${name}.cfg`, configuration(binds, { server: `${PEER}:${SERVER}` }));
      await lab.exec(binary, ['-D', '-p', lab.path(`${name}.pid`), '-f', file]);
      return Number(readFileSync(lab.path(`${name}.pid`), 'utf8'));
    }

    /** One look and what the policy makes of it. */
    async function tend(scene: Incident, policy: Partial<Settings['drain']>): Promise<DrainEvent[]> {
      const none = { hardStopAfterMs: 0, warnAfterMs: 0, maxOldProcesses: 0, strays: 'report' } as const;
      const events: DrainEvent[] = [];
      const haproxy = scene.lab.haproxy({ pidFile: `${scene.stateDir}/run/haproxy.pid` });
      const decision = drainPolicy(new OldProcesses().look(await processes(scene)), { ...none, ...policy });
      await applyDrain({ haproxy, kernel: scene.lab.kernel, emit: (event) => events.push(event) }, decision);
      return events;
    }

    async function untilGone(scene: Incident, pid: number): Promise<void> {
      while (scene.lab.haproxies().some((one) => one.pid === pid)) await sleep(10);
    }

    test('the serving one alone: no old process', async () => {
      const scene = await serving();
      await scene.throughHAProxy(PORT);
      const [one, ...others] = await processes(scene);
      expect(others).toEqual([]);
      expect(one).toMatchObject({ pid: scene.lab.haproxies()[0]?.pid, role: 'serving', ports: `20001,${PORT}` });
    });

    test('those that drain: oldest first, with their connections and the ports that these hold', async () => {
      const scene = await serving();
      const [oldest] = scene.lab.haproxies();
      await scene.throughHAProxy(PORT);
      await scene.reload([`${HOST}:30001`]);
      const second = scene.lab.haproxies().find(({ pid }) => pid !== oldest?.pid);
      await scene.throughHAProxy(PORT + 1);
      await scene.reload([`${HOST}:30002`]);

      const [now, ...draining] = await processes(scene);
      expect(now?.role).toBe('serving');
      expect(draining).toMatchObject([
        { pid: oldest?.pid, role: 'draining', connections: 2, ports: `20001,${PORT}` },
        { pid: second?.pid, role: 'draining', connections: 2, ports: `20001,${PORT + 1}` },
      ]);
      for (const one of draining) {
        expect(one.foreign).toBeUndefined();
        expect(Date.parse(one.since ?? '')).not.toBeNaN();
      }

      expect(await tend(scene, { maxOldProcesses: 2 })).toEqual([]);
      const events = await tend(scene, { maxOldProcesses: 1 });
      expect(events).toMatchObject([{ type: 'old-process-ended', process: { pid: oldest?.pid } }]);
      await untilGone(scene, oldest?.pid ?? 0);
      expect(await scene.states(PORT)).not.toContain('ESTAB');
      expect((await processes(scene)).map(({ pid }) => pid)).toEqual([now?.pid, second?.pid]);
      expect(await scene.answers(20001)).toBe(true);
    });

    test('a stray: told of, and ended only by policy; the one that serves is not touched', async () => {
      const scene = await serving();
      const [own] = scene.lab.haproxies();
      const before = scene.lab.listeners();
      const stray = await another(scene, 'stray', scene.binds[0] ?? '', `${HOST}:40000`);
      const elsewhere = await another(scene, 'elsewhere', `${HOST}:40001`);

      expect(await processes(scene)).toMatchObject([
        { pid: own?.pid, role: 'serving' },
        { pid: stray, role: 'stray', foreign: true },
      ]);
      expect(await tend(scene, { hardStopAfterMs: 1, maxOldProcesses: 1 })).toMatchObject([
        { type: 'stray-found', process: { pid: stray } },
      ]);
      const events = await tend(scene, { strays: 'end' });
      expect(events.map(({ type }) => type)).toEqual(['stray-found', 'old-process-ended']);
      await untilGone(scene, stray);
      expect(scene.lab.haproxies().map(({ pid }) => pid)).toEqual(expect.arrayContaining([own?.pid, elsewhere]));
      for (const [name, inodes] of before) expect([name, scene.lab.listeners().get(name)]).toEqual([name, inodes]);
      expect(await scene.answers(20001)).toBe(true);
    });

    test("somebody else's that drains is told of and never ended", async () => {
      const scene = await serving();
      const other = await another(scene, 'other', `${HOST}:40001`);
      const { id } = await scene.client.connect(HOST, 40001);
      await scene.client.echo(id, 'hello\n');
      process.kill(other, 'SIGUSR1');
      while (scene.lab.listeners().has(`${HOST}:40001`)) await sleep(10);
      expect((await processes(scene)).at(-1)).toMatchObject({
        pid: other,
        role: 'draining',
        foreign: true,
        connections: 2,
      });
      expect(await tend(scene, { hardStopAfterMs: 1, maxOldProcesses: 1, strays: 'end' })).toEqual([]);
      expect(await scene.client.echo(id, 'mine\n')).toEqual({ text: 'mine\n' });
    });

    test('an old worker is ended, its master and the worker that serves go on', async () => {
      const scene = await serving({ haproxy: { binary, mode: 'master-worker' } });
      const [first] = await processes(scene);
      await scene.throughHAProxy(PORT);
      await scene.reload([`${HOST}:30001`]);
      const [now, master, old] = await processes(scene);
      expect([now?.role, master?.role, old?.role]).toEqual(['serving', 'master', 'draining']);
      expect(old).toMatchObject({ pid: first?.pid, connections: 2 });
      expect(old?.foreign).toBeUndefined();

      const events = await tend(scene, { maxOldProcesses: 1, hardStopAfterMs: 1 });
      expect(events).toMatchObject([{ type: 'old-process-ended', process: { pid: old?.pid } }]);
      await untilGone(scene, old?.pid ?? 0);
      expect(await scene.states(PORT)).not.toContain('ESTAB');
      expect((await processes(scene)).map(({ pid }) => pid)).toEqual([now?.pid, master?.pid]);
      expect(await scene.answers(30001)).toBe(true);
    });

    test('listeners a page at a time, the one that was left out among them, and what stands in its way', async () => {
      const scene = await serving({ conflicts: { wait: { deadlineMs: 100 } } });
      await scene.stranger.listen(HOST, PORT);
      await scene.reload([NAME]);

      const names: string[] = [];
      const states = new Map<string, string>();
      for (let after: string | undefined; ;) {
        const page = await scene.berth.listeners({ limit: 4, ...(after === undefined ? {} : { after }) });
        expect(page).toMatchObject({ generation: 2, total: COUNT + 1 });
        for (const { name, state, inode, place } of page.listeners) {
          names.push(name);
          states.set(name, state);
          if (state === 'served') expect(scene.lab.listeners().get(name.replace('/tcp', ''))).toEqual([inode]);
          if (state === 'served') expect(place?.file).toBe(scene.config);
        }
        after = page.next;
        if (after === undefined) break;
      }
      expect(names).toEqual([...scene.binds.map((bind) => `${bind}/tcp`), `${NAME}/tcp`]);
      expect([...states.values()]).toEqual([...scene.binds.map(() => 'served'), 'quarantined']);
      expect(await scene.berth.listeners({ after: names.at(-1) ?? '' })).toMatchObject({ listeners: [] });

      const { listeners } = await scene.berth.conflicts();
      expect(listeners).toMatchObject([
        {
          name: `${NAME}/tcp`,
          servable: false,
          verdict: { kind: 'taken', holders: [{ owners: [{ pid: scene.stranger.pid }] }] },
        },
      ]);
      await scene.killStranger();
      expect((await scene.berth.conflicts()).listeners).toMatchObject([{ servable: true, verdict: { kind: 'free' } }]);
    });
  });
});
