import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { replaceHint } from '../reload/files.js';
import type { StateDir } from '../reload/state-dir.js';

/** Which files went live as which generation: who finds the same fingerprint again has nothing to do. */
export interface Applied {
  readonly sources: readonly string[];
  readonly fingerprint: string;
  readonly generation: number;
}

export function lastApplied(state: Pick<StateDir, 'path'>): Applied | undefined {
  try {
    const found = JSON.parse(readFileSync(join(state.path, 'applied.json'), 'utf8')) as Partial<Applied> | null;
    const { sources, fingerprint, generation } = found ?? {};
    const texts = Array.isArray(sources) && sources.every((source) => typeof source === 'string');
    const whole = texts && typeof fingerprint === 'string' && Number.isSafeInteger(generation);
    return whole ? { sources, fingerprint, generation: Number(generation) } : undefined;
  } catch {
    // Without it the same configuration is brought into service once more, which hurts nobody.
    return undefined;
  }
}

export function rememberApplied(state: Pick<StateDir, 'path'>, applied: Applied): void {
  replaceHint(join(state.path, 'applied.json'), JSON.stringify(applied));
}

export function isSame(applied: Applied | undefined, sources: readonly string[], fingerprint: string): boolean {
  return applied?.fingerprint === fingerprint && applied.sources.join('\0') === sources.join('\0');
}
