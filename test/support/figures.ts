/**
 * What a test has shown, as a figure of the report: `scripts/trust` runs the tests of `test/trust` and some others, and
 * makes docs/guarantees.md of what they record. Outside of it nothing is recorded, and the tests run in their short form.
 */
import { appendFileSync } from 'node:fs';
import { release } from 'node:os';
import { join, relative } from 'node:path';
import { expect } from 'vitest';
import { repository } from './haproxy.js';

/** Parts of the report; each is run alone by `scripts/trust PART`. */
export type Part = 'faults' | 'load' | 'versions' | 'fuzz' | 'security' | 'advise' | 'lbagent' | 'speed';

export interface Figure {
  readonly part: Part;
  /** Stable and unique within the part: a later run replaces the figure of this name. `soak 2000`, `kill -9, standalone` */
  readonly name: string;
  /** One sentence to the operator: what Berth promises. */
  readonly promise: string;
  /** What was counted or measured, `412 cases, 0 failures`. */
  readonly figure: string;
  /** Whether the promise was kept. A test records before it asserts, so that a broken promise stands in the report. */
  readonly kept: boolean;
  /** Full versions of the HAProxies that took part; empty where none did. */
  readonly haproxy: readonly string[];
  /** Printed below the part's figures; cells are Markdown of one line. */
  readonly table?: {
    readonly title: string;
    readonly columns: readonly string[];
    readonly rows: readonly (readonly string[])[];
  };
}

/** `full` in `scripts/trust`; `short` in its short form, in CI and wherever else the tests run. */
export const form: 'short' | 'full' = process.env['BERTH_TRUST'] === 'full' ? 'full' : 'short';

/** How many: of cases, listeners, reloads. `BERTH_TRUST_<NAME>` overrides both, for a night-run. */
export function amount(name: string, counts: { readonly short: number; readonly full: number }): number {
  const given = process.env[`BERTH_TRUST_${name.toUpperCase()}`];
  return given === undefined ? counts[form] : Number(given);
}

/**
 * Of made-up cases. A night-run has new ones each time; CI repeats its own, because what it would find is another's
 * doing than the change's that it judges.
 */
export const SEED = amount('seed', { short: 20_261_124, full: Date.now() % 0x7fffffff });

export function recordFigure(figure: Figure): void {
  const directory = process.env['BERTH_TRUST_OUT'];
  if (directory === undefined) return;
  const test = expect.getState().testPath;
  const line = {
    ...figure,
    form,
    test: test === undefined ? '' : relative(repository, test),
    date: new Date().toISOString(),
    kernel: release(),
    node: process.versions.node,
  };
  appendFileSync(join(directory, 'figures.jsonl'), `${JSON.stringify(line)}\n`);
}
