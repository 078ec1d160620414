/** Outgoing connections in a namespace, at a known rate and with known lives, by a clock of their own; see churn.mjs. */
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Namespace } from './netns.js';

export interface ChurnOptions {
  readonly address?: string;
  readonly servers: readonly number[];
  readonly rate: number;
  readonly lifetime: number;
  readonly fixed?: boolean;
  readonly close?: 'reset' | 'fin';
}

export interface Counted {
  readonly attempts: number;
  /** EADDRNOTAVAIL. */
  readonly failed: number;
}

export interface Churn {
  /** Let so many seconds of its clock pass; one call at a time. */
  pass(seconds: number): Promise<Counted>;
}

/** It ends with its namespace. */
export async function startChurn(netns: Pick<Namespace, 'spawn'>, options: ChurnOptions): Promise<Churn> {
  const child = netns.spawn(process.execPath, fileURLToPath(new URL('./churn.mjs', import.meta.url)));
  child.stderr?.pipe(process.stderr);
  if (!child.stdout || !child.stdin) throw new Error('no pipes');
  const { stdin } = child;
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (line: string): Promise<unknown> => {
    stdin.write(`${line}\n`);
    const answer: IteratorResult<string, unknown> = await answers.next();
    if (answer.done === true) throw new Error('churn.mjs ended early');
    return JSON.parse(answer.value);
  };
  await ask(JSON.stringify(options));
  return { pass: async (seconds) => (await ask(String(seconds))) as Counted };
}
