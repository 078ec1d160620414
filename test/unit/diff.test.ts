import { join } from 'node:path';
import fc from '../support/fast-check.js';
import { describe, expect, it } from 'vitest';
import { diffGenerations } from '../../src/reload/diff.js';
import { recordListeners } from '../../src/reload/generations.js';
import { stage } from '../../src/reload/stage.js';
import { unifiedDiff } from '../../src/reload/text-diff.js';
import { openTestState, put } from '../support/state.js';

/** What patch(1) does, strictly: every line of every hunk must be where the hunk says. */
function applyPatch(before: string, patch: string): string {
  const old = before === '' ? [] : before.split(/(?<=\n)/);
  const result: string[] = [];
  let at = 0;
  let previous = '';
  for (const line of patch.split(/(?<=\n)/).slice(2)) {
    const hunk = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@\n$/.exec(line);
    if (hunk) {
      const start = Number(hunk[1]) - (hunk[2] === '0' ? 0 : 1);
      while (at < start) result.push(old[at++]!);
      expect(result.length).toBe(Number(hunk[3]) - (hunk[4] === '0' ? 0 : 1));
    } else if (line.startsWith('\\')) {
      if (previous !== '-') result[result.length - 1] = result.at(-1)!.replace(/\n$/, '');
    } else {
      previous = line[0]!;
      if (previous !== '+') {
        expect(old[at]?.replace(/\n$/, '')).toBe(line.slice(1).replace(/\n$/, ''));
        at++;
      }
      if (previous !== '-') result.push(line.slice(1));
    }
  }
  return [...result, ...old.slice(at)].join('');
}

describe('unified diff', () => {
  it('shows three lines around a change', () => {
    const before = Array.from({ length: 12 }, (_, i) => `line ${i + 1}\n`).join('');
    expect(unifiedDiff('/etc/h.cfg', before, before.replace('line 6', 'LINE 6'))).toBe(
      '--- a/etc/h.cfg\n+++ b/etc/h.cfg\n@@ -3,7 +3,7 @@\n line 3\n line 4\n line 5\n-line 6\n+LINE 6\n line 7\n line 8\n line 9\n',
    );
  });

  it('writes new and removed files, and a missing last line feed, as diff -u does', () => {
    expect(unifiedDiff('/a', undefined, 'x\n')).toBe('--- /dev/null\n+++ b/a\n@@ -0,0 +1 @@\n+x\n');
    expect(unifiedDiff('/a', 'x\n', undefined)).toBe('--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n');
    expect(unifiedDiff('/a', 'x\n', 'x')).toBe('--- a/a\n+++ b/a\n@@ -1 +1 @@\n-x\n+x\n\\ No newline at end of file\n');
    expect(unifiedDiff('/a', 'x', 'x')).toBe('');
  });

  it('any two texts: the patch leads from one to the other', () => {
    const text = fc
      .tuple(fc.array(fc.constantFrom('a', 'b', 'c', '', '  bind :80'), { maxLength: 40 }), fc.boolean())
      .map(([lines, end]) => lines.join('\n') + (end && lines.length > 0 ? '\n' : ''));
    fc.assert(
      fc.property(text, text, (before, after) => {
        const patch = unifiedDiff('/f', before, after);
        expect(patch === '').toBe(before === after);
        if (patch !== '') expect(applyPatch(before, patch)).toBe(after);
      }),
      { numRuns: 500 },
    );
  });

  it('is the shortest for one moved line, and gives up the search where nearly all differs', () => {
    expect(unifiedDiff('/f', '1\n2\n3\n', '2\n3\n1\n').match(/^[-+]\d/gm)).toEqual(['-1', '+1']);
    const [before, after] = ['a', 'b'].map((name) => Array.from({ length: 4000 }, (_, i) => `${name}${i}\n`).join(''));
    expect(applyPatch(before!, unifiedDiff('/f', before, after))).toBe(after);
  });
});

describe('diff of two generations', () => {
  it('names files, references and listeners by the user’s paths, and shows no key', async () => {
    const { state, home } = await openTestState();
    const [a, b, key] = [join(home, 'etc/a.cfg'), join(home, 'etc/b.cfg'), join(home, 'etc/certs/key.pem')];
    const request = (files: string[]) => ({
      sources: files,
      files,
      references: [join(home, 'etc/certs')],
      workingDirectory: join(home, 'etc'),
      haproxyVersion: '2.6.12',
      reason: 'reload',
    });
    put(a, 'listen a\n  bind :80\n');
    put(key, 'SECRET ONE', 0o600);
    const one = await stage(state, request([a]));
    await recordListeners(one, [
      { endpoint: '0.0.0.0:80/tcp', section: 'listen a', file: a, line: 2 },
      { endpoint: '0.0.0.0:81/tcp', section: 'listen a', file: a, line: 3 },
    ]);
    put(a, 'listen a\n  bind :8080\n');
    put(b, 'listen b\n  bind :82\n');
    put(key, 'SECRET NUMBER TWO', 0o600);
    const two = await stage(state, request([a, b]));
    await recordListeners(two, [
      { endpoint: '0.0.0.0:81/tcp', section: 'listen b', file: b, line: 3 },
      { endpoint: '0.0.0.0:82/tcp', section: 'listen b', file: b, line: 2 },
    ]);
    const diff = await diffGenerations(one, two);
    expect(diff.files.map(({ file, change }) => [file, change])).toEqual([
      [a, 'changed'],
      [b, 'added'],
      [key, 'changed'],
    ]);
    expect(diff.files[0]?.patch).toContain('-  bind :80\n+  bind :8080\n');
    expect(diff.files[2]?.patch).toBe(`Referenced file ${key}: 10 bytes -> 17 bytes\n`);
    expect(JSON.stringify(diff)).not.toContain('SECRET');
    expect(diff.listeners).toEqual({
      added: ['0.0.0.0:82/tcp'],
      removed: ['0.0.0.0:80/tcp'],
      changed: [{ endpoint: '0.0.0.0:81/tcp', from: 'listen a', to: 'listen b' }],
    });
    expect((await diffGenerations(two, two)).files).toEqual([]);
    expect((await diffGenerations(two, one)).files.map(({ change }) => change)).toEqual([
      'changed',
      'removed',
      'changed',
    ]);
  });
});
