/** `berth preflight` on the incident's host: what it says, with which exit status, and that it changes nothing. */
import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { openBerth } from '../../src/berth.js';
import { run } from '../../src/cli/run.js';
import { cannotRun, haproxyBinaries } from '../support/haproxy.js';
import { HOST, Incident, PEER, PORT, SERVER } from '../support/incident.js';

const why = cannotRun();
const NAME = `${HOST}:${PORT}`;
const RANGE = 'ephemeral range 32768–60999 covers this port and it is not reserved';

describe.skipIf(why !== undefined)('berth preflight', () => {
  describe.each(haproxyBinaries())('HAProxy $version', ({ path: binary }) => {
    test('a connection of HAProxy on a new port: named in full, exit 0, nothing changed', async () => {
      const scene = await Incident.open({ binary, listeners: 10 });
      await scene.reload();
      await scene.throughHAProxy(PORT);
      const [haproxy] = scene.lab.haproxies();
      scene.configure([NAME]);
      const before = await scene.everything();
      const { status, out, err } = await preflight(scene, scene.config);
      expect(await scene.everything()).toEqual(before);
      expect({ status, err }).toEqual({ status: 0, err: '' });
      const text = out.replace(/\s+/g, ' ');
      expect(text).toContain(`needs ${NAME}/tcp listen lb10, ${scene.config}:39`);
      expect(text).toMatch(
        new RegExp(
          `taken by an outgoing connection ${NAME} → ${PEER}:${SERVER} ESTABLISHED, haproxy\\[${haproxy?.pid}\\].*; ` +
            `${RANGE}; berth reload shares the port and reserves it`,
        ),
      );
      expect(text).toContain('ok 10 listeners: 10 kept');
      expect(text).toContain('A reload would serve all of 11 listeners, 1 of them after the work named above');
    });

    test("somebody else's listener: exit 3, its owner named", async () => {
      const scene = await Incident.open({ binary, listeners: 10 });
      await scene.reload();
      await scene.stranger.listen(HOST, PORT);
      const { status, out } = await preflight(scene, scene.configure([NAME]));
      expect(status).toBe(3);
      expect(out).toContain(`a listener on ${NAME}, `);
      expect(out).toContain(`[${scene.stranger.pid}]`);
      expect(out).toContain('Not ready: 1 of 11 listeners cannot be served');
    });

    test('bare endpoints, before any HAProxy and any state: what stands in the way of each', async () => {
      const scene = await Incident.open({ binary, listeners: 1 });
      await scene.ofStranger(PORT);
      await scene.stranger.udp(HOST, 5300);
      await scene.stranger.end(await scene.ofStranger(PORT + 2));
      await scene.untilState(PORT + 2, 'TIME-WAIT');
      const asked = [`tcp:${HOST}:${PORT - 1}-${PORT + 2}`, `udp:${HOST}:5300`, 'tcp:192.0.2.1:80'];
      const before = await scene.everything();
      const { status, out } = await preflight(scene, ...asked, '--json');
      expect(await scene.everything()).toEqual(before);
      expect(existsSync(scene.stateDir)).toBe(false);
      expect(status).toBe(3);
      const { result } = JSON.parse(out) as { result: { ok: boolean; listeners: { name: string }[] } };
      expect(result.ok).toBe(false);
      expect(result.listeners).toMatchObject([
        { name: `${HOST}:${PORT - 1}/tcp`, verdict: { kind: 'free' }, servable: true, exposed: true },
        { name: `${NAME}/tcp`, verdict: { kind: 'shareable' }, servable: false },
        { name: `${HOST}:${PORT + 1}/tcp`, verdict: { kind: 'free' }, servable: true },
        { name: `${HOST}:${PORT + 2}/tcp`, verdict: { kind: 'expiring' }, servable: true },
        { name: `${HOST}:5300/udp`, verdict: { kind: 'taken' }, servable: false, exposed: false },
        { name: '192.0.2.1:80/tcp', verdict: { kind: 'not-local' }, servable: false },
      ]);
    });
  });
});

/** The command itself, with what it prints in a pipe. */
async function preflight({ lab, binary, stateDir }: Incident, ...targets: string[]) {
  const printed = { out: '', err: '' };
  const sink = (name: 'out' | 'err') => ({
    write: (text: string) => void (printed[name] += text),
    terminal: false,
    columns: 80,
  });
  const words = ['preflight', ...targets, '--state-dir', stateDir, '--netns', lab.netns, '--haproxy', binary];
  const status = await run(words, {
    stdout: sink('out'),
    stderr: sink('err'),
    environment: {},
    version: '0',
    openBerth,
    measure: () => Promise.reject(new Error('preflight measures nothing')),
    onSignal: () => () => undefined,
    exit: () => undefined,
  });
  return { status, ...printed };
}
