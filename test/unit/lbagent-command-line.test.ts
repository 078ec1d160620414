/** Which command lines of haproxy are lbagent's, by the script and by the program behind it. */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from '../support/fast-check.js';
import { beforeEach, describe, expect, it } from 'vitest';
import { parseCommandLine } from '../../src/lbagent/command-line.js';
import { repository } from '../support/haproxy.js';
import { temporaryDirectory } from '../support/state.js';

const START = ['-D', '-p', '/run/h.pid', '-C', '/conf', '-f', '/conf'];

describe("HAProxy's command line", () => {
  it('is a start', () => {
    expect(parseCommandLine(START, '/')).toEqual({
      pidFile: '/run/h.pid',
      workingDirectory: '/conf',
      sources: ['/conf'],
      finish: [],
      extraArguments: [],
    });
  });

  it('is a reload, with the stats socket or without', () => {
    expect(parseCommandLine([...START, '-sf', '17', '-x', '/run/h.sock'], '/')).toMatchObject({ finish: [17] });
    expect(parseCommandLine([...START, '-sf', '17'], '/')).toMatchObject({ finish: [17] });
    expect(parseCommandLine(['-x', '/run/h.sock', '-sf', '17', '18', ...START], '/')).toMatchObject({
      finish: [17, 18],
      sources: ['/conf'],
    });
  });

  it('takes relative paths from -C, and -C from where it is called', () => {
    expect(parseCommandLine(['-D', '-p', 'h.pid', '-C', 'conf', '-f', 'a.cfg', '--', 'b.cfg', '-q'], '/srv')).toEqual({
      pidFile: '/srv/conf/h.pid',
      workingDirectory: '/srv/conf',
      sources: ['/srv/conf/a.cfg', '/srv/conf/b.cfg', '/srv/conf/-q'],
      finish: [],
      extraArguments: [],
    });
    expect(parseCommandLine(['-D', '-p', 'h.pid', '-f', 'a.cfg'], '/srv')).toMatchObject({
      pidFile: '/srv/h.pid',
      workingDirectory: '/srv',
      sources: ['/srv/a.cfg'],
    });
  });

  it('hands on what changes how HAProxy runs, and lets the last of two count', () => {
    expect(
      parseCommandLine([...START, '-n', '500', '-L', 'peer', '-dr', '-dM', '-q', '-V', '-p', '/other.pid'], '/'),
    ).toMatchObject({ extraArguments: ['-n', '500', '-L', 'peer', '-dr', '-dM'], pidFile: '/other.pid' });
  });

  it.each([
    [['-v']],
    [['-vv']],
    [['-c', '-f', '/conf']],
    [[...START, '-c']],
    [[...START, '-W']],
    [[...START, '-Ws']],
    [[...START, '-S', '/master']],
    [[...START, '-db']],
    [[...START, '-d']],
    [[...START, '-dR']],
    [[...START, '-dL']],
    [[...START, '-st', '17']],
    [[...START, '-x', '/run/h.sock']],
    [[...START, '-sf', 'x']],
    [[...START, 'more']],
    [[...START, '-n']],
    [['-D', '-C', '/conf', '-f', '/conf']],
    [['-D', '-p', '/run/h.pid']],
    [['-p', '/run/h.pid', '-f', '/conf']],
    [['-D', '-p', '/run/h.pid', '--']],
    [[]],
  ])('is not lbagent’s: %j', (words) => {
    expect(parseCommandLine(words, '/')).toBeUndefined();
  });
});

function whereIs(program: string): string {
  return spawnSync('which', [program], { encoding: 'utf8' }).stdout.trim();
}

describe.each(['dash', 'busybox', 'bash'])('bin/berth-haproxy under %s', (shell) => {
  const there = spawnSync(shell, shell === 'busybox' ? ['sh', '-c', ':'] : ['-c', ':']).status === 0;
  if (!there && process.env['BERTH_MUST_RUN'] === '1' && shell === 'dash') throw new Error(`${shell} is missing`);
  if (!there) console.log(`skipped: ${shell} is not installed`);

  let home: string;
  beforeEach(() => {
    home = temporaryDirectory();
    for (const directory of ['bin', 'path', 'berth/bin', 'berth/dist/lbagent']) {
      mkdirSync(join(home, directory), { recursive: true });
    }
    copyFileSync(join(repository, 'bin/berth-haproxy'), join(home, 'berth/bin/berth-haproxy'));
    writeFileSync(join(home, 'berth/dist/lbagent/main.js'), '');
    symlinkSync('../berth/bin/berth-haproxy', join(home, 'path/haproxy'));
    program('bin/haproxy', 'echo real; for word; do echo "<$word>"; done');
    program('bin/node', 'case $1 in --version) echo v22.1.0 ;; *) echo node >&2; exit 0 ;; esac');
    program('bin/logger', 'exit 0');
    for (const tool of ['readlink', 'cmp']) symlinkSync(whereIs(tool), join(home, 'bin', tool));
  });

  function program(name: string, body: string): void {
    writeFileSync(join(home, name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(home, name), 0o755);
  }

  /** Through the link, which is the first haproxy in PATH. */
  function call(words: readonly string[], environment: NodeJS.ProcessEnv = {}) {
    const PATH = [join(home, 'path'), join(home, 'bin')].join(':');
    const sh = shell === 'busybox' ? ['sh'] : [];
    return spawnSync(whereIs(shell), [...sh, join(home, 'path/haproxy'), ...words], {
      encoding: 'utf8',
      env: { PATH, ...environment },
    });
  }

  const shown = (words: readonly string[]) => ['real', ...words.map((word) => `<${word}>`), ''].join('\n');

  it.runIf(there)('knows the same ones', () => {
    const word = fc.constantFrom(
      ...['-D', '-f', '-p', '-C', '-x', '-sf', '-q', '-n', '-v', '-dr', '-dR', '--', '17', 'a b'],
    );
    const lines = fc.oneof(
      fc.array(word, { maxLength: 4 }),
      fc.array(word, { maxLength: 4 }).map((more) => [...START, ...more]),
      fc.array(word, { maxLength: 4 }).map((more) => [...START, '-sf', '17', ...more]),
    );
    fc.assert(
      fc.property(lines, (words) => {
        const { stdout, stderr } = call(words);
        const ours = parseCommandLine(words, '/') !== undefined;
        expect([stdout, stderr]).toEqual(ours ? ['', 'node\n'] : [shown(words), '']);
      }),
      { numRuns: 60 },
    );
  });

  it.runIf(there)('gives a call to the real one that names no file behind its --', () => {
    for (const more of [[], ['-C', '/conf']]) {
      const words = ['-D', '-p', '/run/h.pid', ...more, '--'];
      expect(call(words)).toMatchObject({ stdout: shown(words), stderr: '' });
      expect(call([...words, 'a.cfg'])).toMatchObject({ stdout: '', stderr: 'node\n' });
    }
  });

  it.runIf(there)('takes its own option out, wherever it stands, and hands on the rest as it is', () => {
    program(
      'bin/node',
      'case $1 in --version) echo v22.1.0 ;; *) shift; for word; do echo "<$word>" >&2; done ;; esac',
    );
    const own = call([...START.slice(0, 1), '--lbagent-conf', '/etc/a b.conf', ...START.slice(1)]);
    expect(own.stderr).toBe(
      ['--haproxy', join(home, 'bin/haproxy'), '--lbagent-conf', '/etc/a b.conf', '--', ...START, '']
        .map((word) => (word === '' ? '' : `<${word}>`))
        .join('\n'),
    );
    expect(call(START, { BERTH_LBAGENT_CONF: '/etc/c' }).stderr).toContain('<--lbagent-conf>\n</etc/c>\n');
    expect(call(['--lbagent-conf=/etc/d', ...START]).stderr).toContain('<--lbagent-conf>\n</etc/d>\n');
    expect(call(['-c', '--lbagent-conf', '/x', '-f', 'a  "b" $c']).stdout).toBe(shown(['-c', '-f', 'a  "b" $c']));
  });

  it.runIf(there)('leaves output and exit status of the real one alone', () => {
    program('bin/haproxy', 'printf out; printf err >&2; exit 42');
    expect(call(['-vv'])).toMatchObject({ status: 42, stdout: 'out', stderr: 'err' });
  });

  it.runIf(there)('finds the real one by name or path, never itself or a copy', () => {
    program('bin/other', 'echo other');
    expect(call(['-v'], { BERTH_HAPROXY_BINARY: join(home, 'bin/other') }).stdout).toBe('other\n');
    expect(call(['-v'], { BERTH_HAPROXY_BINARY: 'other' }).stdout).toBe('other\n');
    rmSync(join(home, 'bin/haproxy'));
    copyFileSync(join(repository, 'bin/berth-haproxy'), join(home, 'bin/haproxy'));
    const { stdout, stderr } = call(['-v']);
    expect(stdout + stderr).toMatch(/^HA-?Proxy version|no haproxy in PATH but this one/);
  });

  it.runIf(there)('gives the call to the real one where Berth cannot start', () => {
    const all = shown(START);
    program('bin/node', 'echo v18.20.1');
    expect(call(START)).toMatchObject({ stdout: all, status: 0 });
    expect(call(START).stderr).toMatch(/^berth-haproxy: .* is v18\.20\.1 \(20\.19 or newer is needed\); the real/);
    program('bin/node', 'case $1 in --version) echo v20.19.0 ;; *) echo why >&2; exit 125 ;; esac');
    expect(call(START)).toMatchObject({ stdout: all, stderr: 'why\n', status: 0 });
    program('bin/node', 'exit 127');
    expect(call(START)).toMatchObject({ stdout: all, status: 0 });
    rmSync(join(home, 'bin/node'));
    expect(call(START)).toMatchObject({
      stdout: all,
      stderr: 'berth-haproxy: node is missing (20.19 or newer); the real haproxy does it\n',
    });
    rmSync(join(home, 'berth/dist/lbagent/main.js'));
    expect(call(START).stdout).toBe(all);
    expect(call(START).stderr).toContain('main.js is missing (berth is not built); the real haproxy does it');
  });

  it.runIf(there)('hands back the exit status of Berth', () => {
    program('bin/node', 'case $1 in --version) echo v20.19.0 ;; *) exit 8 ;; esac');
    expect(call(START)).toMatchObject({ status: 8, stdout: '' });
  });

  it.runIf(there)('runs a Berth that is killed once more, and then the real one', () => {
    const log = join(home, 'log');
    program('bin/node', `case $1 in --version) echo v20.19.0 ;; *) echo x >>${log}; kill -9 $$ ;; esac`);
    const { stdout, stderr, status } = call(START);
    expect(stderr).toContain('Berth was killed in its first run (signal 9)');
    expect(stderr).toContain('Berth was killed in its second run (signal 9)');
    expect([stdout, status]).toEqual([shown(START), 0]);
    program(
      'bin/node',
      `case $1 in --version) echo v20.19.0 ;; *) [ -e ${log}2 ] && exit 0; : >${log}2; kill -9 $$ ;; esac`,
    );
    expect(call(START)).toMatchObject({ stdout: '', status: 0 });
  });
});
