/** Whoever calls himself haproxy, has a pid file, or gets the pid of one that died: not signalled, and not taken over. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBerth, type Berth } from '../../src/berth.js';
import { recordAttempts } from '../support/attempts.js';
import { amount } from '../support/figures.js';
import { cannotRun, configuration, haproxyBinaries, Lab, repository } from '../support/haproxy.js';
import { readProcess, socketsOf } from '../support/process-table.js';
import { pose, STRANGER } from '../support/strangers.js';

const why = cannotRun();

describe.skipIf(why !== undefined)('whose process it is', () => {
  const [binary = { version: '', path: '' }] = why === undefined ? haproxyBinaries() : [];
  let lab: Lab;
  let impostor: number;
  const opened: Berth[] = [];

  const open = async (settings: Record<string, unknown> = {}, pidFile?: string) => {
    const haproxy = { binary: binary.path, ...(pidFile === undefined ? {} : { pidFile }) };
    const berth = await openBerth({
      settings: { stateDir: lab.path('state'), netns: lab.netns, haproxy, ...settings },
      environment: {},
    });
    opened.push(berth);
    return berth;
  };
  const config = (...more: string[]) => lab.write('a.cfg', configuration(['127.0.0.1:8001', ...more]));

  beforeAll(async () => {
    lab = await Lab.open();
    impostor = await pose(STRANGER, lab.netns, ['127.0.0.1:9999']);
    await (await open()).reload([config()]);
  });
  afterAll(async () => {
    for (const berth of opened) await berth.close();
    await lab.close();
  });

  const ours = () => lab.haproxies().find(({ pid }) => pid !== impostor)?.pid ?? 0;
  const inodesOf = (pid: number) => [...socketsOf(pid).keys()];

  test('a pid file that names nobody, everybody, init, Berth or a stranger has none of them signalled', async () => {
    const elsewhere = spawn('sleep', ['600'], { argv0: 'haproxy' });
    const other = await Lab.open();
    const foreign = await pose({ uid: 0, gid: 0 }, other.netns, []);
    const contents = [
      '',
      '0',
      '-1',
      '1',
      String(process.pid),
      '1 2 3',
      '99999999999999999999',
      '4194304',
      'haproxy',
      '+7',
    ];
    contents.push(
      String(elsewhere.pid),
      String(foreign),
      `${impostor}\n-1`,
      '\u0000',
      '1e3',
      `0x${impostor.toString(16)}`,
    );
    const before = { serving: ours(), listeners: [...lab.listeners()] };
    const succeeded: string[] = [];
    const chosen = contents.slice(-amount('pid_files', { short: 8, full: contents.length }));
    for (const content of chosen) {
      const pidFile = lab.write('haproxy.pid', content);
      const berth = await open({}, pidFile);
      for (const act of [() => berth.reload([config()]), () => berth.stop(), () => berth.stop({ hard: true })]) {
        const done = await act().then(
          (result) => result,
          () => undefined,
        );
        if (done !== undefined) succeeded.push(content);
      }
    }
    const alive = [impostor, foreign, elsewhere.pid ?? 0].every((pid) => readProcess(pid)?.argv.length);
    elsewhere.kill('SIGKILL');
    await other.close();
    recordAttempts({
      name: 'pid files',
      promise:
        'A pid file that names another program, init, Berth itself or a HAProxy of another namespace has none signalled.',
      what: 'to have a process signalled by what a pid file says',
      tried: chosen.length * 3,
      succeeded: alive ? succeeded : [...succeeded, 'a process is gone'],
      haproxy: binary,
    });
    expect({ succeeded, alive }).toEqual({ succeeded: [], alive: true });
    expect({ serving: ours(), listeners: [...lab.listeners()] }).toEqual(before);
  });

  test('a stranger’s process called haproxy, which listens where we want to: its socket is not handed on', async () => {
    const theirs = inodesOf(impostor);
    mkdirSync(lab.path('fresh'));
    const fresh = await open({ stateDir: lab.path('fresh', 'state') });
    const again = await open();
    const succeeded: unknown[] = [];
    const attempts = [
      // With what Berth remembers, and as one that never saw a HAProxy here: the only one that it finds is its own.
      () => again.reload([config('127.0.0.1:9999')]),
      () => fresh.reload([config('127.0.0.1:9999')]),
      () => again.reload([config()]),
    ];
    for (const attempt of attempts) {
      await attempt().catch(() => undefined);
      const taken = lab
        .haproxies()
        .filter(({ pid }) => pid !== impostor)
        .flatMap(({ pid }) => inodesOf(pid).filter((inode) => theirs.includes(inode)));
      succeeded.push(...taken);
      if (readProcess(impostor) === undefined) succeeded.push('it was ended');
    }
    recordAttempts({
      name: 'an impostor',
      promise:
        'A process of another user that calls itself haproxy has neither its sockets handed on nor itself signalled.',
      what: 'to pass for the HAProxy that serves',
      tried: attempts.length,
      succeeded,
      haproxy: binary,
    });
    expect(succeeded).toEqual([]);
    expect(lab.listeners().get('127.0.0.1:8001')).toBeDefined();
  });

  test('a pid that another process has by now: no signal, no duplicate, no option, no watch', () => {
    const rounds = amount('recycled', { short: 20, full: 500 });
    const script = `
      const { spawn, spawnSync } = require('node:child_process');
      const { readFileSync, writeFileSync } = require('node:fs');
      const native = require(${JSON.stringify(join(repository, 'build/Release/berth.node'))});
      const ticksOf = (pid) => readFileSync('/proc/' + pid + '/stat', 'latin1').split(') ')[1].split(' ')[19];
      const start = () => spawn('sleep', ['600'], { stdio: 'ignore' });
      const end = (child) => new Promise((resolve) => { child.once('exit', resolve); child.kill('SIGKILL'); });
      (async () => {
        const [ns] = await native.openNamespace(null);
        const out = { rounds: 0, hits: [] };
        const tries = (pid, ticks) => ({
          signal: () => native.signalProcess(pid, ticks, 9),
          watch: () => { const [id] = native.watchExit(pid, ticks, false); native.unwatchExit(id); return true; },
          duplicate: async () => (await native.duplicate(ns, pid, ticks, new Uint32Array([1]))) && true,
          share: async () => (await native.share(ns, pid, ticks, 0, 1), true),
        });
        while (out.rounds < ${rounds}) {
          const first = start();
          const ticks = ticksOf(first.pid);
          await end(first);
          writeFileSync('/proc/sys/kernel/ns_last_pid', String(first.pid - 1));
          const second = start();
          // Another was quicker, or it began within the same tick: then it is no such case.
          if (second.pid === first.pid && ticksOf(second.pid) !== ticks) {
            out.rounds++;
            for (const [name, attempt] of Object.entries(tries(first.pid, Number(ticks)))) {
              try { if (await attempt()) out.hits.push(name); } catch (error) { if (error.code !== 'ESRCH') out.hits.push(name + ' ' + error.code); }
            }
            if (second.exitCode !== null || second.signalCode !== null) out.hits.push('it was hit');
          }
          await end(second);
        }
        console.log(JSON.stringify(out));
        process.exit();
      })();`;
    const { stdout, stderr } = spawnSync(
      'unshare',
      ['--pid', '--fork', '--mount-proc', '--kill-child', process.execPath, '-e', script],
      { encoding: 'utf8', timeout: 50_000 },
    );
    const seen = JSON.parse(stdout || '{"rounds":0,"hits":["none"]}') as { rounds: number; hits: string[] };
    recordAttempts({
      name: 'recycled pids',
      promise: 'A process that gets the pid of a HAProxy that died is neither signalled nor has its sockets touched.',
      what: 'on a process that got the pid of one that died (signal, watch, duplicate, share)',
      tried: seen.rounds * 4,
      succeeded: seen.hits,
    });
    expect(seen, stderr).toEqual({ rounds, hits: [] });
  });

  test('nothing is signalled by its number but what Berth started itself and has not reaped', () => {
    const files = (directory: string): string[] =>
      readdirSync(join(repository, directory), { recursive: true, encoding: 'utf8' })
        .filter((name) => /\.(ts|cc|h)$/.test(name))
        .map((name) => join(directory, name));
    const text = (file: string) => readFileSync(join(repository, file), 'utf8').replace(/\/\/.*$|^\s*\*.*$/gm, '');
    const killers = [...files('src'), ...files('native')].filter((file) =>
      /\bprocess\.kill\(|\.kill\(|(?<!\w)::kill\(|\bt?g?kill\(|SYS_t?g?kill/.test(text(file)),
    );
    expect(killers).toEqual(['src/haproxy/process.ts']);
    const byPidfd = files('native').filter((file) => /SYS_pidfd_(send_signal|getfd)/.test(text(file)));
    for (const file of byPidfd) expect(text(file)).toContain('openProcess(');
  });
});
