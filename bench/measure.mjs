/** What a part of the bench measures with: contestants taken in turn, medians, one JSON line for each thing found. */
import process from 'node:process';

/**
 * A figure, and the peer's that it stands beside.
 * @typedef {object} Row
 * @property {string} name
 * @property {number} ours
 * @property {string} unit of `ours` and `peer`: milliseconds, where nothing else is said
 * @property {string} [against] what the peer is
 * @property {number} [peer]
 * @property {number} [ratio] ours / peer
 * @property {number} [goal] largest ratio
 * @property {number} [most] largest value of `ours`
 * @property {boolean} [met] absent where there is no goal
 * @property {number} [rounds] counted ones, of which these are the medians
 * @property {Record<string, unknown>} [details]
 *
 * A point of a curve.
 * @typedef {{ chart: string, contestant: string, x: number, y: number }} Point
 *
 * What a contestant said of a port, and what HAProxy found. `cannot`: it cannot be asked that.
 * @typedef {{ holder: string, contestant: string, said: 'free' | 'busy' | 'cannot', truth: 'free' | 'busy' }} Answer
 *
 * What a part prints, a line each.
 * @typedef {{ row: Row } | { point: Point } | { answer: Answer }} Finding
 */

export function median(/** @type {readonly number[]} */ values) {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  const [low = NaN, high = NaN] = [sorted[sorted.length % 2 ? middle : middle - 1], sorted[middle]];
  return (low + high) / 2;
}

const rounded = (/** @type {number} */ value) => Number(value.toPrecision(4));

/** What a part is given. */
export class Bench {
  #until = 0;

  /**
   * @param {{ baseline: string, directory: string, haproxy: string, rounds: number, short: boolean }} options
   *   `baseline`: path of the program of baseline.c; `directory`: for files; `short`: a smoke, whose figures mean nothing
   */
  constructor({ baseline, directory, haproxy, rounds, short }) {
    this.baseline = baseline;
    this.directory = directory;
    this.haproxy = haproxy;
    this.rounds = rounds;
    this.short = short;
  }

  /** From now on no round begins after so many seconds, but the first one of each measurement. */
  within(/** @type {number} */ seconds) {
    this.#until = performance.now() + seconds * 1000;
  }

  get inTime() {
    return performance.now() < this.#until;
  }

  /** How many: of listeners, ports, connections. @template T @param {T} full @param {T} short */
  amount(full, short) {
    return this.short ? short : full;
  }

  /**
   * Milliseconds of several contestants, round by round in turn and in changing order, so that what else the machine does
   * meets all of them alike. One round before the first is not counted.
   * @template {string} Name
   * @param {Record<Name, (round: number) => Promise<number>>} contestants
   * @param {number} [rounds]
   * @returns {Promise<Record<Name, number[]>>}
   */
  async inTurn(contestants, rounds = this.rounds) {
    const names = /** @type {Name[]} */ (Object.keys(contestants));
    const times = /** @type {Record<Name, number[]>} */ ({});
    for (const name of names) times[name] = [];
    for (let round = this.short ? 1 : 0; round <= rounds && (round < 2 || this.inTime); round++) {
      const order = round % 2 ? names : [...names].reverse();
      for (const name of order) {
        const took = await contestants[name](round);
        if (round > 0) times[name].push(took);
      }
    }
    return times;
  }

  /**
   * @param {{ name: string, ours: number | readonly number[], unit?: string, against?: string,
   *   peer?: number | readonly number[], goal?: number, most?: number, details?: Record<string, unknown> }} measured
   *   many values: their median counts
   */
  row({ name, ours, unit = 'ms', against, peer, goal, most, details }) {
    const [mine, theirs] = [ours, peer].map((value) => (typeof value === 'object' ? median(value) : value));
    if (mine === undefined) throw new Error(`${name} has no value`);
    const ratio = theirs === undefined ? undefined : mine / theirs;
    const held = [
      ...(ratio === undefined || goal === undefined ? [] : [ratio <= goal]),
      ...(most === undefined ? [] : [mine <= most]),
    ];
    /** @type {Row} */
    const row = {
      name,
      ours: rounded(mine),
      unit,
      ...(against === undefined ? {} : { against }),
      ...(theirs === undefined || ratio === undefined ? {} : { peer: rounded(theirs), ratio: rounded(ratio) }),
      ...(goal === undefined ? {} : { goal }),
      ...(most === undefined ? {} : { most: rounded(most) }),
      ...(held.length === 0 ? {} : { met: !held.includes(false) }),
      ...(typeof ours === 'object' ? { rounds: ours.length } : {}),
      ...(details === undefined ? {} : { details }),
    };
    say({ row });
  }

  /** @param {string} chart @param {number} x @param {Record<string, number | readonly number[]>} values of the contestants */
  points(chart, x, values) {
    for (const [contestant, value] of Object.entries(values)) {
      say({ point: { chart, contestant, x, y: rounded(typeof value === 'object' ? median(value) : value) } });
    }
  }

  answer(/** @type {Answer} */ answer) {
    say({ answer });
  }
}

function say(/** @type {Finding} */ finding) {
  process.stdout.write(`${JSON.stringify(finding)}\n`);
}
