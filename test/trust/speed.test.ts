/** The bench itself: every part of it runs, in its smallest form, and docs/speed.md shows what docs/bench/results.json holds. */
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, test } from 'vitest';
import { haproxyBinaries, repository } from '../support/haproxy.js';
import { describeInNamespaces } from '../support/netns.js';

interface Results {
  readonly parts: Record<
    string,
    {
      readonly failure?: string;
      readonly rows: readonly unknown[];
      readonly points: readonly unknown[];
      readonly answers: readonly { readonly contestant: string; readonly said: string; readonly truth: string }[];
    }
  >;
}

const run = promisify(execFile);
const directory = mkdtempSync(join(tmpdir(), 'berth-speed-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** As `npm run bench` does: it builds what is older than its sources. */
const bench = (...words: string[]) =>
  run('npm', ['run', '--silent', 'bench', '--', ...words], { cwd: repository, maxBuffer: 1 << 26 });

test('docs/speed.md and its plots are what their results say', { timeout: 300_000 }, async () => {
  cpSync(join(repository, 'docs/bench'), join(directory, 'docs/bench'), { recursive: true });
  cpSync(join(repository, 'docs/speed.md'), join(directory, 'docs/speed.md'));
  await bench('--render', join(directory, 'docs/bench'));
  for (const file of ['speed.md', ...readdirSync(join(directory, 'docs/bench')).map((name) => `bench/${name}`)]) {
    const [made, kept] = [directory, repository].map((where) => readFileSync(join(where, 'docs', file), 'utf8'));
    expect(made, `npm run bench -- --render docs/bench writes ${file} anew`).toBe(kept);
  }
});

describeInNamespaces('the bench', () => {
  test('runs all of its parts, and Berth says of every port what HAProxy finds', { timeout: 300_000 }, async () => {
    const file = join(directory, 'results.json');
    const haproxy = haproxyBinaries()[0]?.path ?? 'haproxy';
    await bench('--short', '--json', file, '--haproxy', haproxy).catch(() => undefined);
    const { parts } = JSON.parse(readFileSync(file, 'utf8')) as Results;
    const failures = Object.entries(parts).flatMap(([name, { failure }]) =>
      failure === undefined ? [] : [`${name}: ${failure}`],
    );
    expect(failures).toEqual([]);
    for (const [name, { rows, points }] of Object.entries(parts))
      expect(rows.length + points.length, name).toBeGreaterThan(0);
    const answers = parts['peers']?.answers.filter(({ contestant }) => contestant === 'berth') ?? [];
    expect(answers.length).toBeGreaterThan(10);
    expect(answers.filter(({ said, truth }) => said !== truth)).toEqual([]);
  });
});
