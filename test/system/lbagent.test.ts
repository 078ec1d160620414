/**
 * lbagent's own reload, from one random generation to the next, with berth-haproxy as its haproxy; and the same with
 * haproxy itself, for the figures beside it. BERTH_LBAGENT_GENERATIONS says how many (scripts/lbagent-proof: 500).
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { buildOf } from '../support/families.js';
import { recordFigure } from '../support/figures.js';
import { cannotRun, haproxyBinaries, repository } from '../support/haproxy.js';
import { drive, type DriveReport } from '../support/lbagent/drive.js';

const why = cannotRun();
const generations = Number(process.env['BERTH_LBAGENT_GENERATIONS'] ?? 40);
const plain = Number(process.env['BERTH_LBAGENT_PLAIN'] ?? Math.min(generations, 10));
const seed = Number(process.env['BERTH_LBAGENT_SEED'] ?? 1);
const [haproxy] = why === undefined ? haproxyBinaries().slice(-1) : [];
const berth = join(repository, 'bin/berth');

beforeAll(() => {
  expect(spawnSync(berth, ['--version'], { encoding: 'utf8' })).toMatchObject({ status: 0 });
});

describe.skipIf(why !== undefined)(`lbagent with HAProxy ${haproxy?.version}`, () => {
  test(
    `${generations} random generations with conflicts: no client notices, nothing is killed, every listener is served`,
    { timeout: 60_000 + generations * 10_000 },
    async () => {
      const binary = haproxy?.path ?? '';
      const ours = await drive({
        haproxyBin: join(repository, 'bin/berth-haproxy'),
        generations,
        seed,
        environment: (lab) => ({
          BERTH_HAPROXY_BINARY: binary,
          BERTH_STATE_DIR: lab.path('state'),
          BERTH_AGENT_SOCKET: lab.path('no-agent.sock'),
          // How long a call waits for a port of somebody else's; those are there on purpose, and many.
          BERTH_CONFLICTS_WAIT_DEADLINE_MS: '200',
        }),
      });
      console.log(table(ours));
      const theirs = await drive({ haproxyBin: binary, generations: plain, seed });
      console.log(table(ours, theirs));
      record(ours, theirs);
      expect(ours.injected.connections + ours.injected.foreign).toBeGreaterThan(0);
      expect(ours).toMatchObject({
        failed: 0,
        killed: 0,
        missing: [],
        missingAtEnd: [],
        clients: { refused: 0, reset: 0, eof: 0, hung: 0 },
      });
      expect(ours.clients.ok).toBeGreaterThan(0);
      expect(theirs.calls).toBeGreaterThan(plain);
    },
  );
});

const ROWS: readonly (readonly [string, (report: DriveReport) => string | number])[] = [
  ['generations', ({ generations: count }) => count],
  ['conflicts: a connection on the port', ({ injected }) => injected.connections],
  ['conflicts: a listener of somebody else', ({ injected }) => injected.foreign],
  ['calls that failed', ({ failed, calls }) => `${failed} of ${calls}`],
  ['serving HAProxies killed', ({ killed }) => killed],
  ['clients answered', ({ clients }) => clients.ok],
  ['clients refused', ({ clients }) => clients.refused],
  ['clients reset, cut, hung', ({ clients }) => `${clients.reset}, ${clients.eof}, ${clients.hung}`],
  ['time in which clients failed', ({ badMs }) => `${(badMs / 1000).toFixed(1)} s`],
  ['listeners missing after their reload', ({ missing }) => missing.length],
  ['listeners missing at the end', ({ missingAtEnd }) => missingAtEnd.length],
  ['a call (median, longest)', ({ callMs }) => `${Math.round(callMs.median)} ms, ${Math.round(callMs.max)} ms`],
  ['the whole run', ({ seconds }) => `${Math.round(seconds)} s`],
];

function table(ours: DriveReport, theirs?: DriveReport): string {
  const line = (name: string, one: string | number, other?: string | number) =>
    `${name.padEnd(40)} ${String(one).padStart(18)} ${String(other ?? '').padStart(18)}`.trimEnd();
  return [
    line('', 'berth-haproxy', theirs && 'haproxy'),
    ...ROWS.map(([name, of]) => line(name, of(ours), theirs && of(theirs))),
  ].join('\n');
}

function record(ours: DriveReport, theirs: DriveReport): void {
  const { failed, calls, killed, clients, missing, missingAtEnd } = ours;
  const lost = clients.refused + clients.reset + clients.eof + clients.hung;
  recordFigure({
    part: 'lbagent',
    name: 'berth-haproxy in lbagent’s hands',
    promise:
      'With berth-haproxy as its haproxy, lbagent’s own reload neither fails nor kills, and no client notices a new corpus, ' +
      'busy ports or not.',
    figure:
      `${ours.generations} generations, ${ours.injected.connections + ours.injected.foreign} busy ports: ` +
      `${failed} of ${calls} calls failed, ${killed} HAProxies killed, ${lost} of ${clients.attempts} clients lost, ` +
      `${missing.length} listeners missing`,
    kept: failed + killed + lost + missing.length + missingAtEnd.length === 0,
    haproxy: [buildOf(haproxy?.path ?? '').version],
    table: {
      title: 'The same with haproxy itself',
      columns: ['', 'berth-haproxy', 'haproxy'],
      rows: ROWS.map(([name, of]) => [name, String(of(ours)), String(of(theirs))]),
    },
  });
}
