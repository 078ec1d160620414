/** What the unit file leaves to the agent is enough for all that Berth does, and what it leaves out is missed by name. */
import { spawnSync } from 'node:child_process';
import { chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { cannotRun, haproxyBinaries, repository } from '../support/haproxy.js';
import { HOST, Incident, PORT } from '../support/incident.js';
import { wordsOf } from '../support/unit-file.js';

const why = cannotRun();
const NOBODY = 65534;
/** `CAP_NET_ADMIN` → `net_admin`, as setpriv(1) has it. */
const capabilities = wordsOf('CapabilityBoundingSet').map((name) => name.replace(/^CAP_/, '').toLowerCase());

describe.skipIf(why !== undefined).each(haproxyBinaries())(
  'under the capabilities of the unit, HAProxy $version',
  ({ path }) => {
    const scene = async () => {
      const opened = await Incident.open({ binary: path, listeners: 3 });
      // Debian's /run/haproxy is HAProxy's own as well.
      const directory = opened.lab.path('run');
      mkdirSync(directory);
      chownSync(directory, NOBODY, NOBODY);
      const socket = `stats socket ${directory}/admin.sock mode 660 level admin user nobody group nogroup`;
      const identity = { global: ['user nobody', 'group nogroup', `chroot ${opened.lab.directory}`, socket] };
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
      expect(run(capabilities, []).result).toMatchObject({ outcome: 'served', listeners: { served: 4 } });
      const id = await opened.throughHAProxy(PORT);
      const before = opened.lab.listeners();
      const more = [`${HOST}:${PORT}`, `${HOST}:80`];
      expect(run(capabilities, more).result).toMatchObject({
        outcome: 'served',
        listeners: { served: 6, sameSocket: 4, opened: 2 },
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

    test('without sys_ptrace a first start says what is missed, not that listeners are', async () => {
      for (let tried = 1; ; tried++) {
        const { opened, run } = await scene();
        const { error, result } = run(without('sys_ptrace'), []);
        if (error) {
          expect(error.message).toMatch(/CAP_SYS_PTRACE/);
          expect(opened.lab.listeners().size).toBe(0);
          return;
        }
        // HAProxy gives up its identity in the background: who has looked before that misses nothing. A busy machine's case.
        expect(result).toMatchObject({ outcome: 'served', listeners: { served: 4 } });
        expect(tried).toBeLessThan(10);
      }
    });

    test('without kill the old HAProxy is not told to finish, which is said; the next run does it', async () => {
      const { opened, run } = await scene();
      expect(run(capabilities, []).result).toMatchObject({ outcome: 'served' });
      const more = [`${HOST}:${PORT}`];
      const { result } = run(without('kill'), more) as { result?: { warnings: string[] } };
      expect(result).toMatchObject({ outcome: 'served', listeners: { served: 5 } });
      expect(result?.warnings.join()).toMatch(/CAP_KILL/);
      expect(opened.lab.haproxies()).toHaveLength(2);
      expect(run(capabilities, more).result).toMatchObject({ outcome: 'served', warnings: [] });
    });

    test.each([
      ['chown', /cannot change UNIX socket ownership/],
      ['fowner', /cannot change UNIX socket ownership/],
      ['dac_override', /cannot bind UNIX socket/],
    ])('without %s HAProxy itself says that its stats socket cannot be made', async (name, message) => {
      const { opened, run } = await scene();
      const { error } = run(without(name), []);
      expect(error).toMatchObject({ code: 'BERTH_RELOAD_FAILED' });
      expect(error?.message).toMatch(message);
      expect(opened.lab.haproxies()).toEqual([]);
    });

    test.each(['setuid', 'setgid', 'sys_chroot'])('without %s HAProxy itself says what it misses', async (name) => {
      const { opened, run } = await scene();
      const { error } = run(without(name), []);
      expect(error).toMatchObject({ code: 'BERTH_RELOAD_FAILED' });
      // It gives up its identity when it is in the background already: what it says then may come too late to be read.
      expect(error?.message).toMatch(/setuid|setgid|setgroups|chroot|uid|gid|(ended|died) right after its start/i);
      expect(opened.lab.haproxies()).toEqual([]);
    });
  },
);
