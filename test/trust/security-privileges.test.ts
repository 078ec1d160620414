/**
 * An agent as its unit runs it: root without most of root (capabilities, no new privileges). What each capability is for is
 * shown one by one in test/system/privileges.test.ts.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { askSocket } from '../support/api.js';
import { fullVersion } from '../support/attempts.js';
import { form, recordFigure } from '../support/figures.js';
import { cannotRun, configuration, haproxyBinaries, Lab, repository } from '../support/haproxy.js';
import { WORKER } from '../support/strangers.js';
import { wordsOf } from '../support/unit-file.js';

const why = cannotRun();
const within = { timeout: 20_000, interval: 50 };
const names = wordsOf('CapabilityBoundingSet');
const set = ['-all', ...names.map((name) => `+${name.replace(/^CAP_/, '').toLowerCase()}`)].join(',');
const dropped = ['setpriv', '--no-new-privs', `--bounding-set=${set}`, '--inh-caps=-all', '--'];
const binaries = why === undefined ? haproxyBinaries() : [];

describe.skipIf(why !== undefined)('under the privileges of the unit', () => {
  test.each(form === 'full' ? binaries : binaries.slice(0, 1))(
    'HAProxy $version: a reload, a restart, a preflight',
    async (binary) => {
      const lab = await Lab.open();
      onTestFinished(() => lab.close());
      for (const name of ['conf.d', 'run']) mkdirSync(lab.path(name));
      // As Debian's /run/haproxy.
      chownSync(lab.path('run'), WORKER.uid, WORKER.gid);
      const socket = `stats socket ${lab.path('run/admin.sock')} mode 660 level admin user nobody group nogroup`;
      const global = ['user nobody', 'group nogroup', `chroot ${lab.path('run')}`, socket];
      const write = (...ports: number[]) =>
        writeFileSync(
          lab.path('conf.d', 'a.cfg'),
          configuration(
            ports.map((port) => `127.0.0.1:${port}`),
            { global },
          ),
        );
      write(8001);
      const settings = lab.write(
        'berth.yaml',
        JSON.stringify({
          ...{ stateDir: lab.path('state'), netns: lab.netns, sources: [lab.path('conf.d')] },
          ...{ agent: { socket: lab.path('agent.sock'), group: '51009' }, haproxy: { binary: binary.path } },
        }),
      );
      spawnSync(join(repository, 'bin/berth'), ['--version']);
      const berth = [process.execPath, join(repository, 'dist/cli/main.js')];
      // nsenter(1) needs CAP_SYS_ADMIN; the unit's HAProxy runs in the agent's own namespace.
      const enter = [`--net=${lab.netns}`, '--', ...dropped, ...berth];
      const call = (...words: string[]) =>
        spawnSync('nsenter', [...enter, ...words, '--settings', settings, '--json'], { encoding: 'utf8' });
      writeFileSync(settings, readFileSync(settings, 'utf8').replace(`"netns":"${lab.netns}",`, ''));
      const agent = spawn('nsenter', [...enter, 'agent', '--settings', settings], { stdio: 'ignore' });
      onTestFinished(() => void agent.kill('SIGKILL'));
      const listening = (...ports: number[]) =>
        vi.waitFor(() => expect([...lab.listeners().keys()]).toEqual(ports.map((port) => `127.0.0.1:${port}`)), within);

      await listening(8001);
      await vi.waitFor(() => expect(existsSync(lab.path('agent.sock'))).toBe(true), within);
      write(8001, 80);
      await vi.waitFor(
        () => expect([...lab.listeners().keys()].sort()).toEqual(['127.0.0.1:80', '127.0.0.1:8001']),
        within,
      );
      const status = readFileSync(`/proc/${agent.pid ?? 0}/status`, 'utf8');
      const inodes = lab.listeners().get('127.0.0.1:8001');
      const held = async () => (await askSocket({ socketPath: lab.path('agent.sock') }, 'GET', '/v1/instances')).text;
      await vi.waitFor(async () => expect(await held()).toContain('"held":2'), within);
      await vi.waitFor(() => expect(lab.haproxies()).toHaveLength(1), within);
      const before = lab.haproxies()[0]?.pid ?? 0;
      process.kill(before, 'SIGKILL');
      await vi.waitFor(() => expect(lab.haproxies().some(({ pid }) => pid !== before)).toBe(true), within);
      await vi.waitFor(() => expect(lab.listeners().get('127.0.0.1:8001')).toEqual(inodes), within);
      const preflight = JSON.parse(call('preflight', 'tcp:127.0.0.1:8002').stdout) as { ok: boolean };
      const effective = /^CapEff:\s*(\w+)$/m.exec(status)?.[1] ?? '';
      const bits = BigInt(`0x${effective}`).toString(2).replaceAll('0', '').length;
      recordFigure({
        part: 'security',
        name: `privileges, HAProxy ${binary.version}`,
        promise: 'The agent does all of its work with the ten capabilities of its unit, and without gaining others.',
        figure: `a reload to a port below 1024 with a HAProxy of another user, its restart on the same sockets, a preflight: done with ${bits} capabilities, no new privileges`,
        kept: preflight.ok && bits === names.length,
        haproxy: [fullVersion(binary)],
      });
      expect({ bits, preflight: preflight.ok }).toEqual({ bits: names.length, preflight: true });
      expect(status).toMatch(/^NoNewPrivs:\s*1$/m);
      agent.kill('SIGTERM');
      await once(agent, 'exit');
    },
  );
});
