/** Two contestants, one clock: rounds taken in turn, medians, one JSON line a result, one table at the end. */
import process from 'node:process';

/**
 * @typedef {object} Result
 * @property {string} name
 * @property {number} ours
 * @property {string} unit of `ours` and `peer`: milliseconds, where nothing else is said
 * @property {string} [against] what the peer is
 * @property {number} [peer]
 * @property {number} [ratio] ours / peer
 * @property {number} [goal] largest ratio
 * @property {number} [most] largest value of `ours`
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

  /** @param {{ name: string, ours: number, unit?: string, against?: string, peer?: number, goal?: number, most?: number, details?: Record<string, unknown> }} measured */
  add({ name, ours, unit = 'ms', against, peer, goal, most, details }) {
    const ratio = peer === undefined ? undefined : ours / peer;
    const held = [
      ...(ratio === undefined || goal === undefined ? [] : [ratio <= goal]),
      ...(most === undefined ? [] : [ours <= most]),
    ];
    const met = held.length === 0 ? undefined : !held.includes(false);
    const rounded = (/** @type {number | undefined} */ value) =>
      value === undefined ? undefined : Number(value.toPrecision(4));
    const result = {
      name,
      ours: rounded(ours) ?? NaN,
      unit,
      against,
      peer: rounded(peer),
      ratio: rounded(ratio),
      goal,
      most,
      met,
      details,
    };
    this.#results.push(/** @type {Result} */ (result));
    process.stdout.write(`${JSON.stringify(result)}\n`);
  }

  get allMet() {
    return this.#results.every(({ met }) => met !== false);
  }

  /** Side by side. */
  table() {
    const rows = this.#results.map(({ name, ours, unit, against, peer, ratio, goal, most, met }) => [
      name,
      amount(ours, unit),
      against ?? '',
      peer === undefined ? '' : amount(peer, unit),
      ratio?.toFixed(2) ?? '',
      [goal?.toString(), most === undefined ? undefined : amount(most, unit)]
        .filter((bound) => bound !== undefined)
        .map((bound) => `<= ${bound}`)
        .join(', '),
      met === undefined ? '' : met ? 'yes' : 'NO',
    ]);
    const all = [['what', 'berth', 'against', 'peer', 'ratio', 'goal', 'met'], ...rows];
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

function amount(/** @type {number} */ value, /** @type {string} */ unit) {
  return `${value.toFixed(value < 1 ? 3 : 1)} ${unit}`;
}
