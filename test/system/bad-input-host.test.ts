/**
 * A host that does not give what Berth needs: capabilities, disk, descriptors; and a person who changes his mind. What is
 * missing and for what is said, or it works another way; the HAProxy that serves goes on serving.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openBerth, type Berth, type BerthOptions } from '../../src/berth.js';
import { Lab, cannotRun, configuration, haproxyBinaries, repository } from '../support/haproxy.js';
import { serving } from '../support/unchanged.js';

const why = cannotRun();
const steady = ['127.0.0.1:8001', '127.0.0.1:8002'];
const command = join(repository, 'bin/berth');
const like = (pattern: RegExp) => expect.stringMatching(pattern) as string;

describe.skipIf(why !== undefined)('a host that is not as it should be', () => {
  const path = why === undefined ? (haproxyBinaries()[0]?.path ?? '') : '';
  let lab: Lab;
  const opened: Berth[] = [];
  const mounted: string[] = [];
  beforeAll(() => {
    expect(spawnSync(command, ['--version']).status).toBe(0);
  });
  beforeEach(async () => {
    lab = await Lab.open();
  });
  afterEach(async () => {
    for (const berth of opened.splice(0)) await berth.close();
    for (const directory of mounted.splice(0)) spawnSync('umount', ['-l', directory]);
    await lab.close();
  });

  const open = async (settings: object = {}, options: BerthOptions = {}): Promise<Berth> => {
    const berth = await openBerth({
      settings: { stateDir: lab.path('state'), netns: lab.netns, haproxy: { binary: path }, ...settings },
      environment: {},
      ...options,
    });
    opened.push(berth);
    return berth;
  };
  const config = (...more: string[]) => lab.write('haproxy.cfg', configuration([...steady, ...more]));

  /** The command in the lab's namespace, behind a prefix that takes something away from it. */
  const berth = (prefix: readonly string[], ...words: string[]) => {
    const all = [`--net=${lab.netns}`, '--', ...prefix, command, '--state-dir', lab.path('state'), '--haproxy', path];
    const { status, stdout, stderr } = spawnSync('nsenter', [...all, ...words, '--json'], { encoding: 'utf8' });
    expect(stdout, stderr).toMatch(/^\{.*\}\n$/);
    return { status, answer: JSON.parse(stdout) as { result?: unknown; error?: { code: string; message: string } } };
  };
  const without = (...capabilities: string[]) => {
    const list = capabilities.map((name) => `-${name}`).join(',');
    return ['setpriv', `--bounding-set=${list}`, `--inh-caps=${list}`, '--'];
  };

  describe('capabilities', () => {
    test('without CAP_SYS_PTRACE a HAProxy of the same privileges is kept', () => {
      expect(berth(without('sys_ptrace'), 'reload', config()).status).toBe(0);
      const before = lab.listeners();
      const { status, answer } = berth(without('sys_ptrace'), 'reload', config('127.0.0.1:8003'));
      expect(answer).toMatchObject({ result: { outcome: 'served', listeners: { kept: 2, sameSocket: 2, opened: 1 } } });
      expect(status).toBe(0);
      for (const address of steady) expect(lab.listeners().get(address)).toEqual(before.get(address));
    });

    // It was not seen at all, its listeners were left out as somebody else's, and a second HAProxy was started beside it.
    test.each(['by a pid file', 'by nothing'])(
      'without CAP_SYS_PTRACE a HAProxy of more privileges, named %s, is left alone, and the capability is named',
      async (named) => {
        await lab.exec(path, ['-D', '-p', lab.path('haproxy.pid'), '-f', config()]);
        const before = await serving(lab);
        const pidFile = named === 'by a pid file' ? ['--pid-file', lab.path('haproxy.pid')] : [];
        for (const verb of ['reload', 'preflight']) {
          const { status, answer } = berth(without('sys_ptrace'), ...pidFile, verb, config('127.0.0.1:8003'));
          expect(answer.error).toMatchObject({
            code: 'BERTH_PERMISSION',
            message: like(/haproxy\[\d+\].*CAP_SYS_PTRACE/),
          });
          expect(status).toBe(5);
        }
        expect(await serving(lab)).toMatchObject({ sockets: before['sockets'], processes: before['processes'] });
      },
    );

    test('without CAP_NET_ADMIN listeners are served all the same', () => {
      const { status, answer } = berth(without('net_admin'), 'reload', config('127.0.0.1:40000'));
      expect(answer).toMatchObject({ result: { outcome: 'served', listeners: { served: 3 } } });
      expect(status).toBe(0);
    });

    test('without CAP_NET_BIND_SERVICE a privileged port is named with what it needs', () => {
      const words = ['reload', config('127.0.0.1:80'), '--on-unsolved', 'abort'];
      const { status, answer } = berth(without('net_bind_service'), ...words);
      expect(answer.error).toMatchObject({
        code: 'BERTH_UNSERVABLE',
        message: like(/127\.0\.0\.1:80\/tcp may not be bound \(EACCES\): it needs CAP_NET_BIND_SERVICE/),
      });
      expect(status).toBe(3);
      expect(lab.haproxies()).toEqual([]);
    });

    test('as somebody without any, who may not reserve ports', () => {
      mkdirSync(lab.path('own'));
      spawnSync('chown', ['nobody', lab.path('own')]);
      const nobody = [
        'setpriv',
        '--reuid=65534',
        '--regid=65534',
        '--clear-groups',
        '--bounding-set=-all',
        '--inh-caps=-all',
      ];
      const words = ['--set', `stateDir=${lab.path('own', 'state')}`, 'reload', config('127.0.0.1:40000')];
      const { status, answer } = berth([...nobody, '--'], ...words);
      expect(answer.error).toMatchObject({ code: 'BERTH_PERMISSION', message: like(/ip_local_reserved_ports/) });
      expect(status).toBe(5);
      expect(lab.haproxies()).toEqual([]);
      const free = berth([...nobody, '--'], ...words, '--no-reserve');
      expect(free.answer).toMatchObject({ result: { outcome: 'served', listeners: { served: 3 } } });
    });
  });

  describe('disk', () => {
    const mountState = (options: string) => {
      mkdirSync(lab.path('state'), { mode: 0o700 });
      chmodSync(lab.path('state'), 0o700);
      expect(spawnSync('mount', ['-t', 'tmpfs', '-o', `${options},mode=700`, 'tmpfs', lab.path('state')]).status).toBe(
        0,
      );
      mounted.push(lab.path('state'));
    };

    test('a state directory on a file system that is read-only', async () => {
      mountState('size=4m');
      await (await open()).reload([config()]);
      expect(spawnSync('mount', ['-o', 'remount,ro', lab.path('state')]).status).toBe(0);
      const before = await serving(lab);
      const next = config('127.0.0.1:8003');
      await expect((await open()).reload([next])).rejects.toMatchObject({
        code: 'BERTH_STATE_WRITE',
        message: like(/EROFS/),
      });
      expect(await serving(lab)).toEqual(before);
      expect((await (await open()).preflight([next])).ok).toBe(true);
      expect(await (await open()).status()).toMatchObject({ ok: true });
    });

    test('a disk that is full, at every stage', { timeout: 120_000 }, async () => {
      mountState('size=2m');
      await (await open()).reload([config()]);
      // Some 100 KiB to stage.
      const next = lab.write(
        'haproxy.cfg',
        `# ${'x'.repeat(1000)}\n`.repeat(100) + configuration([...steady, '127.0.0.1:40000']),
      );
      const steps = new Set<string>();
      for (let free = 0; ; free += 4096) {
        rmSync(lab.path('state', 'ballast'), { force: true });
        const { bavail, bsize } = statfsSync(lab.path('state'));
        writeFileSync(lab.path('state', 'ballast'), Buffer.alloc(Math.max(0, bavail * bsize - free)));
        const before = await serving(lab);
        const outcome = await (await open()).reload([next]).catch((error: unknown) => error);
        await untilOne();
        if (!(outcome instanceof Error)) {
          expect(outcome).toMatchObject({ outcome: 'served', listeners: { served: 3 } });
          break;
        }
        expect(outcome, `${free} bytes free`).toMatchObject({ code: 'BERTH_STATE_WRITE', message: like(/ENOSPC/) });
        steps.add((outcome as unknown as { step: string }).step);
        const now = await serving(lab);
        expect(now, `${free} bytes free`).toMatchObject({
          sockets: before['sockets'],
          processes: before['processes'],
          current: before['current'],
        });
        expect(free).toBeLessThan(1 << 20);
      }
      expect(steps.size).toBeGreaterThan(0);
      rmSync(lab.path('state', 'ballast'));
      // The last one may have had no room to finish its journal: it says so, and the next run does.
      expect(await (await open()).status()).toMatchObject({ listeners: { wanted: 3, served: 3, missing: [] } });
      expect(await (await open()).reload([next])).toMatchObject({ outcome: 'served', listeners: { kept: 3 } });
      expect(await (await open()).status()).toMatchObject({ ok: true });
      expect(await (await open()).reservations()).toMatchObject({ ours: '40000', lost: '' });
    });

    const untilOne = async () => {
      for (let tries = 0; lab.haproxies().length > 1 && tries < 500; tries++)
        await new Promise((go) => setTimeout(go, 10));
    };
  });

  test.each([40, 100, 150, 200])('at most %d descriptors', async (limit) => {
    await (await open()).reload([config()]);
    const before = await serving(lab);
    const many = lab.write(
      'haproxy.cfg',
      configuration(Array.from({ length: 200 }, (_, at) => `127.0.0.1:${9000 + at}`)),
    );
    const { status, answer } = berth(['prlimit', `--nofile=${limit}:${limit}`], 'reload', many);
    expect(answer.error).toMatchObject({ code: 'BERTH_NO_DESCRIPTORS' });
    expect(status).toBe(11);
    expect(await serving(lab)).toEqual(before);
  });

  describe('interrupted', () => {
    test('at the begin and at the end of every phase: undone until it is committed, finished from then on', async () => {
      await (await open()).reload([config()]);
      const all = [
        'read',
        'plan',
        'stage',
        'check',
        'reserve',
        'secure',
        'hand over',
        'verify',
        'commit',
        'retire',
        'release',
      ];
      let port = 40_000;
      for (const phase of all) {
        for (const state of ['begin', 'end'] as const) {
          const story = `${phase} ${state}`;
          const before = await serving(lab);
          const controller = new AbortController();
          const seen: string[] = [];
          const one = await open(
            {},
            {
              signal: controller.signal,
              observer: (event) => {
                if (event.type !== 'phase') return;
                seen.push(`${event.name} ${event.state}`);
                if (event.name === phase && event.state === state) controller.abort();
              },
            },
          );
          const outcome = await one.reload([config(`127.0.0.1:${++port}`)]).catch((error: unknown) => error);
          expect(seen, story).toContain(story);
          if (outcome instanceof Error) {
            expect(outcome, story).toMatchObject({ code: 'BERTH_INTERRUPTED', exitStatus: 130 });
            expect(all.indexOf(phase), story).toBeLessThanOrEqual(all.indexOf('commit'));
            await settled();
            expect(await serving(lab), story).toEqual(before);
          } else {
            expect(all.indexOf(phase), story).toBeGreaterThanOrEqual(all.indexOf('commit'));
            expect(outcome, story).toMatchObject({ outcome: 'served' });
          }
          const next = await (await open()).reload([config()]);
          expect(next, story).toMatchObject({ outcome: 'served', listeners: { served: 2 } });
          expect(next, story).not.toHaveProperty('recovery');
          await settled();
        }
      }
    });

    const settled = async () => {
      for (let tries = 0; lab.haproxies().length > 1 && tries < 500; tries++)
        await new Promise((go) => setTimeout(go, 10));
    };

    test.each(['SIGINT', 'SIGTERM'] as const)('by %s while HAProxy starts: exit status 130', async (signal) => {
      await (await open()).reload([config()]);
      const before = await serving(lab);
      const slow = lab.write(
        'haproxy',
        `#!/bin/sh\ncase " $* " in *" -D "*) exec sleep 1000;; esac\nexec ${path} "$@"\n`,
      );
      chmodSync(slow, 0o755);
      const words = ['--state-dir', lab.path('state'), '--netns', lab.netns, '--haproxy', slow];
      const child = spawn(command, [...words, 'reload', config('127.0.0.1:40000'), '--json'], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const out: Buffer[] = [];
      child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
      const ended = once(child, 'close');
      const started = () => /"generation":2[^]*handing-over/.test(readFileSync(lab.path('state', 'journal'), 'utf8'));
      while (!started()) await new Promise((go) => setTimeout(go, 5));
      child.kill(signal);
      expect((await ended)[0]).toBe(130);
      expect(JSON.parse(Buffer.concat(out).toString())).toMatchObject({ error: { code: 'BERTH_INTERRUPTED' } });
      expect(await serving(lab)).toEqual(before);
      expect(existsSync(lab.path('state', 'generations', '2'))).toBe(true);
    });
  });
});
