/**
 * How fast Berth is, all of it: each part in a process of its own, in network, pid and mount namespaces of its own, which
 * end with it. A part that fails or hangs is said so, and the next one runs. See README.md beside this file.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { report } from './figures.mjs';
import { runHere, runPart } from './harness.mjs';
import { buildBaseline, versionOf } from './lab.mjs';
import { table } from './page.mjs';
import { PARTS } from './parts/index.mjs';
import { installPeers } from './peers/install.mjs';
import { about, merge, publish, render } from './results.mjs';

const HELP = `usage: npm run bench -- [options]

Measures the built Berth (dist/, build/) against bare C, HAProxy, ss, lsof and Node's port checkers, in private
namespaces. As root; needs cc, ss and lsof. One line of JSON for each thing found, the table at the end.

  --only PART[,PART]  ${Object.keys(PARTS).join(', ')}
  --haproxy BIN       the haproxy binary                              [haproxy]
  --rounds N          counted rounds of each measurement              [as each part has it]
  --minutes N         parts that do not fit in are left out, and said [9.5]
  --short             a smoke: little of everything, one round; the figures mean nothing
  --json FILE         all results
  --into DIR          results.json, the plots, and the figures in speed.md beside DIR; parts not run stay as they are there
  --render DIR        measure nothing: the plots, and the figures in speed.md beside DIR, from its results.json
  --report FILE       append what becomes of the promises, a line each
  --help

Exit status 1 where a part failed; a goal that is missed is shown, and no failure.
`;

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    haproxy: { type: 'string', default: 'haproxy' },
    rounds: { type: 'string' },
    minutes: { type: 'string', default: '9.5' },
    short: { type: 'boolean', default: false },
    json: { type: 'string' },
    into: { type: 'string' },
    render: { type: 'string' },
    report: { type: 'string' },
    help: { type: 'boolean', default: false },
    // Given by this program to itself: the part to run, and where its files and programs are.
    inside: { type: 'string' },
    directory: { type: 'string' },
  },
});
if (options.help) process.stdout.write(HELP);
else if (options.render !== undefined) render(options.render);
else if (options.inside === undefined) process.exitCode = await runAll();
else await runHere(options.inside, { ...given(), directory: options.directory ?? '' });
process.exit();

function given() {
  const { haproxy, short, rounds } = options;
  return { haproxy, short, rounds: rounds === undefined ? undefined : Number(rounds) };
}

async function runAll() {
  const wanted = options.only?.split(',') ?? Object.keys(PARTS);
  const unknown = wanted.find((name) => !(name in PARTS));
  if (unknown !== undefined) {
    process.stderr.write(`bench: no part is called ${unknown}\n\n${HELP}`);
    return 2;
  }
  execFileSync('prlimit', ['--pid', String(process.pid), '--core=0']);
  const directory = mkdtempSync(join(tmpdir(), 'berth-bench-'));
  const until = performance.now() + Number(options.minutes) * 60_000;
  /** @type {Map<string, import('./results.mjs').PartResult>} */
  const done = new Map();
  const left = [...wanted];
  const work = async () => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      process.stderr.write(`bench: ${name}\n`);
      const result = await runPart(name, { ...given(), directory, until });
      process.stderr.write(`bench: ${name}: ${result.failure ?? 'done'}, ${result.seconds} s\n`);
      done.set(name, result);
    }
  };
  try {
    buildBaseline(directory);
    if (wanted.includes('peers') && !options.short) installPeers();
    // Beside each other they would measure each other.
    await Promise.all(Array.from({ length: options.short ? 3 : 1 }, work));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  /** @type {import('./results.mjs').Results} */
  const results = {
    about: about(versionOf(options.haproxy).text, options.short),
    parts: Object.fromEntries(wanted.flatMap((name) => [...done].filter(([of]) => of === name))),
  };
  process.stdout.write(`\n${table(results)}\n`);
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(results, undefined, 1)}\n`);
  if (options.report !== undefined) report(options.report, results);
  if (options.into !== undefined) {
    mkdirSync(options.into, { recursive: true });
    await publish(options.into, merge(options.into, results));
  }
  const failed = Object.entries(results.parts).filter(([, { failure }]) => failure !== undefined);
  for (const [name, { failure }] of failed) process.stdout.write(`\n${name} failed: ${failure}\n`);
  return failed.length === 0 ? 0 : 1;
}
