/**
 * `berth reload` as it is run from a shell, with one call of the C library failing for real, by a library that is loaded
 * before it: what Node and the addon make of an error of the kernel's, and what Berth makes of that.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { amount } from '../support/figures.js';
import { cannotRun } from '../support/haproxy.js';
import type { Call } from '../support/faults/calls.js';
import { type Fault, runMatrix } from '../support/faults/matrix.js';
import type { Change, Mode, Scene } from '../support/faults/scene.js';
import { transpile } from '../support/transpile.js';

const why = cannotRun();
const NAMES = ['ENOSPC', 'EROFS', 'EMFILE', 'ENOMEM', 'EPERM'] as const;

/** By their man pages; whatever is not named here takes no room and no descriptor. */
const ERRORS: Readonly<Record<string, readonly string[]>> = {
  open: NAMES,
  mkdir: ['ENOSPC', 'EROFS', 'ENOMEM', 'EPERM'],
  rename: ['ENOSPC', 'EROFS', 'ENOMEM', 'EPERM'],
  symlink: ['ENOSPC', 'EROFS', 'ENOMEM', 'EPERM'],
  unlink: ['EROFS', 'ENOMEM', 'EPERM'],
  write: ['ENOSPC', 'EPERM'],
  pwrite64: ['ENOSPC', 'EPERM'],
  fsync: ['ENOSPC', 'EROFS'],
  fdatasync: ['ENOSPC', 'EROFS'],
  ftruncate64: ['EPERM', 'EROFS'],
  // What may not be bound is left out, by design.
  bind: ['ENOMEM'],
  setsockopt: ['ENOMEM'],
};
const OF_OTHERS = ['EMFILE', 'ENOMEM', 'EPERM'];

describe.skipIf(why !== undefined)('system calls', () => {
  let directory: string;
  let sources: ReturnType<typeof transpile>;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'berth-shim-'));
    execFileSync('cc', [
      '-shared',
      '-fPIC',
      '-O1',
      '-o',
      join(directory, 'shim.so'),
      'test/support/faults/shim.c',
      '-ldl',
    ]);
    sources = transpile('cli/main', 'cli/commands/reload');
  });
  afterAll(() => {
    sources.remove();
    rmSync(directory, { recursive: true, force: true });
  });

  /** Status and standard error. A call that Node itself cannot do without may end it: then it was killed, so to speak. */
  const berthReload = (
    scene: Scene,
    { request }: Change,
    environment: NodeJS.ProcessEnv,
  ): Promise<[number | null, string]> => {
    const { stateDir, netns, haproxy, timeouts } = scene.settings;
    const words = [
      '--no-agent',
      '--state-dir',
      stateDir,
      '--netns',
      netns,
      '--haproxy',
      haproxy.binary,
      '--mode',
      scene.mode,
    ];
    const limits = Object.entries(timeouts).flatMap(([name, ms]) => ['--set', `timeouts.${name}=${ms}`]);
    const child = spawn(
      process.execPath,
      [
        sources.path('cli/main'),
        'reload',
        ...words,
        ...limits,
        '--share',
        'all',
        '-C',
        scene.lab.directory,
        ...request.sources,
      ],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
        env: {
          PATH: process.env['PATH'],
          BERTH_ADDON: resolve('build/Release/berth.node'),
          LD_PRELOAD: join(directory, 'shim.so'),
          BERTH_SHIM_ROOT: scene.settings.stateDir,
          ...environment,
        },
      },
    );
    let said = '';
    child.stderr.on('data', (text) => (said += String(text)));
    return new Promise((done) => child.on('close', (status) => done([status, said])));
  };

  const steps = async (scene: Scene, kind: Change['kind']): Promise<Call[]> => {
    const log = join(directory, 'log');
    rmSync(log, { force: true });
    const change = await scene.prepare(kind);
    const [status, said] = await berthReload(scene, change, { BERTH_SHIM_LOG: log });
    if (status !== 0) throw new Error(said);
    await scene.finish(change, change.next);
    const counts = new Map<string, number>();
    return readFileSync(log, 'utf8')
      .trim()
      .split('\n')
      .map((name) => {
        const nth = (counts.get(name) ?? 0) + 1;
        counts.set(name, nth);
        return { phase: name, name, nth };
      });
  };

  const failing = (errno: (typeof NAMES)[number], lasting: boolean): Fault => ({
    name: errno + (lasting ? ' from then on' : ''),
    strikes: ({ name }) => (ERRORS[name] ?? OF_OTHERS).includes(errno),
    begin: (scene, change) => ({
      strike: () => undefined,
      run: async ({ name, nth }) => {
        const fail = `${name}:${nth}:${constants.errno[errno]}${lasting ? ':on' : ''}`;
        const [status, said] = await berthReload(scene, change, { BERTH_SHIM_FAIL: fail });
        return status === 0 ? {} : { error: new Error(said) };
      },
      missed: () => false,
    }),
  });

  test.each<Mode>(['standalone', 'master-worker'])('%s', { timeout: 720_000 }, async (mode) => {
    await runMatrix({
      part: 'faults',
      name: 'system calls that fail for real',
      promise: 'The same holds for the command itself, with the errors coming from the C library.',
      mode,
      kinds: ['reload'],
      steps,
      repeats: Infinity,
      faults: [...NAMES.map((name) => failing(name, false)), failing('ENOSPC', true), failing('EMFILE', true)],
      cases: amount('calls', { short: 4, full: 60 }),
    });
  });
});
