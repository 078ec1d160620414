/** What the unit file leaves to the agent is enough for all that Berth does, and what it leaves out is missed by name. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { cannotRun, haproxyBinaries, repository } from '../support/haproxy.js';
import { HOST, Incident, PORT } from '../support/incident.js';
import { wordsOf } from '../support/unit-file.js';

const why = cannotRun();
/** `CAP_NET_ADMIN` → `net_admin`, as setpriv(1) has it. */
const capabilities = wordsOf('CapabilityBoundingSet').map((name) => name.replace(/^CAP_/, '').toLowerCase());

describe.skipIf(why !== undefined).each(haproxyBinaries())(
  'under the capabilities of the unit, HAProxy $version',
  ({ path }) => {
    const scene = async () => {
      const opened = await Incident.open({ binary: path, listeners: 3 });
      const identity = { global: ['user nobody', 'group nogroup', `chroot ${opened.lab.directory}`] };
      const run = (kept: readonly string[], more: readonly string[], ...words: string[]) => {
        const set = ['-all', ...kept.map((name) => `+${name}`)].join(',');
        const drop = ['setpriv', '--no-new-privs', `--bounding-set=${set}`, `--inh-caps=-all`, '--'];
        const berth = [join(repository, 'bin/berth'), '--state-dir', opened.stateDir, '--haproxy', path, '--no-agent'];
        const config = opened.configure(more, identity);
        const all = [`--net=${opened.lab.netns}`, '--', ...drop, ...berth, 'reload', config, ...words, '--json'];
        const { stdout, stderr } = spawnSync('nsenter', all, { encoding: 'utf8' });
        expect(stdout, stderr).toMatch(/^\{.*\}\n$/);
        return JSON.parse(stdout) as { result?: object; error?: { code: string; message: string } };
      };
      return { opened, run };
    };
    const without = (...names: string[]) => capabilities.filter((name) => !names.includes(name));

    test('a first start, a shared port, a reservation, a port below 1024, the hand-over from a HAProxy of another user', async () => {
      const { opened, run } = await scene();
      expect(run(capabilities, []).result).toMatchObject({ outcome: 'served', listeners: { served: 3 } });
      const id = await opened.throughHAProxy(PORT);
      const before = opened.lab.listeners();
      const more = [`${HOST}:${PORT}`, `${HOST}:80`];
      expect(run(capabilities, more).result).toMatchObject({
        outcome: 'served',
        listeners: { served: 5, sameSocket: 3, opened: 2 },
        secured: expect.arrayContaining([
          expect.objectContaining({ name: `${HOST}:${PORT}/tcp`, action: 'share' }),
        ]) as object[],
        reserved: { added: String(PORT) },
      });
      for (const bind of opened.binds) expect(opened.lab.listeners().get(bind)).toEqual(before.get(bind));
      expect((await opened.client.echo(id, 'still here\n')).text).toBe('still here\n');
      expect(opened.lab.haproxies().every(({ uid }) => uid !== 0)).toBe(true);
    });

    test.each([
      ['sys_ptrace', /CAP_SYS_PTRACE/],
      ['net_bind_service', /CAP_NET_BIND_SERVICE/],
    ])('without %s it says so, and what served serves on', async (name, message) => {
      const { opened, run } = await scene();
      expect(run(capabilities, []).result).toMatchObject({ outcome: 'served' });
      const before = opened.lab.listeners();
      const { error } = run(without(name), [`${HOST}:80`], '--on-unsolved', 'abort');
      expect(error?.message).toMatch(message);
      expect(opened.lab.listeners()).toEqual(before);
    });

    test.each(['setuid', 'setgid', 'sys_chroot'])('without %s HAProxy itself says what it misses', async (name) => {
      const { opened, run } = await scene();
      const { error } = run(without(name), []);
      expect(error).toMatchObject({ code: 'BERTH_RELOAD_FAILED' });
      expect(error?.message).toMatch(/setuid|setgid|setgroups|chroot|uid|gid/i);
      expect(opened.lab.haproxies()).toEqual([]);
    });
  },
);
