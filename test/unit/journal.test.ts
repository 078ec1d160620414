import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import fc from '../support/fast-check.js';
import { describe, expect, it } from 'vitest';
import { Journal, replay, type JournalEntry } from '../../src/reload/journal.js';
import { asRecord, endsTransaction, RECORD_KINDS } from '../../src/reload/journal-records.js';
import { temporaryDirectory } from '../support/state.js';

const BEGIN = {
  kind: 'begin',
  transaction: 't1',
  generation: 2,
  previous: 1,
  old: { pid: 7, startTicks: '123' },
} as const;
const STEPS: Exclude<JournalEntry, { kind: 'begin' }>[] = [
  { kind: 'staged' },
  { kind: 'checked' },
  { kind: 'reserving', ports: '58824,59000-59010' },
  { kind: 'reserved' },
  { kind: 'securing', endpoint: '169.254.0.101:58824/tcp', action: 'share', owner: { pid: 9, comm: 'ha\nproxy "é"' } },
  { kind: 'secured', endpoint: '169.254.0.101:58824/tcp' },
  { kind: 'handing-over', handoff: '/run/h.sock', pidFile: '/run/p' },
  { kind: 'started', pid: 8, startTicks: '124' },
  { kind: 'published' },
  { kind: 'verified' },
  { kind: 'committing', pidFile: '/run/haproxy.pid' },
  { kind: 'committed' },
  { kind: 'retiring', pid: 7, startTicks: '123' },
  { kind: 'released', ports: '60000' },
  { kind: 'finished' },
];

async function written(steps = STEPS): Promise<{ path: string; journal: Journal; bytes: Buffer }> {
  const path = join(temporaryDirectory(), 'journal');
  const journal = await Journal.open(path);
  await journal.begin(BEGIN);
  for (const step of steps) await journal.append(step);
  await journal.close();
  return { path, journal, bytes: readFileSync(path) };
}

const kinds = (records: readonly { kind: string }[]): string[] => records.map(({ kind }) => kind);

describe('journal', () => {
  it('reads back what was written, and has nothing unfinished after the end', async () => {
    const { path } = await written();
    const again = await Journal.open(path);
    expect(again.records).toMatchObject([BEGIN, ...STEPS]);
    expect(again.records.map(({ n }) => n)).toEqual([...Array(16).keys()].map((i) => i + 1));
    expect(again.unfinished).toEqual([]);
    expect(again.dropped).toBeUndefined();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('a journal that does not exist is empty, and reading makes none', async () => {
    const path = join(temporaryDirectory(), 'journal');
    expect((await Journal.open(path)).records).toEqual([]);
    expect(() => statSync(path)).toThrow(/ENOENT/);
  });

  it.each(['finished', 'aborted', 'recovered'])('"%s" ends a transaction', (kind) => {
    expect(RECORD_KINDS.filter(endsTransaction)).toContain(kind);
  });

  it('holds one transaction: the next begin replaces a finished one', async () => {
    const { path } = await written();
    const next = await Journal.open(path);
    await next.begin({ ...BEGIN, transaction: 't2', generation: 3, previous: 2 });
    await next.append({ kind: 'staged' });
    await next.close();
    const again = await Journal.open(path);
    expect(kinds(again.unfinished)).toEqual(['begin', 'staged']);
    expect(again.records[0]).toMatchObject({ transaction: 't2', n: 1 });
  });

  it('begins nothing over an unfinished transaction', async () => {
    const { path, bytes } = await written(STEPS.slice(0, 3));
    const again = await Journal.open(path);
    await expect(again.begin(BEGIN)).rejects.toMatchObject({ code: 'BERTH_JOURNAL' });
    expect(readFileSync(path)).toEqual(bytes);
    await again.append({ kind: 'recovered', outcome: 'back', detail: 'removed the reservation' });
    expect(again.unfinished).toEqual([]);
    await again.begin(BEGIN);
    await again.close();
  });

  it('appends many at once, in order', async () => {
    const { path } = await written([]);
    const journal = await Journal.open(path);
    await journal.append(...STEPS);
    await journal.close();
    expect(kinds((await Journal.open(path)).records)).toEqual(kinds([BEGIN, ...STEPS]));
  });

  it('cut off at any byte: the whole records before it are read, and what is appended next stands behind them', async () => {
    const { path, bytes } = await written();
    const ends = [...bytes.keys()].filter((i) => bytes[i] === 10).map((i) => i + 1);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const whole = ends.filter((end) => end <= cut).length;
      const read = replay(bytes.subarray(0, cut), path);
      expect(read.records.length).toBe(whole);
      expect(read.dropped?.bytes ?? 0).toBe(cut - (ends[whole - 1] ?? 0));
    }
    for (const cut of [ends[3]! + 1, ends[6]! - 1, ends[8]! + 30]) {
      writeFileSync(path, bytes.subarray(0, cut));
      const journal = await Journal.open(path);
      const before = kinds(journal.records);
      expect(journal.dropped).toBeDefined();
      await journal.append({ kind: 'aborting', reason: 'the run before died' }, { kind: 'aborted' });
      await journal.close();
      const again = await Journal.open(path);
      expect(again.dropped).toBeUndefined();
      expect(kinds(again.records)).toEqual([...before, 'aborting', 'aborted']);
    }
  });

  it('zeros behind the end, as a power failure leaves them, are dropped', async () => {
    const { path, bytes } = await written(STEPS.slice(0, 2));
    truncateSync(path, bytes.length + 4096);
    const journal = await Journal.open(path);
    expect(kinds(journal.unfinished)).toEqual(['begin', 'staged', 'checked']);
    expect(journal.dropped).toMatchObject({ offset: bytes.length, bytes: 4096 });
  });

  it('any bit flipped at any byte: no record is ever read other than it was written', async () => {
    const { path, bytes } = await written();
    const lastStart = bytes.lastIndexOf(10, bytes.length - 2) + 1;
    const lastButOneEnd = lastStart - 1;
    const whole = replay(bytes, path).records;
    for (let at = 0; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes);
      damaged[at] = bytes[at]! ^ (1 << (at % 8));
      try {
        const { records, dropped } = replay(damaged, path);
        // Only damage in the last record, or in the line feed before it, can be taken for a torn tail.
        expect(at).toBeGreaterThanOrEqual(lastButOneEnd);
        expect(dropped).toBeDefined();
        expect(records).toEqual(whole.slice(0, records.length));
      } catch (error) {
        expect(error).toMatchObject({ code: 'BERTH_JOURNAL', details: { path } });
        expect(at).toBeLessThan(lastStart);
      }
    }
  });

  it('a record left out, doubled or swapped in the middle is damage', async () => {
    const { path, bytes } = await written();
    const lines = bytes.toString().split(/(?<=\n)/);
    const without = lines.filter((_, i) => i !== 4);
    const doubled = [...lines.slice(0, 4), lines[3]!, ...lines.slice(4)];
    const swapped = [...lines.slice(0, 4), lines[5]!, lines[4]!, ...lines.slice(6)];
    for (const forged of [without, doubled, swapped]) {
      expect(() => replay(Buffer.from(forged.join('')), path)).toThrow(/is damaged at byte/);
    }
  });

  it('a record whose checksum fits but which says nothing that Berth writes is not taken', async () => {
    const { path, bytes } = await written(STEPS.slice(0, 2));
    for (const json of [
      '{"n":4,"time":"2026-01-01T00:00:00.000Z","kind":"format-the-disk"}',
      '{"n":4,"time":"2026-01-01T00:00:00.000Z","kind":"retiring","pid":-1,"startTicks":"1"}',
      '{"n":4,"time":"2026-01-01T00:00:00.000Z","kind":"retiring","pid":1,"startTicks":"1; rm"}',
      '{"n":4,"time":"yesterday","kind":"staged"}',
      '{"kind":"staged"}',
      'null',
      '[]',
      'not json',
    ]) {
      const sum = createHash('sha256').update(json).digest('hex').slice(0, 16);
      const read = replay(Buffer.concat([bytes, Buffer.from(`${sum} ${json}\n`)]), path);
      expect(kinds(read.records), json).toEqual(['begin', 'staged', 'checked']);
      expect(read.dropped).toBeDefined();
    }
  });

  it('any junk is dropped or refused, never thrown at', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (junk) => {
        expect(replay(Buffer.from(junk), '/j').records).toEqual([]);
      }),
    );
  });

  it('every kind of record can be written and read', () => {
    const stamp = { n: 1, time: new Date(0).toISOString() };
    const ends: JournalEntry[] = [
      { kind: 'aborting', reason: 'x' },
      { kind: 'aborted' },
      { kind: 'recovered', outcome: 'forward', detail: 'retired 7' },
    ];
    const all: JournalEntry[] = [BEGIN, ...STEPS, ...ends];
    expect(kinds(all).sort()).toEqual([...RECORD_KINDS].sort());
    for (const entry of all)
      expect(asRecord(JSON.parse(JSON.stringify({ ...entry, ...stamp })))).toEqual({ ...entry, ...stamp });
  });

  it('refuses a file that is far too large to be a journal', async () => {
    const path = join(temporaryDirectory(), 'journal');
    writeFileSync(path, '');
    truncateSync(path, 65 * 1024 * 1024);
    await expect(Journal.open(path)).rejects.toMatchObject({ code: 'BERTH_JOURNAL' });
  });

  it('a failpoint is called before and after each record', async () => {
    const path = join(temporaryDirectory(), 'journal');
    const calls: string[] = [];
    const journal = await Journal.open(path, {
      failpoint: (name) => {
        const kind = name.slice(name.indexOf(':') + 1);
        const there = kinds(replay(readFileSync(path, { flag: 'a+' }), path).records).includes(kind);
        calls.push(`${name} ${there ? 'written' : 'not written'}`);
      },
    });
    await journal.begin(BEGIN);
    await journal.append({ kind: 'staged' });
    await journal.close();
    expect(calls).toEqual([
      'before:begin not written',
      'after:begin written',
      'before:staged not written',
      'after:staged written',
    ]);
  });
});
