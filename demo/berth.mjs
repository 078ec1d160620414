/** The same reload with Berth: one command. */
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { dirname, join } from 'node:path';
import { run } from './run.mjs';

/** The command as installed; scripts/demo has built it. */
const BERTH = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));

/**
 * @param {import('./lab.mjs').Lab} lab
 * @param {string} verb
 */
function command(lab, verb) {
  const state = join(dirname(lab.pidFile), '..', 'berth');
  const options = ['--state-dir', state, '--pid-file', lab.pidFile, '--netns', lab.netns, '--haproxy', lab.haproxy];
  return [process.execPath, BERTH, verb, '--json', ...options, '-C', lab.current, lab.current];
}

/** What `--json` prints: one envelope, with `result` or `error`. */
function envelope(/** @type {{ status: number, stdout: string, stderr: string }} */ { status, stdout, stderr }) {
  if (!stdout.startsWith('{')) throw new Error(`berth ended with exit status ${status} and no JSON\n${stderr}`);
  return JSON.parse(stdout);
}

/**
 * Ask before, and say what Berth says about the new listener.
 * @param {import('./lab.mjs').Lab} lab
 * @param {(text: string) => void} say
 */
export async function berthPreflight(lab, say) {
  const asked = await run(command(lab, 'preflight'), lab.log('berth-preflight'));
  const { result } = envelope(asked);
  for (const listener of result?.listeners ?? [])
    if (listener.verdict.kind !== 'free' && listener.verdict.kind !== 'ours')
      say(`berth preflight: ${listener.sentence}`);
}

/**
 * @param {import('./lab.mjs').Lab} lab
 * @param {(text: string) => void} say
 */
export async function berthReload(lab, say) {
  say('berth reload');
  const reload = await run(command(lab, 'reload'), lab.log('berth-reload'));
  const { result, error } = envelope(reload);
  if (error) say(`${error.code}: ${error.message}`);
  for (const listener of result?.secured ?? []) if (listener.action !== 'guard') say(listener.sentence);
  for (const text of result?.repairs ?? []) say(text);
  return { served: reload.status === 0, steps: [{ step: 'reload', ...reload }] };
}
