/** How the last reload went, kept so that whoever looks later learns why an older generation serves. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { BerthError } from '../errors.js';
import { replaceHint } from './files.js';
import type { AttemptReport } from './reports.js';
import type { StateDir } from './state-dir.js';

const attemptSchema = z.object({
  at: z.string(),
  reason: z.string(),
  outcome: z.enum(['served', 'served-in-part', 'failed']),
  sources: z.array(z.string()),
  error: z.object({ code: z.string(), step: z.string(), message: z.string(), advice: z.string() }).optional(),
  instead: z.int().optional(),
});

export function rememberAttempt(state: Pick<StateDir, 'path'>, attempt: AttemptReport): void {
  replaceHint(join(state.path, 'attempt.json'), JSON.stringify(attempt));
}

export function lastAttempt(state: Pick<StateDir, 'path'>): AttemptReport | undefined {
  try {
    const { error, instead, ...rest } = attemptSchema.parse(
      JSON.parse(readFileSync(join(state.path, 'attempt.json'), 'utf8')),
    );
    return { ...rest, ...(error ? { error } : {}), ...(instead === undefined ? {} : { instead }) };
  } catch {
    // A report hangs on this file, nothing else.
    return undefined;
  }
}

export function failedWith({ code, step, message, advice }: BerthError): NonNullable<AttemptReport['error']> {
  return { code, step, message, advice };
}
