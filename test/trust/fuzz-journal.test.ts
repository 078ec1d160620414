/**
 * A journal with any damage: what comes back is what was recorded up to the damage, in order, or a refusal by name. No record
 * before the damage is lost, none behind it is passed over in silence, none is made up. BERTH_TRUST_JOURNALS sets the number.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { BerthError } from '../../src/errors.js';
import { Journal, replay, type JournalRecord } from '../../src/reload/journal.js';
import { amount, recordFigure, SEED } from '../support/figures.js';
import { mutationsOf } from '../support/mutate.js';
import { watchdog } from '../support/watchdog.js';

const CASES = amount('journals', { short: 2000, full: 50_000 });

const directory = mkdtempSync(join(tmpdir(), 'berth-fuzz-journal-'));
const old = { pid: 3243981, startTicks: '4711' };

/** A whole reload, and one that was taken back: every kind of record. */
async function written(name: string, back: boolean): Promise<Buffer> {
  const path = join(directory, name);
  const journal = await Journal.open(path);
  await journal.begin({ kind: 'begin', transaction: 't1', generation: 8, previous: 7, old, mode: 'standalone' });
  await journal.append({ kind: 'staged' }, { kind: 'checked' }, { kind: 'reserving', ports: '80,8000-8010' });
  await journal.append({ kind: 'reserved' });
  const securing = {
    kind: 'securing',
    endpoint: '10.9.0.1:80/tcp',
    action: 'share',
    owner: { pid: 9, comm: 'h\u00e4' },
  };
  await journal.append(securing as Parameters<Journal['append']>[0], { kind: 'secured', endpoint: '10.9.0.1:80/tcp' });
  await journal.append(
    { kind: 'handing-over', handoff: '-x', pidFile: '/run/p' },
    { kind: 'started', ...old, pid: 99 },
  );
  if (back) {
    await journal.append({ kind: 'aborting', reason: 'a port\nis "held"' }, { kind: 'aborted' });
  } else {
    await journal.append({ kind: 'published' }, { kind: 'verified' }, { kind: 'committing', pidFile: '/run/p' });
    await journal.append({ kind: 'committed' }, { kind: 'retiring', ...old }, { kind: 'released', ports: '81' });
    await journal.append({ kind: 'finished' });
  }
  await journal.close();
  return readFileSync(path);
}

const samples = [await written('whole', false), await written('back', true)];
const TOKENS = [
  '\n',
  '\0',
  ' ',
  '{}',
  '"n":1',
  samples[0]?.toString('latin1').split('\n')[2] ?? '',
  '\n\n',
  'x'.repeat(5000),
];

/** Records whose bytes, line feed included, stand before the first byte that differs. */
function intact(sample: Buffer, bytes: Buffer): number {
  let same = 0;
  while (same < sample.length && sample[same] === bytes[same]) same++;
  return sample.subarray(0, same).toString('latin1').split('\n').length - 1;
}

const pick = (from: readonly string[], at: number): string => from[at % from.length] ?? '';

/** Damage that a checksum cannot see: whole records taken out, doubled, in another order, or of another reload. */
const reordered = fc
  .tuple(fc.array(fc.tuple(fc.nat({ max: 1 }), fc.nat({ max: 20 })), { maxLength: 20 }), fc.nat({ max: 20 }))
  .map(([picks, keep]) => {
    const lines = samples.map((sample) => sample.toString('latin1').split('\n').slice(0, -1));
    const kept = (lines[0] ?? []).slice(0, keep);
    const more = picks.map(([which, at]) => pick(lines[which] ?? [], at));
    return Buffer.from([...kept, ...more].map((line) => `${line}\n`).join(''), 'latin1');
  });

describe('the journal', () => {
  const guard = watchdog(10_000);
  const count = { cases: 0, recovered: 0, refused: 0 };
  let failures = 0;

  afterAll(async () => {
    await guard.close();
    rmSync(directory, { recursive: true, force: true });
    recordFigure({
      part: 'fuzz',
      name: 'journal',
      promise: 'A damaged journal gives back everything that was recorded before the damage, or is refused by name.',
      figure: `${count.cases} damaged journals, ${count.recovered} read up to the damage, ${count.refused} refused; ${failures} failures (seed ${SEED})`,
      kept: failures === 0 && count.cases > 0,
      haproxy: [],
    });
  });

  const read = (bytes: Buffer) =>
    guard.guard(
      () => bytes.toString('latin1').slice(0, 4000),
      () => {
        count.cases++;
        try {
          const found = replay(bytes, 'journal');
          count.recovered++;
          return found;
        } catch (error) {
          if (!(error instanceof BerthError)) throw error;
          expect(error.code).toBe('BERTH_JOURNAL');
          count.refused++;
          return undefined;
        }
      },
    );
  const assert = (property: fc.IProperty<[Buffer]>, numRuns: number) => {
    try {
      fc.assert(property, { numRuns, seed: SEED });
    } catch (error) {
      failures++;
      throw error;
    }
  };

  it.each(samples.map((sample, i) => [i, sample] as const))('cut anywhere (%i)', (_i, sample) => {
    const whole = replay(sample, 'journal').records;
    for (let length = 0; length <= sample.length; length++) {
      const found = read(sample.subarray(0, length));
      expect(found?.records).toEqual(whole.slice(0, intact(sample, sample.subarray(0, length))));
    }
  });

  it.each(samples.map((sample, i) => [i, sample] as const))('damaged in its bytes (%i)', (_i, sample) => {
    const whole = replay(sample, 'journal').records;
    assert(
      fc.property(mutationsOf(fc.constant(sample), TOKENS), (bytes) => {
        const found = read(bytes);
        if (found === undefined) return;
        expect(found.records.length).toBeGreaterThanOrEqual(intact(sample, bytes));
        expect(found.records).toEqual(whole.slice(0, found.records.length));
        expect(found.length).toBe(bytes.length - (found.dropped?.bytes ?? 0));
        // Nothing that is whole stands behind what was dropped.
        for (const line of bytes.subarray(found.length).toString('latin1').split('\n').slice(0, -1).filter(Boolean)) {
          expect(sample.toString('latin1').split('\n')).not.toContain(line);
        }
      }),
      CASES / 2,
    );
  });

  it('of whole records in any order', () => {
    assert(
      fc.property(reordered, (bytes) => {
        const found = read(bytes);
        if (found === undefined) return;
        const numbers = found.records.map(({ n }: JournalRecord) => n);
        expect(numbers).toEqual(numbers.map((_, at) => at + 1));
        expect(found.dropped).toBeUndefined();
      }),
      Math.ceil(CASES / 4),
    );
  });
});
