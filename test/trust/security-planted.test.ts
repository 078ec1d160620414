/** Links, FIFOs, devices and directories where Berth opens or makes files: nothing elsewhere is written, chmod-ed or read out. */
import { execFileSync } from 'node:child_process';
import {
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBerth, type Berth } from '../../src/berth.js';
import { recordAttempts } from '../support/attempts.js';
import { amount } from '../support/figures.js';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';
import { WORKER } from '../support/strangers.js';

const why = cannotRun();
const SECRET = 'root:$6$this-must-not-be-seen';

/** What stands at a path before Berth comes there. */
const THINGS: Readonly<Record<string, (path: string, lab: Lab) => void>> = {
  'a symlink to a file': (path, lab) => symlinkSync(lab.path('victim/file'), path),
  'a hard link': (path, lab) => linkSync(lab.path('victim/file'), path),
  'a symlink to a directory': (path, lab) => symlinkSync(lab.path('victim/directory'), path),
  'a FIFO': (path) => void execFileSync('mkfifo', [path]),
  'a device': (path) => void execFileSync('mknod', [path, 'c', '1', '5']),
  'a directory': (path) => mkdirSync(path),
  'a symlink to nothing': (path, lab) => symlinkSync(lab.path('victim/new'), path),
  'a file of another user': (path) => {
    writeFileSync(path, '{}\n');
    chownSync(path, WORKER.uid, WORKER.gid);
  },
};

/** Names in the state directory; `N` is the number of the next generation. */
const STATE = [
  ...['lock', 'journal', 'ledger.json', 'attempt.json', 'serving.json', 'stopped.json', 'applied.json', 'halted'],
  ...['current', 'generations', 'generations/last', 'run', 'journal.new', 'ledger.json.new', 'current.new'],
  ...['attempt.json.new', 'serving.json.new', 'stopped.json.new', 'generations/.N.staging', 'generations/.N.removing'],
  ...['generations/N', 'run/N.stats', 'run/N.handoff', 'run/N.pid'],
];
const inodeOf = (path: string) => lstatSync(path, { throwIfNoEntry: false })?.ino;

/** In a directory of HAProxy's own user, as Debian's /run/haproxy. */
const PID_FILE = ['haproxy.pid', 'haproxy.pid.berth'];
const SOURCE = ['b.cfg', 'certs', '.berth-bundle.cfg'];

const cases = [
  ...STATE.map((name) => ['state', name] as const),
  ...PID_FILE.map((name) => ['pids', name] as const),
  ...SOURCE.map((name) => ['conf.d', name] as const),
].flatMap(([where, name]) => Object.keys(THINGS).map((thing) => [where, name, thing] as const));

describe.skipIf(why !== undefined)('planted', () => {
  const [binary = { version: '', path: '' }] = why === undefined ? haproxyBinaries() : [];
  let lab: Lab;
  let berth: Berth;

  beforeAll(async () => {
    lab = await Lab.open();
    for (const name of ['victim', 'victim/directory', 'pids', 'conf.d']) mkdirSync(lab.path(name));
    for (const name of ['victim/file', 'victim/directory/inside'])
      writeFileSync(lab.path(name), SECRET, { mode: 0o600 });
    chownSync(lab.path('pids'), WORKER.uid, WORKER.gid);
    writeFileSync(lab.path('conf.d', 'a.cfg'), configuration(['127.0.0.1:8001']));
    berth = await openBerth({
      settings: {
        ...{ stateDir: lab.path('state'), netns: lab.netns, dataPreserveN: 3 },
        haproxy: { binary: binary.path, pidFile: lab.path('pids', 'haproxy.pid') },
      },
      environment: {},
    });
    await berth.reload([lab.path('conf.d')]);
  });
  afterAll(async () => {
    await berth.close();
    await lab.close();
  });

  /** All of the victims: names, owners, modes, contents, times of the last change. */
  const victims = () =>
    readdirSync(lab.path('victim'), { recursive: true, encoding: 'utf8' })
      .sort()
      .map((name) => {
        const { uid, gid, mode, mtimeMs } = lstatSync(lab.path('victim', name));
        const text = lstatSync(lab.path('victim', name)).isFile() ? readFileSync(lab.path('victim', name), 'utf8') : '';
        return { name, uid, gid, mode, text, ...(text === '' ? {} : { mtimeMs }) };
      });

  /** What a case did wrong; empty where nothing. */
  async function attempt([where, template, thing]: (typeof cases)[number]): Promise<string[]> {
    const next = Number(readFileSync(lab.path('state/generations/last'), 'utf8')) + 1;
    const path = lab.path(where, template.replace('N', String(next)));
    const away = `${dirname(path)}/.away`;
    if (existsSync(path)) renameSync(path, away);
    const before = victims();
    THINGS[thing]?.(path, lab);
    const planted = inodeOf(path);
    const served = [...lab.listeners()];
    const said = await berth.reload([lab.path('conf.d')]).then(JSON.stringify, (error: unknown) => {
      const known = error as { code?: string };
      return JSON.stringify([String(error), error, known.code?.startsWith('BERTH_') === true ? '' : 'UNKNOWN']);
    });
    const wrong = [
      ...(JSON.stringify(victims()) === JSON.stringify(before) ? [] : ['what it leads to was changed']),
      // Of a source HAProxy itself reads what a link leads to, and says what it dislikes there.
      ...(where !== 'conf.d' && said.includes(SECRET) ? ['it was read out'] : []),
      ...(said.includes('UNKNOWN') || said.includes('BERTH_INTERNAL') ? [`no error of ours: ${said}`] : []),
      ...(JSON.stringify([...lab.listeners()]) === JSON.stringify(served) ? [] : ['listeners changed']),
    ].map((what) => `${thing} at ${where}/${template}: ${what}`);
    if (inodeOf(path) === planted) rmSync(path, { recursive: true });
    if (existsSync(away) && inodeOf(path) === undefined) renameSync(away, path);
    rmSync(away, { recursive: true, force: true });
    writeFileSync(lab.path('victim/file'), SECRET);
    const opens = await berth.status().then(
      () => [],
      (error: unknown) => [`${thing} at ${where}/${template}: afterwards ${String(error)}`],
    );
    return [...wrong, ...opens];
  }

  test('nothing is written to, chmod-ed or read out through it, and HAProxy goes on', async () => {
    // Spread over the table: neighbours have other things at other places.
    const count = Math.min(cases.length, amount('planted', { short: 12, full: 120 }));
    const chosen = Array.from({ length: count }, (_, at) => cases[(at * 73) % cases.length] ?? cases[0]);
    const succeeded: string[] = [];
    for (const one of chosen) if (one) succeeded.push(...(await attempt(one)));
    const after = await berth.reload([lab.path('conf.d')]);
    recordAttempts({
      name: 'planted',
      promise:
        'A link, FIFO, device or directory at a path of Berth’s has nothing else overwritten, chmod-ed or read out.',
      what: `with links, FIFOs, devices and directories at ${STATE.length + PID_FILE.length + SOURCE.length} paths`,
      tried: chosen.length,
      succeeded,
      haproxy: binary,
    });
    expect(succeeded).toEqual([]);
    expect(after).toMatchObject({ outcome: 'served', listeners: { sameSocket: after.listeners.served } });
  });
});
