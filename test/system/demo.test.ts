/** The demo itself: that what it shows is true, that it takes wrong options for what they are, and that it leaves nothing. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildOf } from '../support/families.js';
import { recordFigure } from '../support/figures.js';
import { cannotRun, haproxyBinaries } from '../support/haproxy.js';

const MAIN = fileURLToPath(new URL('../../demo/main.mjs', import.meta.url));
const SMALL = ['--listeners', '30', '--rate', '60', '--held', '4', '--watch', '2'];
const skipped = cannotRun() !== undefined;

interface Result {
  readonly how: string;
  readonly reload: {
    readonly reportedServed: boolean;
    readonly steps: readonly { readonly step: string; readonly status: number }[];
  };
  readonly down: { readonly listenerSeconds: number; readonly worst: number; readonly atEnd: number };
  readonly connections: Readonly<Record<'attempted' | 'ok' | 'refused' | 'cut' | 'hung' | 'held' | 'heldLost', number>>;
  readonly fresh: { readonly port: number; readonly served: boolean };
  readonly seeded: { readonly source: number; readonly alive: boolean };
}

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'berth-demo-test-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const environment = () => ({ ...process.env, TMPDIR: scratch });

function replay(how: string, binary: string) {
  const args = [MAIN, '--json', '--only', how, ...SMALL, '--haproxy', binary];
  const done = spawnSync(process.execPath, args, { encoding: 'utf8', env: environment() });
  const { results } = JSON.parse(done.stdout) as { results: Result[] };
  return { status: done.status, progress: done.stderr, result: results[0]! };
}

describe.skipIf(skipped).each(haproxyBinaries())('demo with HAProxy $version', ({ path, version }) => {
  const results = new Map<string, Result>();
  afterAll(() => record(version, path, results));

  test("lbagent's own reload takes every listener down, and the count shows it", () => {
    const { status, result } = replay('lbagent', path);
    results.set('lbagent', result);
    expect(status).toBe(0);
    // The reload always fails, and every listener is down while it does. The start after the kill mostly fails too, in the
    // TIME_WAIT of the killed connection; where the kill met unread data there is none (RST), and it succeeds.
    const [reload, start] = result.reload.steps;
    expect(reload).toMatchObject({ step: 'reload', status: 1 });
    expect(result.down.worst).toBe(30);
    expect(result.down.listenerSeconds).toBeGreaterThan(30);
    const dead = start?.status !== 0;
    expect(result.reload.reportedServed).toBe(!dead);
    expect(result.down.atEnd).toBe(dead ? 30 : 0);
    expect(result.fresh).toMatchObject({ port: 58824, served: !dead });
    expect(result.connections.refused).toBeGreaterThan(0);
    expect(result.connections.heldLost).toBe(4);
    expect(result.seeded).toMatchObject({ source: 58824, alive: false });
  });

  test('berth reload serves the new listener, and nobody notices', () => {
    const { status, result, progress } = replay('berth', path);
    results.set('berth', result);
    expect(progress).toContain('169.254.0.101:58824');
    expect(result.reload.reportedServed).toBe(true);
    expect(result.down).toEqual({ listenerSeconds: 0, worst: 0, atEnd: 0 });
    expect(result.connections).toMatchObject({ refused: 0, cut: 0, hung: 0, held: 4, heldLost: 0 });
    expect(result.connections.ok).toBe(result.connections.attempted);
    expect(result.fresh.served).toBe(true);
    expect(result.seeded).toMatchObject({ source: 58824, alive: true });
    expect(status).toBe(0);
  });
});

function record(version: string, path: string, results: ReadonlyMap<string, Result>): void {
  const [theirs, ours] = [results.get('lbagent'), results.get('berth')];
  if (!theirs || !ours) return;
  const lost = ({ connections: { refused, cut, hung, heldLost } }: Result) => refused + cut + hung + heldLost;
  const rows: [string, (result: Result) => string][] = [
    ['the new listener', ({ fresh }) => (fresh.served ? 'served' : 'not served')],
    ['listeners down at once', ({ down }) => String(down.worst)],
    ['listeners down, in seconds of one', ({ down }) => down.listenerSeconds.toFixed(1)],
    ['connections refused, cut, hung', ({ connections: { refused, cut, hung } }) => `${refused}, ${cut}, ${hung}`],
    ['long connections lost', ({ connections: { held, heldLost } }) => `${heldLost} of ${held}`],
    ['the connection on the port', ({ seeded }) => (seeded.alive ? 'lives' : 'gone')],
  ];
  recordFigure({
    part: 'lbagent',
    name: `the incident, HAProxy ${version}`,
    promise: 'A new listener whose port a connection of HAProxy’s own has taken is served, and nobody notices.',
    figure: `${lost(ours)} of ${ours.connections.attempted} clients lost; without Berth ${lost(theirs)} of ${theirs.connections.attempted}`,
    kept: lost(ours) === 0 && ours.fresh.served && ours.seeded.alive && ours.down.worst === 0,
    haproxy: [buildOf(path).version],
    table: {
      title: 'The same reload, lbagent’s way',
      columns: ['', 'berth reload', 'lbagent’s reload'],
      rows: rows.map(([name, of]) => [name, of(ours), of(theirs)]),
    },
  });
}

describe.skipIf(skipped)('the demo leaves nothing', () => {
  test('interrupted, it ends its HAProxy, its namespaces and its files', async () => {
    const child = spawn(process.execPath, [MAIN, '--only', 'lbagent', ...SMALL], { env: environment() });
    child.stdout.setEncoding('utf8');
    let said = '';
    const haproxy = await new Promise<number>((resolve) => {
      child.stdout.on('data', (text: string) => {
        said += text;
        if (said.includes('a user creates')) resolve(Number(children(child.pid!).at(-1)));
      });
    });
    expect(haproxy).toBeGreaterThan(0);
    child.kill('SIGINT');
    const status = await new Promise((resolve) => child.once('exit', resolve));
    expect(status).toBe(130);
    expect(readdirSync(scratch)).toEqual([]);
    expect(() => process.kill(haproxy, 0)).toThrow('ESRCH');
  });

  test.each([
    [['--listeners', '5'], '--listeners must be 10..10000, not 5'],
    [['--only', 'nginx'], '--only takes lbagent or berth'],
    [['--speed', '1'], "Unknown option '--speed'"],
  ])('%j is refused', (args, message) => {
    const done = spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8', env: environment() });
    expect(done.status).toBe(2);
    expect(done.stderr).toContain(message);
    expect(readdirSync(scratch)).toEqual([]);
  });
});

/** Pids of all that descends from a process, as seen from here. */
function children(pid: number): string[] {
  const rows = execFileSync('ps', ['-e', '-o', 'pid=,ppid='], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((row) => row.trim().split(/\s+/));
  const below = (parent: string): string[] =>
    rows.filter(([, ppid]) => ppid === parent).flatMap(([one = '']) => [one, ...below(one)]);
  return below(String(pid));
}
