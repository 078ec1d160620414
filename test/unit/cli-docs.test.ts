/** docs/cli.md and docs/schema.json say what the program does, no more and no less. */
import { readFileSync } from 'node:fs';
import { createGenerator } from 'ts-json-schema-generator';
import { describe, expect, it } from 'vitest';
import { SCHEMA_VERSION } from '../../src/cli/envelope.js';
import { EXIT_STATUSES } from '../../src/cli/exits.js';
import { buildProgram, loadVerbs, VERB_NAMES } from '../../src/cli/program.js';
import { run } from '../../src/cli/run.js';
import { BerthError } from '../../src/errors.js';
import { publishedSchema, schemaErrors } from '../support/json-schema.js';
import * as sample from './cli-samples.js';

const page = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');
const verbs = await loadVerbs();
const program = buildProgram(verbs, sample.testHost(), () => Promise.resolve());

/** The text between this heading and the next of its level or above. */
function section(heading: string): string {
  const level = /^#+/.exec(heading)?.[0].length ?? 0;
  const start = page.indexOf(`\n${heading}\n`);
  expect(start, heading).toBeGreaterThan(-1);
  const rest = page.slice(start + heading.length + 1);
  const end = rest.search(new RegExp(`^#{1,${level}} `, 'm'));
  return end === -1 ? rest : rest.slice(0, end);
}

/** First cells of the tables of a text, as written between backticks. */
function firstCells(text: string): string[] {
  return [...text.matchAll(/^\| `(.+?)` \|/gm)].map((match) => (match[1] ?? '').replaceAll('\\|', '|'));
}

describe('docs/cli.md', () => {
  it('has a section for every verb, and for no other', () => {
    const headings = [...page.matchAll(/^### berth (\S+)$/gm)].map((match) => match[1]);
    expect(headings).toEqual([...VERB_NAMES]);
  });

  it.each(verbs)('$name: options, changes, examples and exit statuses as in --help', (verb) => {
    const command = program.commands.find((one) => one.name() === verb.name);
    const text = section(`### berth ${verb.name}`);
    expect(firstCells(text)).toEqual(command?.options.map((option) => option.flags));
    for (const option of command?.options ?? [])
      for (const word of option.argChoices ?? []) expect(text).toContain(word);
    expect(text).toContain(verb.changes);
    for (const [example] of verb.examples) expect(text).toContain(example);
    for (const [status, meaning] of verb.exits) expect(text).toContain(`| ${status} | ${meaning} |`);
  });

  it('lists the options of every verb', () => {
    const flags = [...program.options.map((option) => option.flags), '-h, --help'];
    expect(firstCells(section('## Options of every verb'))).toEqual(flags);
  });

  it('lists the exit statuses', () => {
    const rows = [...section('## Exit statuses').matchAll(/^\| (\d+) \| (.*) \|$/gm)].map((row) => [
      Number(row[1]),
      row[2],
    ]);
    expect(rows).toEqual(EXIT_STATUSES);
  });
});

describe('docs/schema.json', () => {
  it('is what the types say; else: npm run schema', () => {
    const root = new URL('../../', import.meta.url).pathname;
    const generator = createGenerator({
      path: `${root}src/cli/envelope.ts`,
      tsconfig: `${root}tsconfig.json`,
      type: 'Envelope',
      skipTypeCheck: true,
      additionalProperties: true,
    });
    expect(publishedSchema).toEqual(generator.createSchema('Envelope'));
  });

  it.each([
    ['preflight', 'x'],
    ['plan', 'x'],
    ['reload', 'x'],
    ['reload', '-n', 'x'],
    ['rollback'],
    ['history'],
    ['diff', '1', '2'],
    ['stop', '--hard'],
    ['status'],
    ['reserve', '80'],
    ['release', '80'],
    ['reservations'],
    ['doctor'],
    ['advise'],
    ['advise', '--no-measure', '--hosts', '10'],
    ['agent', '--check'],
    ['completion', 'fish'],
    ['frobnicate'],
    ['plan'],
  ])('describes the answer of berth %s %s', async (...words) => {
    const host = sample.testHost(sample.sampleBerth({ reload: () => Promise.resolve(sample.inPart) }));
    await run([...words, '--json'], host);
    const answer = JSON.parse(host.out()) as object;
    expect(answer).toMatchObject({ schema: SCHEMA_VERSION });
    expect(schemaErrors(answer)).toEqual([]);
  });

  it('describes errors with details and a cause', async () => {
    const cause = Object.assign(new Error('full'), { code: 'ENOSPC', errno: -28, syscall: 'write' });
    const error = new BerthError('BERTH_STATE_WRITE', 'no room', { step: 'journal', cause, details: { file: '/x' } });
    const host = sample.testHost(sample.sampleBerth({ status: () => Promise.reject(error) }));
    await run(['status', '--json'], host);
    expect(schemaErrors(JSON.parse(host.out()) as object)).toEqual([]);
  });

  it('refuses what it does not know', () => {
    expect(schemaErrors({ berth: '0', schema: 1, verb: 'status', ok: true, exit: 0, result: {} })).not.toEqual([]);
  });
});
