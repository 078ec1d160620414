/**
 * kill -9 at every record, and at any moment between: what the next run finds is whole, and it goes on from there.
 * (A process killed leaves what it wrote in the page cache; what a power failure leaves is in test/unit/journal.test.ts.)
 */
import { fork } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listGenerations, openGeneration, servingNumber } from '../../src/reload/generations.js';
import { Journal } from '../../src/reload/journal.js';
import { sweep } from '../../src/reload/prune.js';
import { publish } from '../../src/reload/publish.js';
import { openStateDir, type StateDir } from '../../src/reload/state-dir.js';
import { noLock, put, quickStage, temporaryDirectory } from '../support/state.js';
import { transpile } from '../support/transpile.js';

const ORDER = [
  'begin',
  'staged',
  'checked',
  'handing-over',
  'started',
  'published',
  'verified',
  'committing',
  'committed',
  'finished',
];

let sources: ReturnType<typeof transpile>;
/** Where generation 1 serves. */
let seed: string;
beforeAll(async () => {
  sources = transpile('reload/state-dir', 'reload/journal', 'reload/stage', 'reload/publish', 'reload/prune');
  seed = mkdtempSync(join(tmpdir(), 'berth-seed-'));
  put(join(seed, 'h.cfg'), 'listen a\n');
  expect(await run(seed, 'none', 1)).toMatchObject({ status: 0, finished: 1 });
});
afterAll(() => {
  sources.remove();
  rmSync(seed, { recursive: true });
});

interface Run {
  /** What ended it. */
  readonly signal: NodeJS.Signals | null;
  readonly status: number | null;
  /** The last generation whose transaction was told to be finished. */
  readonly finished: number;
}

/** @param onFinished called after each transaction; may kill */
function run(
  home: string,
  failpoint: string,
  rounds: number,
  onFinished?: (n: number, kill: () => void) => void,
): Promise<Run> {
  const directory = dirname(dirname(sources.path('reload/journal')));
  const args = [directory, join(home, 'state'), join(home, 'h.cfg'), failpoint, String(rounds)];
  const child = fork('test/crash/transaction-worker.mjs', args, { execArgv: [] });
  let finished = 0;
  child.on('message', (number: number) => {
    finished = number;
    onFinished?.(number, () => child.kill('SIGKILL'));
  });
  return new Promise((resolve) => child.on('exit', (status, signal) => resolve({ status, signal, finished })));
}

const reopen = (home: string): Promise<StateDir> =>
  openStateDir(join(home, 'state'), { create: false, lockFile: noLock });

/** Whatever happened: what serves can be opened, every generation is whole, the journal can be read. */
async function expectWhole(state: StateDir): Promise<Journal> {
  const journal = await Journal.open(state.journal);
  await sweep(state);
  const numbers = (await listGenerations(state)).map(({ number }) => number);
  expect(
    readdirSync(state.generations)
      .filter((name) => name !== 'last')
      .map(Number)
      .sort((a, b) => b - a),
  ).toEqual(numbers);
  for (const number of numbers) {
    const generation = await openGeneration(state, number);
    expect(readdirSync(dirname(generation.staged(generation.manifest.files[0]!)))).toEqual(['h.cfg']);
  }
  const serving = await servingNumber(state);
  if (serving !== undefined) expect(numbers).toContain(serving);
  return journal;
}

describe('kill -9', () => {
  it.each(ORDER.flatMap((kind) => [`before:${kind}`, `after:${kind}`]))('%s', async (failpoint) => {
    const home = temporaryDirectory();
    cpSync(seed, home, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
    expect((await run(home, failpoint, 1)).signal).toBe('SIGKILL');

    const [when, kind] = failpoint.split(':') as [string, string];
    const state = await reopen(home);
    const journal = await expectWhole(state);
    const reached = ORDER.indexOf(kind) + (when === 'after' ? 1 : 0);
    // The two records of one append become durable together.
    const durable = failpoint === 'before:started' ? 3 : failpoint === 'after:handing-over' ? 5 : reached;
    const expected = durable === ORDER.length ? [] : ORDER.slice(0, durable);
    expect(journal.unfinished.map((record) => record.kind)).toEqual(expected);
    if (expected.length > 0) expect(journal.unfinished[0]).toMatchObject({ generation: 2, previous: 1 });
    // Published or not is decided before the record says so, and never undecided.
    expect(await servingNumber(state)).toBe(
      ORDER.indexOf('published') < reached || failpoint === 'before:published' ? 2 : 1,
    );

    // The next run brings it to an end and goes on.
    if (expected.length > 0) await journal.append({ kind: 'recovered', outcome: 'back', detail: 'test' });
    const next = await quickStage(state, join(home, 'h.cfg'));
    expect(next.number).toBe(3);
    await journal.begin({ kind: 'begin', transaction: 't3', generation: 3 });
    await publish(state, next);
    await journal.append({ kind: 'finished' });
    await journal.close();
    expect((await expectWhole(state)).unfinished).toEqual([]);
    expect(await servingNumber(state)).toBe(3);
  });

  it('at any moment, many times over one state directory', async () => {
    const home = temporaryDirectory();
    put(join(home, 'h.cfg'), 'listen a\n');
    let highest = 0;
    for (let round = 0; round < 8; round++) {
      const { signal } = await run(home, 'none', 100, (number, kill) => {
        highest = number;
        // Somewhere in the next transaction.
        setTimeout(kill, Math.random() * 12);
      });
      expect(signal).toBe('SIGKILL');
      const state = await reopen(home);
      await expectWhole(state);
      const serving = (await servingNumber(state))!;
      expect(serving).toBeGreaterThanOrEqual(highest);
      expect(Math.max(...(await listGenerations(state)).map(({ number }) => number))).toBeGreaterThanOrEqual(serving);
      highest = serving;
    }
  });
});
