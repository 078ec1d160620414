import { readFileSync, rmSync } from 'node:fs';
import { uptime } from 'node:os';
import { join } from 'node:path';
import { replaceHint } from './files.js';
import type { StateDir } from './state-dir.js';

const file = (state: Pick<StateDir, 'path'>): string => join(state.path, 'halted');

/** HAProxy was stopped on purpose: nobody starts it again before the next reload or the next boot does. */
export function rememberHalt(state: Pick<StateDir, 'path'>): void {
  replaceHint(file(state), `${new Date().toISOString()}\n`);
}

export function forgetHalt(state: Pick<StateDir, 'path'>): void {
  rmSync(file(state), { force: true });
}

export function isHalted(state: Pick<StateDir, 'path'>): boolean {
  try {
    return Date.parse(readFileSync(file(state), 'utf8').trim()) > Date.now() - uptime() * 1000;
  } catch {
    return false;
  }
}
