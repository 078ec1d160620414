/**
 * The incident, replayed: a connection of the old HAProxy's own sits on the port of a listener that is to be created.
 * 2000 listeners, steady clients; nobody notices, and the connection lives on.
 */
import { describe, expect, test } from 'vitest';
import { cannotRun, haproxyBinaries } from '../support/haproxy.js';
import { HOST, Incident, PEER, PORT, SERVER } from '../support/incident.js';
import { traceStarts } from '../support/trace.js';

const why = cannotRun();
const NAME = `${HOST}:${PORT}`;

describe.skipIf(why !== undefined)('the incident', () => {
  describe.each(haproxyBinaries())('HAProxy $version', ({ path }) => {
    test('an outgoing connection of the old HAProxy on a new port, 2000 listeners under load: nobody notices', async () => {
      const scene = await Incident.open({ binary: path, listeners: 2000 });
      const { lab, berth, client } = scene;
      await scene.reload();
      const held = await scene.throughHAProxy(PORT);
      const old = lab.haproxies();
      expect(old).toHaveLength(1);
      const before = lab.listeners();
      expect(before.size).toBe(2000);

      scene.configure([NAME]);
      const unchanged = await scene.everything();
      const preflight = await berth.preflight([scene.config]);
      expect(preflight).toMatchObject({ ok: true, conflicts: [], warnings: [] });
      const told = preflight.listeners.filter(({ verdict }) => verdict.kind !== 'ours');
      expect(told).toMatchObject([
        { name: `${NAME}/tcp`, servable: true, exposed: true, verdict: { kind: 'shareable' } },
      ]);
      expect(told[0]?.sentence).toMatch(
        new RegExp(
          `^${NAME}/tcp taken by an outgoing connection ${NAME} → ${PEER}:${SERVER} ESTABLISHED, ` +
            `haproxy\\[${old[0]?.pid}\\].*; ephemeral range 32768–60999 covers this port and it is not reserved; ` +
            'berth reload shares the port and reserves it$',
        ),
      );
      expect(await scene.everything()).toEqual(unchanged);

      const load = await lab.startLoad({ targets: scene.binds, rate: 300, held: 20 });
      const traced = traceStarts(lab, path);
      const report = await (await scene.berthWith({}, { wrapper: traced.wrapper })).reload([scene.config]);
      expect(report).toMatchObject({
        outcome: 'served',
        listeners: { served: 2001, kept: 2000, sameSocket: 2000, opened: 1, closed: 0 },
        secured: [{ name: `${NAME}/tcp`, action: 'share', owners: [{ pid: old[0]?.pid, comm: 'haproxy' }] }],
        quarantined: [],
        reserved: { added: String(PORT) },
        repairs: [],
        warnings: [],
      });

      const after = lab.listeners();
      expect(after.get(NAME)).toHaveLength(1);
      after.delete(NAME);
      expect(after).toEqual(before);
      expect(await scene.states(PORT)).toEqual(['ESTAB']);
      expect(await client.echo(held, 'still here\n')).toEqual({ text: 'still here\n' });
      expect(await scene.answers(PORT)).toBe(true);

      const counts = await load.stop();
      expect(counts).toMatchObject({ refused: 0, reset: 0, eof: 0, hung: 0, other: {} });
      expect(counts.held).toMatchObject({ open: 20, cut: 0, hung: 0, failed: 0 });
      expect(counts.ok).toBe(counts.attempts);
      expect(counts.ok).toBeGreaterThan(0);

      // HAProxy 3.x tries at its start, with ports of the kernel's choice, what SO_REUSEPORT can do here: those are no listeners.
      const ports = [...scene.binds, NAME].map((name) => Number(name.split(':')[1]));
      expect(traced.binds().filter(({ address, port }) => address === HOST || ports.includes(port))).toEqual([]);
    });
  });
});
