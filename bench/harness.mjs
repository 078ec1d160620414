/** What every bench does around its parts: options, namespaces of its own, one JSON line a result, the table. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildBaseline } from './lab.mjs';
import { Results } from './measure.mjs';

/**
 * What a part has.
 * @typedef {object} Bench
 * @property {string} baseline path of the program
 * @property {string} directory for its files
 * @property {string} haproxy
 * @property {number} rounds counted ones
 * @property {Results} results
 */

/**
 * Run the parts: the program at `url` starts itself once more in network, pid and mount namespaces of its own, which end
 * with it. Ends the process, with 1 where a goal is missed.
 * @param {{ url: string, help: string, rounds: number, parts: Record<string, (bench: Bench) => Promise<void>> }} bench
 */
export async function runBench({ url, help, rounds, parts }) {
  const { values: options } = parseArgs({
    options: {
      haproxy: { type: 'string', default: 'haproxy' },
      rounds: { type: 'string', default: String(rounds) },
      only: { type: 'string' },
      help: { type: 'boolean', default: false },
      // Given by this program to itself.
      inside: { type: 'boolean', default: false },
    },
  });
  if (options.help) process.stdout.write(help);
  else if (!options.inside) process.exitCode = await runInside(url);
  else {
    const wanted = Object.entries(parts).filter(([name]) => options.only === undefined || options.only === name);
    process.exitCode = await runParts(wanted, options.haproxy, Number(options.rounds));
  }
  process.exit();
}

/**
 * @param {[string, (bench: Bench) => Promise<void>][]} parts
 * @param {string} haproxy
 * @param {number} rounds
 */
async function runParts(parts, haproxy, rounds) {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  const directory = mkdtempSync(join(tmpdir(), 'berth-bench-'));
  try {
    const results = new Results();
    const bench = { baseline: buildBaseline(directory), directory, haproxy, rounds, results };
    const kernel = execFileSync('uname', ['-r'], { encoding: 'utf8' }).trim();
    const [load] = loadavg();
    const about = { kernel, haproxy: versionOf(haproxy).text, node: process.version, rounds, load };
    process.stdout.write(`${JSON.stringify(about)}\n`);
    for (const [name, part] of parts) {
      process.stderr.write(`bench: ${name}\n`);
      await part(bench);
    }
    process.stdout.write(`\n${results.table()}\n`);
    return results.allMet ? 0 : 1;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function runInside(/** @type {string} */ url) {
  const flags = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const own = [process.execPath, fileURLToPath(url), '--inside', ...process.argv.slice(2)];
  const child = spawn('unshare', [...flags, '--', ...own], { stdio: 'inherit' });
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.on(signal, () => child.kill('SIGKILL'));
  const [status] = await once(child, 'exit');
  return status ?? 130;
}

export function versionOf(/** @type {string} */ haproxy) {
  const text = execFileSync(haproxy, ['-v'], { encoding: 'utf8' });
  const [, version = '', major, minor] = /version ((\d+)\.(\d+)\S*)/.exec(text) ?? [];
  return { major: Number(major), minor: Number(minor), text: version };
}
