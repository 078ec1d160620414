import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { replaceHint } from './files.js';

export interface ServingProcess {
  readonly pid: number;
  readonly startTicks: string;
}

/** The HAProxy that the last reload committed, so that it is found again without a pid file. */
export function rememberedProcess(stateDir: string): Promise<ServingProcess | undefined> {
  try {
    const found = JSON.parse(readFileSync(join(stateDir, 'serving.json'), 'utf8')) as Partial<ServingProcess> | null;
    const isOne = typeof found?.pid === 'number' && typeof found.startTicks === 'string';
    return Promise.resolve(isOne ? { pid: found.pid, startTicks: found.startTicks } : undefined);
  } catch {
    return Promise.resolve(undefined);
  }
}

export function rememberProcess(stateDir: string, { pid, startTicks }: ServingProcess): void {
  replaceHint(join(stateDir, 'serving.json'), JSON.stringify({ pid, startTicks }));
}
