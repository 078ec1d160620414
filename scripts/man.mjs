#!/usr/bin/env node
/**
 * Manual pages, made of the documents that tests hold to the program: node scripts/man.mjs DIRECTORY. Needs go-md2man
 * (Debian's package of that name). The date is that of SOURCE_DATE_EPOCH, or today.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

/** @typedef {{ name: string, section: number, document: string, about: string, manual: string }} Page */

/** @type {readonly Page[]} */
export const PAGES = [
  {
    name: 'berth',
    section: 1,
    document: 'cli.md',
    about: 'give every HAProxy listener its port, always',
    manual: 'User commands',
  },
  {
    name: 'berth-haproxy',
    section: 1,
    document: 'lbagent.md',
    about: 'stand in for haproxy under an lbagent',
    manual: 'User commands',
  },
  {
    name: 'berth.yaml',
    section: 5,
    document: 'settings.md',
    about: 'settings of Berth, /etc/berth/berth.yaml',
    manual: 'File formats',
  },
  {
    name: 'berth-agent',
    section: 8,
    document: 'agent.md',
    about: 'keep HAProxy listeners served, as a service',
    manual: 'System administration',
  },
];

/**
 * The Markdown that go-md2man reads: with a title line and NAME, headings one level up, tables as lists of definitions
 * (those of roff do not wrap) and links as their text.
 * @param {Page} page
 * @param {string} text
 * @param {{ version: string, date: string }} release
 */
export function manual(page, text, { version, date }) {
  /** @type {string[]} */
  const lines = [];
  /** @type {string[] | undefined} */
  let header;
  let fenced = false;
  for (const line of text.split('\n')) {
    if (line.startsWith('```')) fenced = !fenced;
    if (fenced || !line.startsWith('|')) header = undefined;
    if (fenced || line.startsWith('```')) lines.push(line);
    else if (line.startsWith('<!--')) continue;
    else if (/^# /.test(line)) continue;
    else if (/^## /.test(line)) lines.push(plain(line.slice(1)).toUpperCase());
    else if (/^##+ /.test(line)) lines.push(plain(line.slice(1)));
    else if (!line.startsWith('|')) lines.push(plain(line));
    else if (header === undefined) header = cells(line);
    else if (!/^\|[\s|:-]+$/.test(line)) lines.push(...definition(header, cells(line)));
  }
  const title = `"${page.name}" "${page.section}" "${date}" "Berth ${version}" "${page.manual}"`;
  const others = PAGES.filter((other) => other !== page).map((other) => `**${other.name}**(${other.section})`);
  return [
    `# ${title}`,
    '',
    '# NAME',
    `${page.name} - ${page.about}`,
    '',
    '# DESCRIPTION',
    ...lines,
    '# SEE ALSO',
    `${others.join(', ')}, **haproxy**(1)`,
    '',
  ].join('\n');
}

/** @param {string} row */
function cells(row) {
  const inner = row.trim().replace(/^\||\|$/g, '');
  return inner.split(/(?<!\\)\|/).map((cell) => plain(cell.trim().replaceAll('\\|', '|')));
}

/**
 * @param {readonly string[]} header
 * @param {readonly string[]} row
 */
function definition(header, [term = '', ...rest]) {
  const words = rest.flatMap((cell, at) => {
    if (cell === '') return [];
    const last = at === rest.length - 1;
    return last ? [cell] : [`${header[at + 1] ?? ''}: ${cell}.`];
  });
  return [term, `: ${words.join(' ')}`, ''];
}

/** @param {string} text */
function plain(text) {
  return text.replace(/\[([^\]]+)\]\([^)]*\)/g, '$1');
}

function main() {
  const [directory] = process.argv.slice(2);
  if (directory === undefined) throw new Error('usage: node scripts/man.mjs DIRECTORY');
  const root = fileURLToPath(new URL('..', import.meta.url));
  const { version } = /** @type {{ version: string }} */ (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')));
  const epoch = process.env['SOURCE_DATE_EPOCH'];
  const date = (epoch === undefined ? new Date() : new Date(Number(epoch) * 1000)).toISOString().slice(0, 10);
  mkdirSync(directory, { recursive: true });
  for (const page of PAGES) {
    const text = readFileSync(join(root, 'docs', page.document), 'utf8');
    const roff = execFileSync('go-md2man', { input: manual(page, text, { version, date }), encoding: 'utf8' });
    const file = join(directory, `${page.name}.${page.section}`);
    writeFileSync(file, roff);
    console.log(file);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
