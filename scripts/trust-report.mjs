/**
 * The report of scripts/trust: takes what the tests recorded (test/support/figures.ts), lets it replace the figures of the
 * same part and name in docs/guarantees.json, and writes docs/guarantees.md of all. A part that ran loses those of its
 * figures that it did not record again.
 *
 *   node scripts/trust-report.mjs FIGURES.jsonl [--print]     --print: only print, and leave docs/ as it is
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';

/**
 * @typedef {{ title: string, columns: string[], rows: string[][] }} Table
 * @typedef {{
 *   part: string, name: string, promise: string, figure: string, kept: boolean, haproxy: string[], table?: Table,
 *   form: 'short' | 'full', test: string, date: string, kernel: string, node: string,
 * }} Figure
 */

/** Parts in the order of the report, with their titles. */
const PARTS = new Map([
  ['faults', 'Whatever fails'],
  ['load', 'Under load'],
  ['lbagent', 'In the place of haproxy, and after its death'],
  ['versions', 'Versions'],
  ['fuzz', 'Bytes that Berth did not write'],
  ['security', 'Strangers on the host'],
  ['advise', 'The model of `berth advise`'],
  ['speed', 'Speed'],
]);

const docs = fileURLToPath(new URL('../docs/', import.meta.url));
const stored = join(docs, 'guarantees.json');
const [recorded, ...options] = process.argv.slice(2);
if (recorded === undefined) throw new Error('which file holds the figures?');

const news = existsSync(recorded) ? readFigures(readFileSync(recorded, 'utf8').split('\n').filter(Boolean)) : [];
if (options.includes('--print')) {
  for (const one of news) process.stdout.write(`${mark(one)} ${one.part}: ${one.name}: ${one.figure}\n`);
} else {
  const ran = new Set(news.map(({ part }) => part));
  const before = existsSync(stored) ? /** @type {Figure[]} */ (JSON.parse(readFileSync(stored, 'utf8'))) : [];
  const figures = inOrder([...before.filter(({ part }) => !ran.has(part)), ...news]);
  await write(stored, JSON.stringify(figures), 'json');
  await write(join(docs, 'guarantees.md'), report(figures), 'markdown');
  const broken = figures.filter(({ kept }) => !kept).length;
  process.stdout.write(`docs/guarantees.md: ${figures.length} figures, ${broken} promises broken\n`);
}

/** The last one of a name counts. @param {string[]} lines @returns {Figure[]} */
function readFigures(lines) {
  const figures = lines.map((line) => /** @type {Figure} */ (JSON.parse(line)));
  return inOrder([...new Map(figures.map((one) => [`${one.part} ${one.name}`, one])).values()]);
}

/** @param {Figure[]} figures */
function inOrder(figures) {
  const rank = [...PARTS.keys()];
  return figures.sort((a, b) => rank.indexOf(a.part) - rank.indexOf(b.part));
}

/** @param {Figure[]} figures */
function report(figures) {
  const lines = [
    '# Guarantees',
    '',
    'What Berth promises, the test that shows it, and what it measured. `./scripts/trust` writes this page; nothing on it',
    'is written by hand. `./scripts/trust PART` runs one part again, on your machine: as root on Debian, in namespaces of its',
    'own, in less than an hour for all parts.',
    '',
  ];
  for (const [part, title] of PARTS) {
    const own = figures.filter((figure) => figure.part === part);
    if (own.length === 0) continue;
    lines.push(`## ${title}`, '', `\`./scripts/trust ${part}\``, '');
    lines.push('| | promise | figure | HAProxy | test |', '| --- | --- | --- | --- | --- |');
    for (const one of own) {
      const test = one.test === '' ? '' : `[${one.test.split('/').at(-1)}](../${one.test})`;
      lines.push(row([mark(one), one.promise, `**${one.name}:** ${one.figure}`, one.haproxy.join(', '), test]));
    }
    lines.push('', `${when(own)}.`, '');
    for (const { table } of own) {
      if (table === undefined) continue;
      lines.push(`### ${table.title}`, '', row(table.columns), row(table.columns.map(() => '---')));
      lines.push(...table.rows.map(row), '');
    }
  }
  return lines.join('\n');
}

/** @param {readonly string[]} cells */
function row(cells) {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
}

/** @param {Figure} figure */
function mark({ kept }) {
  return kept ? '✓' : '✗';
}

/** @param {Figure[]} figures */
function when(figures) {
  const of = (/** @type {(figure: Figure) => string} */ what) => [...new Set(figures.map(what))].join(', ');
  return `${of(({ date }) => date.slice(0, 10))}, Linux ${of(({ kernel }) => kernel)}, Node ${of(({ node }) => node)}`;
}

/** @param {string} path @param {string} text @param {'json' | 'markdown'} parser */
async function write(path, text, parser) {
  writeFileSync(path, await format(text, { ...(await resolveConfig(path)), parser }));
}
