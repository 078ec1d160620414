/** berth-haproxy in lbagent's place, on real HAProxy: each line of its policy, by what lbagent would see. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openBerth } from '../../src/berth.js';
import { ask } from '../../src/haproxy/cli.js';
import { cannotRun, haproxyBinaries, Lab, repository } from '../support/haproxy.js';
import { startHolder, type Holder } from '../support/holder.js';
import { runLogged } from '../support/lbagent/agent.js';
import { DirectoryWriter } from '../support/lbagent/writer.js';
import { readProcess } from '../support/process-table.js';

const why = cannotRun();
const [haproxy] = why === undefined ? haproxyBinaries().slice(-1) : [];
const binary = haproxy?.path ?? '';
const dropIn = join(repository, 'bin/berth-haproxy');
const main = join(repository, 'dist/cli/main.js');
const ONE = '127.0.0.1:20001';
const TWO = '127.0.0.1:20002';

beforeAll(() => {
  expect(spawnSync(join(repository, 'bin/berth'), ['--version'], { encoding: 'utf8' })).toMatchObject({ status: 0 });
});

/** Numbers of the generations that were made. */
async function history(stateDir: string): Promise<number[]> {
  const berth = await openBerth({ settings: { stateDir }, environment: {} });
  const { generations } = await berth.history();
  await berth.close();
  return generations.map(({ number }) => number).sort((one, other) => one - other);
}

describe.skipIf(why !== undefined)(`berth-haproxy with HAProxy ${haproxy?.version}`, () => {
  let lab: Lab;
  let writer: DirectoryWriter;
  beforeEach(async () => {
    lab = await Lab.open();
    writer = new DirectoryWriter(lab.path('lbagent'));
  });
  afterEach(() => lab.close());

  function configure(binds: readonly string[], more = ''): void {
    const sections = binds.map((bind) => `listen l${bind.split(':')[1]}\n  bind ${bind}\n`);
    writer.write(
      new Map([
        [
          '00-haproxy.cfg',
          `global
  maxconn 500
  stats socket ${writer.statsSocket} expose-fd listeners
defaults
  mode tcp
  timeout connect 1s
  timeout client 1s
  timeout server 1s
`,
        ],
        ['a.cfg', `${sections.join('')}${more}`],
      ]),
    );
  }

  interface How {
    readonly environment?: NodeJS.ProcessEnv;
    readonly program?: string;
    /** Instead of the process of the pid file. */
    readonly finish?: number;
  }

  async function run(words: readonly string[], { environment = {}, program = dropIn }: How = {}) {
    const base = {
      PATH: process.env['PATH'],
      BERTH_HAPROXY_BINARY: binary,
      BERTH_STATE_DIR: lab.path('state'),
      BERTH_AGENT_SOCKET: lab.path('no-agent.sock'),
      BERTH_CONFLICTS_WAIT_DEADLINE_MS: '100',
    };
    const log = lab.path('call');
    return runLogged({ haproxyBin: program, netns: lab.netns, log, environment: { ...base, ...environment } }, words);
  }

  const words = () => ['-D', '-p', writer.pidFile, '-C', writer.current, '-f', writer.current];
  const start = (how?: How) => run(words(), how);
  const reload = (how: How = {}) =>
    run([...words(), '-sf', String(how.finish ?? served()), '-x', writer.statsSocket], how);
  /** What lbagent takes for its HAProxy. */
  const served = () => {
    const pid = Number(readFileSync(writer.pidFile, 'utf8'));
    expect(readProcess(pid)?.comm).toBe('haproxy');
    return pid;
  };
  const listening = () => [...lab.listeners().keys()].sort();

  async function until(done: () => boolean): Promise<void> {
    while (!done()) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  async function kill(pid: number): Promise<void> {
    process.kill(pid, 'SIGKILL');
    await until(() => readProcess(pid)?.exe === undefined);
  }

  async function hold(port: number): Promise<{ holder: Holder; id: number }> {
    const holder = await startHolder({
      spawn: (command, ...args) => spawn('nsenter', [`--net=${lab.netns}`, '--', command, ...args]),
    });
    return { holder, id: (await holder.listen('127.0.0.1', port)).id };
  }

  /** A haproxy that kills the Berth that starts it, the first `times` times. */
  function deadly(times: number): string {
    const path = lab.path('deadly');
    const log = lab.path('kills');
    writeFileSync(log, '');
    writeFileSync(
      path,
      `#!/bin/sh
case " $* " in *" -x "*)
  if [ "$(wc -l <${log})" -lt ${times} ]; then echo x >>${log}; kill -9 $PPID; fi ;;
esac
exec ${binary} "$@"
`,
    );
    chmodSync(path, 0o755);
    return path;
  }

  const QUIET = { status: 0, stdout: '', stderr: '' };

  test('a start and a reload leave everything where lbagent expects it', async () => {
    configure([ONE]);
    expect(await start()).toEqual(QUIET);
    const first = served();
    const inodes = lab.listeners().get(ONE);
    configure([ONE, TWO]);
    expect(await reload()).toEqual(QUIET);
    const second = served();
    expect(second).not.toBe(first);
    expect(listening()).toEqual([ONE, TWO]);
    expect(lab.listeners().get(ONE)).toEqual(inodes);
    await until(() => readProcess(first)?.exe === undefined);
    expect(await ask(writer.statsSocket, 'show info', { timeoutMs: 2000 })).toContain(`Pid: ${second}\n`);
    expect(lab.haproxies()).toHaveLength(1);
  });

  test.each([['-v'], ['-vv'], ['-c', '-f', 'CONF'], ['-c', '-f', 'BROKEN'], ['-C', '/nowhere', '-f', 'x'], ['-h']])(
    'what is not lbagent’s goes to the real haproxy, byte for byte: %s %s %s',
    (...given) => {
      configure([ONE]);
      const broken = lab.write('broken.cfg', 'listen\n');
      const filled = given.map((word) => (word === 'CONF' ? writer.current : word === 'BROKEN' ? broken : word));
      const [real, ours] = [binary, dropIn].map((program) => {
        const { status, stdout, stderr } = spawnSync(program, filled, {
          encoding: 'utf8',
          env: { PATH: process.env['PATH'], BERTH_HAPROXY_BINARY: binary },
        });
        // It names its own pid in its messages.
        return { status, stdout, stderr: stderr.replaceAll(/\(\d+\)/g, '(PID)') };
      });
      expect(ours).toEqual(real);
      expect(existsSync(lab.path('state'))).toBe(false);
    },
  );

  test('a configuration that is refused leaves the one that serves alone, and succeeds', async () => {
    configure([ONE]);
    await start();
    const pid = served();
    configure([ONE, TWO], 'bnid\n');
    const { status, stderr } = await reload();
    expect(status).toBe(0);
    expect(stderr).toMatch(/unknown keyword 'bnid'/);
    expect(stderr).toContain(`berth-haproxy: haproxy[${pid}] goes on serving the configuration before`);
    expect([served(), listening()]).toEqual([pid, [ONE]]);
  });

  test('and fails where lbagent.strict asks for it, with that one serving all the same', async () => {
    configure([ONE]);
    await start();
    const pid = served();
    configure([ONE], 'bnid\n');
    expect((await reload({ environment: { BERTH_LBAGENT_STRICT: 'true' } })).status).toBe(4);
    expect([served(), listening()]).toEqual([pid, [ONE]]);
  });

  test('a start whose configuration is refused serves the last good generation', async () => {
    configure([ONE]);
    await start();
    await kill(served());
    configure([ONE, TWO], 'bnid\n');
    const { status, stderr } = await start();
    expect(status).toBe(0);
    expect(stderr).toMatch(/unknown keyword 'bnid'[^]*generation \d+ serves instead, a copy of the last good one/);
    expect(served()).toBeGreaterThan(0);
    expect(listening()).toEqual([ONE]);
  });

  test('a start whose configuration is refused, with nothing good to go back to, ends in the words of haproxy', async () => {
    configure([ONE], 'bnid\n');
    const { status, stderr } = await start();
    const real = spawnSync(binary, ['-D', ...words().slice(1)], { encoding: 'utf8' });
    expect(status).toBe(real.status);
    expect(status).toBe(1);
    expect(stderr).toMatch(/\[ALERT\].*unknown keyword 'bnid'/);
    expect(stderr).toContain('berth-haproxy: no HAProxy serves; the real haproxy tries it');
    expect(listening()).toEqual([]);
  });

  test('a listener that somebody else has is left out, and taken up by the next call', async () => {
    const { holder, id } = await hold(20002);
    configure([ONE, TWO, '127.0.0.1:20003']);
    const { status, stderr } = await start();
    expect(status).toBe(0);
    expect(stderr).toMatch(
      /^berth-haproxy: 127\.0\.0\.1:20002\/tcp \(listen l20002, .*a\.cfg:4\) is left out, the others serve: taken by a listener .*\n$/,
    );
    const inodes = lab.listeners().get(TWO);
    expect(inodes).toHaveLength(1);
    await holder.close(id);
    expect(await reload()).toEqual(QUIET);
    expect(listening()).toEqual([ONE, TWO, '127.0.0.1:20003']);
  });

  test('a pid file that names a dead process, or another program, counts as none', async () => {
    configure([ONE]);
    await start();
    await kill(served());
    expect(await start()).toEqual(QUIET);
    await kill(served());
    const { holder } = await hold(20009);
    writeFileSync(writer.pidFile, `${holder.pid}\n`);
    expect(await start()).toEqual(QUIET);
    expect(served()).not.toBe(holder.pid);
    expect(listening()).toEqual([ONE, '127.0.0.1:20009']);
  });

  test('a living HAProxy of -sf is the old one though the pid file is lost', async () => {
    configure([ONE]);
    await start();
    const old = served();
    const inodes = lab.listeners().get(ONE);
    for (const left of ['gone', '1']) {
      rmSync(writer.pidFile);
      // Nothing remembers it either.
      rmSync(lab.path('state'), { recursive: true });
      if (left !== 'gone') writeFileSync(writer.pidFile, `${process.pid}\n`);
      const finish = lab.haproxies()[0]?.pid ?? 0;
      expect(await reload({ finish })).toEqual(QUIET);
      expect(served()).not.toBe(finish);
      expect(lab.listeners().get(ONE)).toEqual(inodes);
      await until(() => readProcess(finish)?.exe === undefined);
    }
    expect(lab.haproxies().map(({ pid }) => pid)).not.toContain(old);
  });

  test('-sf of the one before the last reload takes the pid file’s word', async () => {
    configure([ONE]);
    await start();
    const first = served();
    await reload();
    await until(() => readProcess(first)?.exe === undefined);
    const second = served();
    expect(await reload({ finish: first })).toEqual(QUIET);
    await until(() => readProcess(second)?.exe === undefined);
    expect(listening()).toEqual([ONE]);
  });

  test('a Berth that works already is waited for, and then the one that serves goes on', async () => {
    configure([ONE]);
    await start();
    const pid = served();
    const lock = spawn('flock', [lab.path('state/lock'), 'sh', '-c', 'echo locked; exec cat']);
    await once(lock.stdout, 'data');
    const { status, stderr } = await reload({ environment: { BERTH_LOCK_WAIT_MS: '100' } });
    lock.kill();
    expect(status).toBe(0);
    expect(stderr).toContain('(BERTH_LOCKED, ');
    expect(served()).toBe(pid);
  });

  test('a Berth that is killed in the middle is run once more, and finishes', async () => {
    configure([ONE]);
    await start();
    const first = served();
    configure([ONE, TWO]);
    const { status, stderr } = await reload({ environment: { BERTH_HAPROXY_BINARY: deadly(1) } });
    expect(status).toBe(0);
    expect(stderr).toContain('Berth was killed in its first run (signal 9)');
    expect(served()).not.toBe(first);
    expect(listening()).toEqual([ONE, TWO]);
    await until(() => lab.haproxies().length === 1);
  });

  test('a Berth that is killed twice leaves the one that serves alone', async () => {
    configure([ONE]);
    await start();
    const pid = served();
    configure([ONE, TWO]);
    const { status, stderr } = await reload({ environment: { BERTH_HAPROXY_BINARY: deadly(2) } });
    expect(status).toBe(0);
    expect(stderr).toContain(`berth-haproxy: haproxy[${pid}] goes on serving the configuration before`);
    expect(served()).toBe(pid);
    expect(listening()).toContain(ONE);
    // The next call sweeps up.
    expect((await reload()).status).toBe(0);
    expect(listening()).toEqual([ONE, TWO]);
    await until(() => lab.haproxies().length === 1);
  });

  test('with an agent the call is handed to it; when it is gone, Berth does it alone', async () => {
    configure([ONE]);
    const environment = {
      BERTH_AGENT_SOCKET: lab.path('agent.sock'),
      BERTH_AGENT_GROUP: 'root',
      BERTH_HAPROXY_PID_FILE: writer.pidFile,
      BERTH_HAPROXY_WORKING_DIRECTORY: writer.current,
    };
    const agent = spawn('nsenter', [`--net=${lab.netns}`, '--', process.execPath, main, 'agent'], {
      stdio: 'ignore',
      env: { ...process.env, BERTH_HAPROXY_BINARY: binary, BERTH_STATE_DIR: lab.path('state'), ...environment },
    });
    await until(() => existsSync(lab.path('agent.sock')) || agent.exitCode !== null);
    expect(await start({ environment })).toEqual(QUIET);
    const first = served();
    const inodes = lab.listeners().get(ONE);
    configure([ONE, TWO]);
    expect(await reload({ environment })).toEqual(QUIET);
    expect(listening()).toEqual([ONE, TWO]);
    expect(await history(lab.path('state'))).toEqual([1, 2]);
    // The same files once more: the agent has them in service.
    const second = served();
    expect(await reload({ environment })).toEqual(QUIET);
    expect([served(), await history(lab.path('state'))]).toEqual([second, [1, 2]]);
    expect(second).not.toBe(first);
    agent.kill('SIGKILL');
    await once(agent, 'exit');
    configure([ONE]);
    expect(await reload({ environment })).toEqual(QUIET);
    expect(listening()).toEqual([ONE]);
    expect(lab.listeners().get(ONE)).toEqual(inodes);
  });

  describe('where Berth itself cannot start, the real haproxy gets the call', () => {
    /** A package like ours without some of its parts. */
    function package_(...without: readonly string[]): string {
      for (const name of ['package.json', 'dist', 'node_modules', 'build', 'prebuilds']) {
        const from = join(repository, name);
        if (!without.includes(name) && existsSync(from)) {
          mkdirSync(lab.path('package'), { recursive: true });
          symlinkSync(from, lab.path('package', name));
        }
      }
      mkdirSync(lab.path('package/bin'), { recursive: true });
      copyFileSync(dropIn, lab.path('package/bin/berth-haproxy'));
      return lab.path('package/bin/berth-haproxy');
    }

    /** Only what the script needs. */
    function path(...programs: readonly string[]): string {
      mkdirSync(lab.path('tools'));
      for (const program of ['readlink', 'cmp', 'sh', 'nsenter', ...programs]) {
        symlinkSync(spawnSync('which', [program], { encoding: 'utf8' }).stdout.trim(), lab.path('tools', program));
      }
      return lab.path('tools');
    }

    const cases: [string, () => How, RegExp][] = [
      ['no node', () => ({ environment: { PATH: path() } }), /node is missing/],
      ['not built', () => ({ program: package_('dist') }), /main\.js is missing/],
      [
        'a setting that does not exist',
        () => ({ environment: { BERTH_CONFLICTS_WAIT_DEADLINE_M: '1' } }),
        /there is no setting BERTH_CONFLICTS_WAIT_DEADLINE_M;/,
      ],
      [
        'a settings file that is none',
        () => ({ environment: { BERTH_SETTINGS: lab.write('berth.yaml', 'haproxy: [\n') } }),
        /not YAML/,
      ],
      [
        'no lbagent.conf where one is named',
        () => ({ environment: { BERTH_LBAGENT_CONF: lab.path('none.conf') } }),
        /none\.conf/,
      ],
      [
        'a state directory that cannot be one',
        () => ({ environment: { BERTH_STATE_DIR: join(lab.write('file', ''), 'state') } }),
        /BERTH_STATE_DIR|BERTH_STATE_WRITE/,
      ],
      [
        'a state directory that others can write to',
        () => {
          mkdirSync(lab.path('state'));
          chmodSync(lab.path('state'), 0o777);
          return {};
        },
        /BERTH_STATE_DIR/,
      ],
      [
        'a full disk',
        () => {
          const state = lab.path('state');
          mkdirSync(state, { mode: 0o700 });
          const program = lab.write(
            'full',
            `#!/bin/sh\nexec unshare -m sh -c 'mount -t tmpfs -o size=16k,mode=700 none ${state} && exec ${dropIn} "$@"' sh "$@"\n`,
          );
          chmodSync(program, 0o755);
          return { program };
        },
        /ENOSPC[^]*BERTH_STATE_WRITE/,
      ],
    ];

    test.each(cases)('%s', async (_, prepare, said) => {
      configure([ONE]);
      const how = prepare();
      const first = await start(how);
      expect(first.stderr).toMatch(said);
      expect(first.stderr).toMatch(/the real haproxy does it/);
      expect([first.status, listening()]).toEqual([0, [ONE]]);
      const old = served();
      configure([ONE, TWO]);
      expect((await reload(how)).status).toBe(0);
      expect(served()).not.toBe(old);
      expect(listening()).toEqual([ONE, TWO]);
    });

    test.each([
      ['no addon', ['build', 'prebuilds'], /BERTH_ADDON/],
      ['no packages', ['node_modules'], /the real haproxy does it/],
      ['half of it', ['dist/command'], /Berth cannot be loaded: Cannot find module/],
    ])('%s', async (_, without, said) => {
      const program = package_('dist', ...without);
      // The rest is looked for from where the modules really are: these must be copies.
      spawnSync('cp', ['-r', join(repository, 'dist'), lab.path('package/dist')]);
      for (const part of without) rmSync(lab.path('package', part), { recursive: true, force: true });
      configure([ONE]);
      const { status, stderr } = await start({ program });
      expect(stderr).toMatch(said);
      expect([status, listening()]).toEqual([0, [ONE]]);
    });

    test('and Berth takes over again as soon as it can', async () => {
      configure([ONE]);
      await start({ environment: { BERTH_SETTINGS: lab.path('none.yaml') } });
      const inodes = lab.listeners().get(ONE);
      const old = served();
      configure([ONE, TWO]);
      expect(await reload()).toEqual(QUIET);
      expect(lab.listeners().get(ONE)).toEqual(inodes);
      await until(() => readProcess(old)?.exe === undefined);
    });
  });
});
