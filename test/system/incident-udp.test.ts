/** UDP ports: a listener kept with its socket over a reload, a new one opened, a busy one left out; log-forward and QUIC. */
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { cannotRun, haproxyBinaries } from '../support/haproxy.js';
import { HOST, Incident, PEER } from '../support/incident.js';
import { selfSigned } from '../support/listening.js';

const why = cannotRun();
const COLLECTOR = 5140;

const since = (least: number, most = Infinity) =>
  haproxyBinaries().filter(({ version }) => Number(version) >= least && Number(version) <= most);

const logForward = (scene: Incident, ports: readonly number[]) =>
  scene.configure([], {
    sections: ports.map((port) => [
      `log-forward f${port}`,
      `dgram-bind ${HOST}:${port}`,
      `log ${PEER}:${COLLECTOR} local0`,
    ]),
  });

describe.skipIf(why !== undefined).each(since(2.6))('UDP listeners, HAProxy $version', ({ path: binary }) => {
  test('log-forward: kept with its socket, a new one opened, a busy one left out with its owner named', async () => {
    const scene = await Incident.open({ binary, listeners: 1 });
    const { lab, berth, client, stranger } = scene;
    const collector = await client.udp(PEER, COLLECTOR);
    const first = await berth.reload([logForward(scene, [1514])]);
    expect(first).toMatchObject({ outcome: 'served', listeners: { served: 2, opened: 2 } });
    await send(lab, 1514);
    await until(client, collector.id, 1);
    const before = await udpSockets(lab);
    expect(before.get(`${HOST}:1514`)).toHaveLength(1);

    await stranger.udp(HOST, 1516);
    const told = await berth.preflight([logForward(scene, [1514, 1515, 1516])]);
    expect(told.ok).toBe(false);
    const second = await berth.reload([logForward(scene, [1514, 1515, 1516])]);
    expect(second).toMatchObject({
      outcome: 'served-in-part',
      listeners: { served: 3, kept: 2, sameSocket: 2, opened: 1, closed: 0 },
      quarantined: [
        { name: `${HOST}:1516/udp`, verdict: { kind: 'taken', holders: [{ owners: [{ pid: stranger.pid }] }] } },
      ],
      warnings: [],
    });
    expect(second.quarantined[0]?.sentence).toContain(`a UDP socket on ${HOST}:1516`);
    const after = await udpSockets(lab);
    expect(after.get(`${HOST}:1514`)).toEqual(before.get(`${HOST}:1514`));
    await send(lab, 1514);
    await until(client, collector.id, 2);
    await send(lab, 1515);
    await until(client, collector.id, 3);

    await scene.killStranger();
    const third = await berth.reload([scene.config]);
    expect(third).toMatchObject({
      outcome: 'served',
      listeners: { served: 4, kept: 3, sameSocket: 3, opened: 1, closed: 0 },
    });
    await send(lab, 1516);
    await until(client, collector.id, 4);
    expect(await berth.status()).toMatchObject({
      ok: true,
      listeners: { wanted: 4, served: 4, missing: [], extra: [] },
    });
  });
});

describe.skipIf(why !== undefined).each(since(2.6))(
  'UDP listeners of a master, HAProxy $version',
  ({ path, version }) => {
    test('one that goes and comes back: a socket that the master has kept is told of, by the reload and by status', async () => {
      const settings = { haproxy: { binary: path, mode: 'master-worker' } };
      const scene = await Incident.open({ binary: path, listeners: 1, settings });
      const { lab, berth } = scene;
      const name = `${HOST}:1515/udp`;
      const kept = Number(version) < 3.1 ? [name] : [];
      const told = kept.map(() => expect.stringContaining(`1 that nobody asked for: ${name}; nobody reads`) as unknown);
      expect(await berth.reload([logForward(scene, [1514, 1515])])).toMatchObject({ outcome: 'served', warnings: [] });
      for (const ports of [[1514], [1514, 1515]]) {
        expect(await berth.reload([logForward(scene, ports)])).toMatchObject({
          outcome: 'served',
          listeners: { served: 1 + ports.length },
          warnings: told,
        });
        expect(await berth.status()).toMatchObject({ ok: true, listeners: { missing: [], extra: kept } });
        expect((await udpSockets(lab)).get(`${HOST}:1514`)).toHaveLength(1);
      }
    });
  },
);

// 3.0 is built with a TLS library that has no QUIC of its own; `limited-quic` gives it some.
describe.skipIf(why !== undefined).each(since(3.2))('UDP listeners, HAProxy $version', ({ path: binary }) => {
  test('QUIC: kept, a new one opened, a busy one left out', async () => {
    const scene = await Incident.open({ binary, listeners: 1 });
    const { lab, berth, stranger } = scene;
    const certificate = selfSigned();
    onTestFinished(() => rmSync(dirname(certificate), { recursive: true }));
    const quic = (ports: readonly number[]) =>
      scene.configure([], {
        sections: ports.map((port) => [
          `frontend q${port}`,
          'mode http',
          `bind quic4@${HOST}:${port} ssl crt ${certificate} alpn h3`,
          'http-request return status 200',
        ]),
      });
    expect(await berth.reload([quic([8443])])).toMatchObject({ outcome: 'served', listeners: { served: 2 } });
    await stranger.udp(HOST, 8445);
    const report = await berth.reload([quic([8443, 8444, 8445])]);
    expect(report).toMatchObject({
      outcome: 'served-in-part',
      listeners: { served: 3, kept: 2, opened: 1, closed: 0 },
      quarantined: [
        { name: `${HOST}:8445/udp`, verdict: { kind: 'taken', holders: [{ owners: [{ pid: stranger.pid }] }] } },
      ],
    });
    const after = await udpSockets(lab);
    expect([...after.keys()].sort()).toEqual([`${HOST}:8443`, `${HOST}:8444`, `${HOST}:8445`]);
    expect(await berth.status()).toMatchObject({ ok: true });
  });
});

describe.skipIf(why !== undefined).each(since(0, 2.2))('UDP listeners, HAProxy $version', ({ path: binary }) => {
  test('it has none: refused by haproxy -c, and what serves goes on serving', async () => {
    const scene = await Incident.open({ binary, listeners: 1 });
    await scene.reload();
    const before = scene.lab.listeners();
    await expect(scene.berth.reload([logForward(scene, [1514])])).rejects.toMatchObject({
      code: 'BERTH_CONFIG_REFUSED',
    });
    expect(scene.lab.listeners()).toEqual(before);
    expect(await scene.berth.status()).toMatchObject({ ok: true, generation: { number: 1 } });
  });
});

/** A log line as a datagram. */
async function send(lab: Incident['lab'], port: number): Promise<void> {
  await lab.exec('bash', ['-c', `echo '<13>Jan  1 00:00:00 h p: text' >/dev/udp/${HOST}/${port}`]);
}

/** A datagram is on its way through HAProxy; it comes, or the test ends by its own limit. */
async function until(client: Incident['client'], id: number, count: number): Promise<void> {
  while ((await client.received(id)).count < count) await new Promise((resolve) => setTimeout(resolve, 10));
  expect((await client.received(id)).count).toBe(count);
}

/** `address:port` → inodes of the unconnected UDP sockets. */
async function udpSockets(lab: Incident['lab']): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const row of (await lab.exec('ss', ['-uanHe'])).split('\n')) {
    const [, name] = /^UNCONN\s+\d+\s+\d+\s+(\S+)/.exec(row) ?? [];
    const [, inode] = /ino:(\d+)/.exec(row) ?? [];
    if (name !== undefined && inode !== undefined) found.set(name, [...(found.get(name) ?? []), inode]);
  }
  return found;
}
