/** Outgoing connections in a namespace, at a known rate and with known lives; see churn.mjs. */
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
  readonly seconds: number;
  readonly attempts: number;
  /** EADDRNOTAVAIL, as nothing else can fail here. */
  readonly failed: number;
  /** Mean seconds from connect(2) to the close, of those that ended. */
  readonly hold: number;
}

export interface Churn {
  readonly pid: number;
  /** What was counted since the last mark; counts anew from here. */
  mark(): Promise<Counted>;
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
  return { pid: child.pid ?? 0, mark: async () => (await ask('mark')) as Counted };
}
