/** The incident's other forms: who else can sit on the port of a new listener, and what a reload makes of each. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { cannotRun, configuration, haproxyBinaries } from '../support/haproxy.js';
import { HOST, Incident, PEER, PORT, SERVER } from '../support/incident.js';

const why = cannotRun();
const NAME = `${HOST}:${PORT}`;
const COUNT = 50;

describe.skipIf(why !== undefined)('the port of a new listener is held by', () => {
  describe.each(haproxyBinaries())('HAProxy $version', ({ path: binary }) => {
    /** A HAProxy with its first generation, and all its sockets as they are then. */
    async function serving(listeners = COUNT) {
      const scene = await Incident.open({ binary, listeners });
      await scene.reload();
      return { scene, before: scene.lab.listeners() };
    }

    function expectKept(scene: Incident, before: ReadonlyMap<string, number[]>): void {
      const after = scene.lab.listeners();
      for (const [name, inodes] of before) expect([name, after.get(name)]).toEqual([name, inodes]);
    }

    test("another process' connection, with conflicts.share=all: shared, and the connection lives on", async () => {
      const { scene, before } = await serving();
      const held = await scene.ofStranger(PORT);
      const generous = await scene.berthWith({ conflicts: { share: 'all' } });
      const report = await scene.reload([NAME], generous);
      expect(report).toMatchObject({
        outcome: 'served',
        listeners: { served: COUNT + 1, sameSocket: COUNT },
        secured: [{ name: `${NAME}/tcp`, action: 'share', owners: [{ pid: scene.stranger.pid }] }],
      });
      expectKept(scene, before);
      expect(await scene.answers(PORT)).toBe(true);
      expect(await scene.stranger.echo(held, 'mine\n')).toEqual({ text: 'mine\n' });
      expect(await scene.states(PORT)).toEqual(['ESTAB']);
    });

    test("another process' connection, by default: left out with its owner named, all others served", async () => {
      const { scene, before } = await serving();
      const held = await scene.ofStranger(PORT);
      const hasty = await scene.berthWith({ conflicts: { wait: { deadlineMs: 100 } } });
      const told = await hasty.preflight([scene.configure([NAME, `${HOST}:30001`])]);
      expect(told.ok).toBe(false);
      const report = await hasty.reload([scene.config]);
      expect(report).toMatchObject({
        outcome: 'served-in-part',
        listeners: { served: COUNT + 1, kept: COUNT, opened: 1 },
        quarantined: [
          { name: `${NAME}/tcp`, verdict: { kind: 'shareable', holders: [{ owners: [{ pid: scene.stranger.pid }] }] } },
        ],
      });
      expect(report.quarantined[0]?.sentence).toContain(
        `${NAME} → ${PEER}:${SERVER} ESTABLISHED, ${comm(scene.stranger.pid)}[${scene.stranger.pid}]`,
      );
      expectKept(scene, before);
      expect(scene.lab.listeners().has(NAME)).toBe(false);
      expect(await scene.answers(30001)).toBe(true);
      expect(await scene.stranger.echo(held, 'mine\n')).toEqual({ text: 'mine\n' });
    });

    test('TIME_WAIT: removed, and served at once', async () => {
      const { scene, before } = await serving();
      await scene.stranger.end(await scene.ofStranger(PORT));
      await scene.untilState(PORT, 'TIME-WAIT');
      const report = await scene.reload([NAME], await scene.berthWith({ conflicts: { wait: { enabled: false } } }));
      expect(report).toMatchObject({
        outcome: 'served',
        secured: [{ action: 'destroy', owners: [] }],
        quarantined: [],
      });
      expectKept(scene, before);
      expect(await scene.answers(PORT)).toBe(true);
    });

    test('an orphaned FIN_WAIT2: removed, and served at once', async () => {
      const { scene, before } = await serving();
      const held = await scene.ofStranger(PORT);
      // A backend that is stopped takes the FIN and never sends its own.
      process.kill(scene.backend, 'SIGSTOP');
      await scene.stranger.drop(held);
      await scene.untilState(PORT, 'FIN-WAIT-2');
      const report = await scene.reload([NAME], await scene.berthWith({ conflicts: { wait: { enabled: false } } }));
      expect(report).toMatchObject({
        outcome: 'served',
        secured: [{ action: 'destroy', owners: [] }],
        quarantined: [],
      });
      expectKept(scene, before);
      process.kill(scene.backend, 'SIGCONT');
      expect(await scene.answers(PORT)).toBe(true);
    });

    test("HAProxy's own CLOSE_WAIT: shared", async () => {
      const { scene, before } = await serving();
      const held = await scene.throughHAProxy(PORT, { halfOpen: true });
      // The backend closes, the client does not: HAProxy holds its half until that one goes too.
      await scene.client.echo(held, 'bye\n');
      await scene.untilState(PORT, 'CLOSE-WAIT');
      const [old] = scene.lab.haproxies();
      const report = await scene.reload([NAME]);
      expect(report).toMatchObject({ outcome: 'served', secured: [{ action: 'share', owners: [{ pid: old?.pid }] }] });
      expectKept(scene, before);
      expect(await scene.answers(PORT)).toBe(true);
      expect(await scene.states(PORT)).toEqual(['CLOSE-WAIT']);
    });

    test('an older HAProxy that drains since two reloads: shared, and its connection lives on', async () => {
      const { scene } = await serving();
      const held = await scene.throughHAProxy(PORT);
      const [oldest] = scene.lab.haproxies();
      await scene.reload([`${HOST}:30001`]);
      await scene.reload([`${HOST}:30002`]);
      const before = scene.lab.listeners();
      const told = await scene.berth.preflight([scene.configure([`${HOST}:30002`, NAME])]);
      expect(told.ok).toBe(true);
      expect(told.listeners.find(({ name }) => name === `${NAME}/tcp`)?.sentence).toMatch(
        new RegExp(`ESTABLISHED, haproxy\\[${oldest?.pid}\\].* \\(draining since \\d\\d:\\d\\d\\); `),
      );
      const report = await scene.berth.reload([scene.config]);
      expect(report).toMatchObject({
        outcome: 'served',
        secured: [{ action: 'share', owners: [{ pid: oldest?.pid, comm: 'haproxy' }] }],
      });
      expect(report.haproxy.oldPid).not.toBe(oldest?.pid);
      expectKept(scene, before);
      expect(await scene.answers(PORT)).toBe(true);
      expect(await scene.client.echo(held, 'still here\n')).toEqual({ text: 'still here\n' });
      expect(await scene.states(PORT)).toEqual(['ESTAB']);
      expect(scene.lab.haproxies().map(({ pid }) => pid)).toContain(oldest?.pid);
    });

    test("somebody else's listener: 2000 of 2001 served, and taken up again by the next reload", async () => {
      const { scene, before } = await serving(2000);
      await scene.stranger.listen(HOST, PORT);
      const load = await scene.lab.startLoad({ targets: scene.binds, rate: 300, held: 20 });
      const report = await scene.reload([NAME]);
      expect(report).toMatchObject({
        outcome: 'served-in-part',
        listeners: { served: 2000, kept: 2000, sameSocket: 2000, opened: 0 },
        quarantined: [
          {
            name: `${NAME}/tcp`,
            verdict: { kind: 'taken', stale: false, holders: [{ owners: [{ pid: scene.stranger.pid }] }] },
          },
        ],
      });
      expect(report.quarantined[0]?.sentence).toContain(
        `a listener on ${NAME}, ${comm(scene.stranger.pid)}[${scene.stranger.pid}]`,
      );
      expectKept(scene, before);
      expect(await scene.berth.status()).toMatchObject({
        listeners: { wanted: 2000, served: 2000 },
        quarantined: [expect.stringContaining(`${NAME}/tcp`)],
      });

      await scene.killStranger();
      const next = await scene.berth.reload([scene.config]);
      expect(next).toMatchObject({ outcome: 'served', listeners: { served: 2001, opened: 1 }, quarantined: [] });
      expectKept(scene, before);
      expect(await scene.answers(PORT)).toBe(true);
      const counts = await load.stop();
      expect(counts).toMatchObject({ refused: 0, reset: 0, eof: 0, hung: 0, other: {} });
      expect(counts.held).toMatchObject({ open: 20, cut: 0, hung: 0, failed: 0 });
    });

    test("somebody else's listener, with conflicts.onUnsolved=abort: nothing is changed", async () => {
      const { scene } = await serving();
      await scene.stranger.listen(HOST, PORT);
      const strict = await scene.berthWith({ conflicts: { onUnsolved: 'abort' } });
      scene.configure([NAME, `${HOST}:30001`, `${HOST}:40001`]);
      const before = await scene.everything();
      await expect(strict.reload([scene.config])).rejects.toMatchObject({
        code: 'BERTH_UNSERVABLE',
        exitStatus: 3,
        message: expect.stringContaining(`${comm(scene.stranger.pid)}[${scene.stranger.pid}]`) as string,
      });
      expect(await scene.everything()).toEqual(before);
      expect(await strict.status()).toMatchObject({ ok: true, generation: { number: 1 } });
    });

    test("another process' connection, with conflicts.onUnsolved=abort: everything is put back", async () => {
      const { scene } = await serving();
      const held = await scene.ofStranger(PORT);
      const strict = await scene.berthWith({ conflicts: { onUnsolved: 'abort', wait: { deadlineMs: 100 } } });
      scene.configure([NAME, `${HOST}:30001`, `${HOST}:40001`]);
      const before = await scene.everything();
      await expect(strict.reload([scene.config])).rejects.toMatchObject({ code: 'BERTH_UNSERVABLE' });
      const after = await scene.everything();
      expect({ ...after, state: [] }).toEqual({ ...before, state: [] });
      expect(await strict.status()).toMatchObject({ ok: true, generation: { number: 1 } });
      expect((await strict.status()).unfinished).toBeUndefined();
      expect(await scene.stranger.echo(held, 'mine\n')).toEqual({ text: 'mine\n' });
    });

    test('a HAProxy that was forgotten and listens there still: left out, and that process named', async () => {
      const { scene, before } = await serving();
      const file = scene.lab.write('forgotten.cfg', configuration([NAME], { server: `${PEER}:${SERVER}` }));
      await scene.lab.exec(binary, ['-D', '-p', scene.lab.path('forgotten.pid'), '-f', file]);
      const forgotten = Number(readFileSync(scene.lab.path('forgotten.pid'), 'utf8'));
      const told = await scene.berth.preflight([scene.configure([NAME])]);
      expect(told).toMatchObject({ ok: false });
      const report = await scene.berth.reload([scene.config]);
      expect(report).toMatchObject({
        outcome: 'served-in-part',
        quarantined: [{ verdict: { kind: 'taken', stale: true, holders: [{ owners: [{ pid: forgotten }] }] } }],
      });
      expect(report.quarantined[0]?.sentence).toContain(`haproxy[${forgotten}]`);
      expect(report.quarantined[0]?.sentence).toContain('end that HAProxy');
      expectKept(scene, before);
      expect(scene.lab.listeners().get(NAME)).toHaveLength(1);

      process.kill(forgotten, 'SIGKILL');
      while (scene.lab.listeners().has(NAME)) await sleep(10);
      expect(await scene.berth.reload([scene.config])).toMatchObject({ outcome: 'served', quarantined: [] });
      expect(await scene.answers(PORT)).toBe(true);
    });
  });
});

function comm(pid: number): string {
  return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
}
