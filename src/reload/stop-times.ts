import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { replaceHint } from './files.js';
import type { StateDir } from './state-dir.js';

/** More processes than this never drain at once on a sane host; the oldest are forgotten. */
const REMEMBERED = 256;

/** When Berth told which process to finish, so that a preflight can say since when it drains: pid → ISO time. */
export function stopTimes(state: Pick<StateDir, 'path'>): ReadonlyMap<number, string> {
  try {
    const entries = JSON.parse(readFileSync(join(state.path, 'stopped.json'), 'utf8')) as unknown;
    return new Map(Array.isArray(entries) ? entries.filter(isEntry) : []);
  } catch {
    // A word in a sentence hangs on this file, nothing else.
    return new Map();
  }
}

export function rememberStop(state: Pick<StateDir, 'path'>, pid: number, now = new Date()): void {
  const times = [...stopTimes(state)].filter(([other]) => other !== pid).slice(1 - REMEMBERED);
  replaceHint(join(state.path, 'stopped.json'), JSON.stringify([...times, [pid, now.toISOString()]]));
}

function isEntry(value: unknown): value is [number, string] {
  return Array.isArray(value) && Number.isSafeInteger(value[0]) && typeof value[1] === 'string';
}
