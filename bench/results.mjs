/** All that was measured, as one JSON value, and the files that are made of it. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { format } from 'prettier';
import { charts } from './charts.mjs';
import { speedPage } from './page.mjs';

/**
 * @typedef {object} PartResult
 * @property {string} date ISO time of its begin
 * @property {number} load of the machine in the minute before
 * @property {number} seconds that it took
 * @property {string} [failure] what came in between; what was found before is here
 * @property {import('./measure.mjs').Row[]} rows
 * @property {import('./measure.mjs').Point[]} points
 * @property {import('./measure.mjs').Answer[]} answers
 *
 * @typedef {ReturnType<typeof about>} About
 * @typedef {{ about: About, parts: Record<string, PartResult> }} Results
 */

/** The machine and the versions. */
export function about(/** @type {string} */ haproxy, /** @type {boolean} */ short) {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return {
    date: new Date().toISOString(),
    form: short ? 'short' : 'full',
    machine: { cpus: cpus().length, model: cpus()[0]?.model ?? '', memory: `${Math.round(totalmem() / 2 ** 30)} GiB` },
    versions: { berth: version, haproxy, kernel: release(), node: process.versions.node, iproute2: versionOfSs() },
  };
}

function versionOfSs() {
  return /iproute2-(\S+?),?(\s|$)/.exec(execFileSync('ss', ['-V'], { encoding: 'utf8' }))?.[1] ?? '';
}

/** These results over those of an earlier run in this directory: part by part. */
export function merge(/** @type {string} */ directory, /** @type {Results} */ results) {
  const file = join(directory, 'results.json');
  if (!existsSync(file)) return results;
  /** @type {Results} */
  const before = JSON.parse(readFileSync(file, 'utf8'));
  return { about: results.about, parts: { ...before.parts, ...results.parts } };
}

/** Write results.json, and what is made of it. */
export async function publish(/** @type {string} */ directory, /** @type {Results} */ results) {
  const text = await format(JSON.stringify(results), { parser: 'json', printWidth: 120 });
  writeFileSync(join(directory, 'results.json'), text);
  render(directory);
}

/** The plots beside results.json, and the figures in speed.md beside the directory. */
export function render(/** @type {string} */ directory) {
  /** @type {Results} */
  const results = JSON.parse(readFileSync(join(directory, 'results.json'), 'utf8'));
  for (const [name, svg] of Object.entries(charts(results))) writeFileSync(join(directory, `${name}.svg`), svg);
  const page = join(directory, '..', 'speed.md');
  if (existsSync(page)) writeFileSync(page, speedPage(readFileSync(page, 'utf8'), results));
}
