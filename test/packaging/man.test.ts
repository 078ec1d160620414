/** Manual pages are the documents, in the form that man wants: nothing of Markdown's that roff does not know is left. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

interface Page {
  readonly name: string;
  readonly section: number;
  readonly document: string;
  readonly about: string;
}
// A plain script, with its types in comments.
const { manual, PAGES } = (await import(new URL('../../scripts/man.mjs', import.meta.url).href)) as {
  readonly PAGES: readonly Page[];
  readonly manual: (page: Page, text: string, release: { version: string; date: string }) => string;
};

const release = { version: '1.2.3', date: '2026-01-31' };
const document = (name: string) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8');
const page = PAGES[0]!;

test('a table becomes a list of definitions, a link its text, and code stays as it is', () => {
  const text = [
    '# Title',
    '<!-- a remark -->',
    '## See [also](other.md)',
    '| option | default | meaning |',
    '| --- | --- | --- |',
    '| `-a\\|-b` | 5 | the first of two |',
    '',
    '```sh',
    'echo a | cat  # [x](y)',
    '```',
  ].join('\n');
  const lines = manual(page, text, release).split('\n');
  expect(lines).toEqual([
    '# "berth" "1" "2026-01-31" "Berth 1.2.3" "User commands"',
    ...['', '# NAME', `berth - ${page.about}`, '', '# DESCRIPTION', '# SEE ALSO'],
    ...['`-a|-b`', ': default: 5. the first of two', '', '', '```sh', 'echo a | cat  # [x](y)', '```'],
    ...['# SEE ALSO', '**berth-haproxy**(1), **berth.yaml**(5), **berth-agent**(8), **haproxy**(1)', ''],
  ]);
});

test.each(PAGES)('$name($section) is whole', (one) => {
  const text = document(one.document);
  const lines = manual(one, text, release).split('\n');
  const fences = lines.filter((line) => line.startsWith('```')).length;
  expect(fences % 2).toBe(0);
  let fenced = false;
  for (const line of lines) {
    if (line.startsWith('```')) fenced = !fenced;
    if (!fenced) expect(line).not.toMatch(/^\||^<|\]\(/);
  }
  for (const [, code = ''] of text.matchAll(/^\| `([^`]+)` \|/gm))
    expect(lines).toContain(`\`${code.replaceAll('\\|', '|')}\``);
});
