/** What was tried against Berth, as a figure: the promise is kept where nothing of it succeeded. */
import { execFileSync } from 'node:child_process';
import { recordFigure } from './figures.js';
import type { HAProxyBinary } from './haproxy.js';

export interface Attempts {
  /** Stable and unique within the part. */
  readonly name: string;
  readonly promise: string;
  /** Completes `N attempts …`: `by a stranger`. */
  readonly what: string;
  readonly tried: number;
  /** What did succeed, for whoever reads the failure. */
  readonly succeeded: readonly unknown[];
  readonly haproxy?: HAProxyBinary;
}

export function recordAttempts({ name, promise, what, tried, succeeded, haproxy }: Attempts): void {
  recordFigure({
    part: 'security',
    name,
    promise,
    figure: `${tried} attempts ${what}, ${succeeded.length} succeeded`,
    kept: tried > 0 && succeeded.length === 0,
    haproxy: haproxy === undefined ? [] : [fullVersion(haproxy)],
  });
}

/** `2.6.12-1+deb12u4` */
export function fullVersion({ path, version }: HAProxyBinary): string {
  return /version (\S+)/.exec(execFileSync(path, ['-v'], { encoding: 'utf8' }))?.[1] ?? version;
}
