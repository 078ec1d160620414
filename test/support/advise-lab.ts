/** What the experiments of `berth advise` share: a namespace with a narrow range, looks at its ports, the table. */
import { MODEL_ERROR } from '../../src/advise/advise.js';
import { openKernel, type OpenKernel } from '../../src/kernel/kernel.js';
import { recordFigure } from './figures.js';
import { makeNamespace, type Namespace } from './netns.js';

/** Listeners to be, and what connections come from. */
export const ADDRESS = '127.0.0.1';
export const RANGE = { first: 20_000, last: 20_499 };

export function portsOf({ first, last }: typeof RANGE): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

export interface Place {
  readonly netns: Namespace;
  readonly kernel: OpenKernel;
}

export async function inNamespace<T>(range: typeof RANGE, work: (place: Place) => Promise<T>): Promise<T> {
  const netns = await makeNamespace();
  const kernel = await openKernel({ netns: netns.path });
  try {
    await netns.sysctl('net.ipv4.ip_local_port_range', `${range.first} ${range.last}`);
    // 2, the default, has connections of the loopback reuse their ports in TIME_WAIT; elsewhere they do not.
    await netns.sysctl('net.ipv4.tcp_tw_reuse', '0');
    return await work({ netns, kernel });
  } finally {
    await kernel.closeNamespace();
    await netns.remove();
  }
}

/** Which of these ports HAProxy could not bind at this moment: its own two options, bound and closed. */
export async function busyAmong(kernel: Pick<OpenKernel, 'probe'>, ports: readonly number[]): Promise<Set<number>> {
  const socket = { kind: 'inet', transport: 'tcp', family: 4, v6only: false, transparent: false } as const;
  const probed = await kernel.probe(
    ports.map((port) => ({ ...socket, address: ADDRESS, port })),
    { keep: false, asHAProxy: true },
  );
  return new Set(probed.filter(({ outcome }) => outcome === 'busy').map(({ endpoint }) => endpoint.port));
}

/** The mean, how far one value lies from it (standard deviation), and how far the mean itself may be off (99.9 %). */
export function meanOf(values: readonly number[]): { mean: number; deviation: number; error: number } {
  const mean = values.reduce((sum, one) => sum + one, 0) / values.length;
  const squares = values.reduce((sum, one) => sum + (one - mean) ** 2, 0);
  const deviation = Math.sqrt(squares / Math.max(1, values.length - 1));
  return { mean, deviation, error: (student(values.length) * deviation) / Math.sqrt(values.length) };
}

/** Student's t for 99.9 %, a little above the tables (6.9 for 6 values, 3.9 for 20). */
const student = (values: number) => 3.3 * (1 + 5.5 / Math.max(1, values - 1));

/** 99.9 % of a share that so many independent tries have shown. */
export function binomialError(share: number, tries: number): number {
  return 3.3 * Math.sqrt((Math.max(share, 1 / tries) * (1 - Math.min(share, 1 - 1 / tries))) / tries);
}

export class Comparisons {
  readonly #rows: (readonly [name: string, predicted: number, seen: number, allowed: number])[] = [];

  /** @param error of what was seen; that of the model comes on top. Whether the two agree. */
  add(name: string, predicted: number, seen: number, error: number): boolean {
    const allowed = Math.max(predicted * MODEL_ERROR.relative, MODEL_ERROR.absolute) + error;
    this.#rows.push([name, predicted, seen, allowed]);
    return Math.abs(seen - predicted) <= allowed;
  }

  record(name: string, promise: string, title: string): void {
    const rows = [...this.#rows].sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }));
    const outside = rows.filter(([, predicted, seen, allowed]) => Math.abs(seen - predicted) > allowed).length;
    const percent = (value: number) => `${(100 * value).toFixed(1)} %`;
    const cells = rows.map(([what, predicted, seen, allowed]) => [
      what,
      ...[predicted, seen, Math.abs(seen - predicted), allowed].map(percent),
    ]);
    if (process.env['BERTH_TRUST_SHOW'] !== undefined) console.log(cells.map((row) => row.join(' | ')).join('\n'));
    recordFigure({
      part: 'advise',
      name,
      promise,
      figure: `${rows.length} predictions, ${outside} outside of the stated error`,
      kept: outside === 0 && rows.length > 0,
      haproxy: [],
      table: { title, columns: ['', 'predicted', 'seen', 'off by', 'allowed'], rows: cells },
    });
  }
}
