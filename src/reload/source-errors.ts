/** What goes wrong with a file that is copied: the user's own fault, or Berth's place to write to. */
import { readlinkSync } from 'node:fs';
import { BerthError, systemCause } from '../errors.js';
import { errnoOf, stateWriteError } from './files.js';

/** Errors that can only come from where is written to, or from having no descriptor left. */
export const OURS: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EMFILE', 'ENFILE']);

/** The result of `look`, its failure told of this path. */
export function fromSource<T>(path: string, look: () => T): T {
  try {
    return look();
  } catch (error) {
    throw failureOf(path, error);
  }
}

/** What a failed look at a source says to the user. */
export function failureOf(path: string, error: unknown): unknown {
  const code = errnoOf(error);
  if (error instanceof BerthError || code === undefined) return error;
  if (OURS.has(code)) return stateWriteError(error, 'read the configuration', path);
  if (code === 'ENOENT' || code === 'ESTALE') {
    const to = targetOf(path);
    return unreadable(path, to === undefined ? 'does not exist' : `points to ${to}, which does not exist`, error, true);
  }
  return unreadable(path, undefined, error);
}

function targetOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** BERTH_CONFIG_UNREADABLE. @param changed reading the configuration anew may help */
export function unreadable(path: string, what?: string, cause?: unknown, changed = false): BerthError {
  const system = systemCause(cause);
  const why = what ?? `cannot be read: ${system ? `${system.code} (${system.syscall})` : String(cause)}`;
  return new BerthError('BERTH_CONFIG_UNREADABLE', `${path} ${why}`, {
    step: 'stage',
    ...(cause === undefined ? {} : { cause }),
    ...(changed ? { advice: 'Something rewrites the configuration; run the command again when it has finished' } : {}),
    details: { path, ...(changed ? { changed: true } : {}) },
  });
}
