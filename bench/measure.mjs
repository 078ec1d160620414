/** Two contestants, one clock: rounds taken in turn, medians, one JSON line a result, one table at the end. */
import process from 'node:process';

/**
 * @typedef {object} Result
 * @property {string} name
 * @property {number} ours milliseconds
 * @property {string} [against] what the peer is
 * @property {number} [peer] milliseconds
 * @property {number} [ratio] ours / peer
 * @property {number} [goal] largest ratio
 * @property {boolean} [met]
 * @property {Record<string, unknown>} [details]
 */

export function median(/** @type {number[]} */ values) {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  const [low = NaN, high = NaN] = [sorted[sorted.length % 2 ? middle : middle - 1], sorted[middle]];
  return (low + high) / 2;
}

/**
 * Milliseconds of several contestants, round by round in turn and in changing order, so that what else the machine does
 * meets all of them alike. One round before the first is not counted.
 * @template {string} Name
 * @param {number} rounds
 * @param {Record<Name, (round: number) => Promise<number>>} contestants
 * @returns {Promise<Record<Name, number[]>>}
 */
export async function inTurn(rounds, contestants) {
  const names = /** @type {Name[]} */ (Object.keys(contestants));
  const times = /** @type {Record<Name, number[]>} */ ({});
  for (const name of names) times[name] = [];
  for (let round = 0; round <= rounds; round++) {
    const order = round % 2 ? names : [...names].reverse();
    for (const name of order) {
      const took = await contestants[name](round);
      if (round > 0) times[name].push(took);
    }
  }
  return times;
}

export class Results {
  /** @type {Result[]} */
  #results = [];

  /** @param {{ name: string, ours: number, against?: string, peer?: number, goal?: number, details?: Record<string, unknown> }} measured */
  add({ name, ours, against, peer, goal, details }) {
    const ratio = peer === undefined ? undefined : ours / peer;
    const met = ratio === undefined || goal === undefined ? undefined : ratio <= goal;
    const rounded = (/** @type {number | undefined} */ value) =>
      value === undefined ? undefined : Number(value.toPrecision(4));
    const result = {
      name,
      ours: rounded(ours) ?? NaN,
      against,
      peer: rounded(peer),
      ratio: rounded(ratio),
      goal,
      met,
      details,
    };
    this.#results.push(/** @type {Result} */ (result));
    process.stdout.write(`${JSON.stringify(result)}\n`);
  }

  get allMet() {
    return this.#results.every(({ met }) => met !== false);
  }

  /** Milliseconds, side by side. */
  table() {
    const rows = this.#results.map(({ name, ours, against, peer, ratio, goal, met }) => [
      name,
      ours.toFixed(1),
      against ?? '',
      peer?.toFixed(1) ?? '',
      ratio?.toFixed(2) ?? '',
      goal === undefined ? '' : `<= ${goal}`,
      met === undefined ? '' : met ? 'yes' : 'NO',
    ]);
    const all = [['what', 'berth ms', 'against', 'peer ms', 'ratio', 'goal', 'met'], ...rows];
    const widths = all[0]?.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0))) ?? [];
    return all
      .map((row) =>
        row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd(),
      )
      .join('\n');
  }
}
