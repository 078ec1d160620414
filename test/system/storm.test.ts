/**
 * Ports that are taken between the look and the bind: outgoing connections come and go all the time, HAProxy's own and
 * other processes', over a range of ports so small that they meet each new listener's port again and again.
 */
import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Holder } from '../support/holder.js';
import { cannotRun, haproxyBinaries } from '../support/haproxy.js';
import { HOST, Incident, PEER, PORT, SERVER } from '../support/incident.js';

const why = cannotRun();
/** The ephemeral range of the storm; each reload opens a listener on the next of its ports, and closes the one before. */
const [FIRST, LAST] = [40000, 40255];
const RELOADS = 200;

describe.skipIf(why !== undefined)('an ephemeral storm', () => {
  test.each(haproxyBinaries().slice(-1))(
    `HAProxy $version: ${RELOADS} reloads, each with a new listener in the storm, are all served in full`,
    async ({ path: binary }) => {
      const scene = await Incident.open({ binary, listeners: 20, settings: { timeouts: { settleMs: 0 } } });
      await scene.reload();
      await scene.lab.exec('sysctl', ['-qw', `net.ipv4.ip_local_port_range=${FIRST} ${LAST}`]);
      // Each client's connection makes one of HAProxy's own, from the listeners' address and a port of the range.
      const load = await scene.lab.startLoad({ targets: scene.binds, rate: 50, held: 60 });
      const storm = startStorm(scene.stranger);
      const met = new Set<string>();
      for (let at = 0; at < RELOADS; at++) {
        const report = await scene.reload([`${HOST}:${FIRST + at}`]);
        for (const { action } of report.secured) met.add(action);
        expect(report).toMatchObject({
          outcome: 'served',
          listeners: { served: 21, kept: 20, sameSocket: 20, opened: 1 },
          quarantined: [],
          repairs: [],
        });
      }
      expect(await storm.stop()).toBeGreaterThan(RELOADS);
      // HAProxy's connections for the held clients lie on ports of the range: some of the new listeners met them.
      expect([...met]).toContain('share');
      expect(await scene.answers(FIRST + RELOADS - 1)).toBe(true);
      const counts = await load.stop();
      expect(counts).toMatchObject({ refused: 0, reset: 0, eof: 0, hung: 0, other: {} });
      expect(counts.held).toMatchObject({ open: 60, cut: 0, hung: 0, failed: 0 });
    },
    300_000,
  );

  test.each(haproxyBinaries().slice(-1))(
    'HAProxy $version: from the look to the end a guard keeps the port',
    async ({ path: binary }) => {
      const scene = await Incident.open({ binary, listeners: 1 });
      const { lab } = scene;
      await scene.reload();
      /** One connect(2) while the kernel has no port to give but the new listener's. */
      const connect = () => {
        const script = `exec 3<>/dev/tcp/${PEER}/${SERVER}`;
        return spawnSync('nsenter', [`--net=${lab.netns}`, '--', 'bash', '-c', script], { encoding: 'utf8' });
      };
      expect(await scene.onlyPort(PORT + 2, () => Promise.resolve(connect().stderr))).toBe('');
      const phases = ['stage', 'check', 'reserve', 'secure', 'hand over', 'verify', 'commit', 'retire', 'release'];
      const tried = new Map<string, string>();
      // Nothing reserves the port: what keeps it is the guard alone.
      const berth = await scene.berthWith(
        { reserve: { enabled: false } },
        {
          observer: (event) => {
            if (event.type !== 'phase' || event.state !== 'begin' || !phases.includes(event.name)) return;
            tried.set(event.name, connect().stderr);
          },
        },
      );
      await scene.onlyPort(PORT, async () => {
        const report = await scene.reload([`${HOST}:${PORT}`], berth);
        expect(report).toMatchObject({ outcome: 'served', secured: [], listeners: { opened: 1 } });
      });
      expect([...tried.keys()]).toEqual(phases);
      for (const phase of phases) {
        expect([phase, tried.get(phase)]).toEqual([phase, expect.stringContaining('Cannot assign requested address')]);
      }
      expect(await scene.answers(PORT)).toBe(true);
    },
  );
});

/** Connections of another process, 50 at a time, each reset as soon as all of them stand. */
function startStorm(stranger: Holder): { stop(): Promise<number> } {
  let blowing = true;
  const stop = () => (blowing = false);
  onTestFinished(() => void stop());
  const storm = async () => {
    let taken = 0;
    while (blowing) {
      taken += (await stranger.storm(PEER, SERVER, 50)).ports.length;
      // Room for others on the two cores.
      await sleep(20);
    }
    return taken;
  };
  const ended = storm();
  ended.catch(() => undefined);
  return {
    stop: () => {
      stop();
      return ended;
    },
  };
}
