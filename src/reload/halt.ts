import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { replaceHint } from './files.js';
import type { StateDir } from './state-dir.js';

const file = (state: Pick<StateDir, 'path'>): string => join(state.path, 'halted');

/** HAProxy was stopped on purpose: nobody starts it again before the next reload does. */
export function rememberHalt(state: Pick<StateDir, 'path'>): void {
  replaceHint(file(state), `${new Date().toISOString()}\n`);
}

export function forgetHalt(state: Pick<StateDir, 'path'>): void {
  rmSync(file(state), { force: true });
}

export function isHalted(state: Pick<StateDir, 'path'>): boolean {
  return existsSync(file(state));
}
