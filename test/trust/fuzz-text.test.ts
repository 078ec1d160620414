/**
 * Every reader of text, fed with damaged samples of what it reads: it gives a value of its shape or a BerthError with a code,
 * in bounded time and size, and never anything else. BERTH_TRUST_TEXTS sets the number of cases of each target.
 */
import { rmSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { BerthError, ERROR_TABLE } from '../../src/errors.js';
import { amount, recordFigure, SEED } from '../support/figures.js';
import { mutationsOf } from '../support/mutate.js';
import { watchdog } from '../support/watchdog.js';
import { directory } from './fuzz-files.js';
import { TARGETS, type Target } from './fuzz-targets.js';

const CASES = amount('texts', { short: 200, full: 3000 });
const LIMIT_MS = 10_000;

/** Bytes that mean something to somebody, and much of what costs most where it is searched twice. */
const TOKENS: readonly string[] = [
  ...['\0', '\r', '\n', '\n\n', '\t', ' ', '"', "'", '\\', '{', '}', '[', ']', ':', ',', '-', '#', '\xff', '\xc3\xa9'],
  ...['\xef\xbb\xbf', '\xe2\x80\xa8', '\xed\xa0\x80', '0', '-1', '1e999', '0x7', '4294967296', '9'.repeat(400), 'null'],
  ...['true', '{}', '[]', '""', '__proto__', '"__proto__":{"polluted":1},', 'constructor', 'toString', '../', '/', '%'],
  ...[' '.repeat(20_000), '['.repeat(20_000), '{"a":'.repeat(5000), '('.repeat(20_000), '1'.repeat(20_000)],
  ...['a=" '.repeat(5000), ': '.repeat(8000), '- '.repeat(8000), '\n'.repeat(20_000), '"'.repeat(20_000)],
];

/** In the place of any value of JSON. */
const HOSTILE: readonly unknown[] = [
  ...[null, true, -1, 0.5, 1e308, 2 ** 60, '', '\0', 'x'.repeat(5000), [], {}, [[]], ['__proto__'], { a: 1 }],
  JSON.parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'),
];

/** A value within a value, or one of its keys, is another one; undefined where the text is no JSON. */
function restated(sample: string): fc.Arbitrary<Buffer> | undefined {
  try {
    JSON.parse(sample);
  } catch {
    return undefined;
  }
  return fc.tuple(fc.nat(), fc.constantFrom(...HOSTILE), fc.boolean()).map(([at, value, gone]) => {
    let places = 0;
    const count = [...JSON.stringify(JSON.parse(sample)).matchAll(/[[{,:]/g)].length + 1;
    const changed = JSON.parse(sample, (_, inner: unknown) =>
      places++ === at % count ? (gone ? undefined : value) : inner,
    ) as unknown;
    return Buffer.from((JSON.stringify(changed) as string | undefined) ?? '');
  });
}

function inputs({ samples, tokens = [] }: Target): fc.Arbitrary<Buffer> {
  const known = fc.constantFrom(...samples.map((sample) => Buffer.from(sample, 'latin1')));
  const json = samples.flatMap((sample) => restated(sample) ?? []);
  return fc.oneof(
    { weight: 6, arbitrary: mutationsOf(known, [...TOKENS, ...tokens, ...tokens, ...tokens]) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
    ...json.map((arbitrary) => ({ weight: 4, arbitrary })),
  );
}

/** What came of it, for the error of a failed case. */
function expectFit(target: Target, bytes: Buffer, value: unknown): void {
  if (value === undefined) return;
  if (value instanceof BerthError) {
    expect(Object.keys(ERROR_TABLE)).toContain(value.code);
    expect(value.code).not.toBe('BERTH_INTERNAL');
    expect(JSON.stringify(value).length).toBeLessThan(20_000);
    return;
  }
  expect(target.shape.safeParse(value).error).toBeUndefined();
  expect((JSON.stringify(value) as string | undefined)?.length ?? 0).toBeLessThan(
    target.most ?? 40 * bytes.length + 20_000,
  );
}

describe('texts', () => {
  const guard = watchdog(LIMIT_MS);
  const rows: [name: string, cases: number, read: number, refused: number, failures: number][] = [];

  afterAll(async () => {
    await guard.close();
    rmSync(directory, { recursive: true, force: true });
    const sum = (at: 1 | 4) => rows.reduce((total, row) => total + row[at], 0);
    recordFigure({
      part: 'fuzz',
      name: 'texts',
      promise: 'Whatever a file, a process or a socket says, Berth reads it or refuses it by name, in bounded time.',
      figure: `${rows.length} readers, ${sum(1)} damaged texts, ${sum(4)} failures (seed ${SEED})`,
      kept: sum(4) === 0 && rows.length === TARGETS.length,
      haproxy: [],
      table: {
        title: 'Readers of text',
        columns: ['reader', 'cases', 'read', 'refused', 'failures'],
        rows: rows.map((row) => row.map(String)),
      },
    });
  });

  it.each(TARGETS.map((target) => [target.name, target] as const))(
    '%s',
    { timeout: 60_000 + CASES * 50 },
    async (name, target) => {
      const row: (typeof rows)[number] = [name, 0, 0, 0, 0];
      rows.push(row);
      for (const sample of target.samples) {
        const whole = await target.read(Buffer.from(sample, 'latin1'));
        expect(target.shape.safeParse(whole).error, sample).toBeUndefined();
      }
      const property = fc.asyncProperty(inputs(target), async (bytes) => {
        const what = () => `${name}: ${JSON.stringify(bytes.toString('latin1')).slice(0, 4000)}`;
        const value = await guard
          .guard(what, async () => await target.read(bytes))
          .catch((error: unknown) => {
            if (error instanceof BerthError) return error;
            throw new Error(`${what()}\n${(error as Error).stack ?? ''}`);
          });
        row[1]++;
        row[value instanceof BerthError || value === undefined ? 3 : 2]++;
        expectFit(target, bytes, value);
        expect(Object.keys(Object.prototype)).toEqual([]);
        expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
      });
      try {
        await fc.assert(property, { numRuns: CASES, seed: SEED });
      } catch (error) {
        row[4]++;
        throw error;
      }
    },
  );
});
