/** The one table at the end, and what `--keep` leaves. */

/** @typedef {any} Result what replay.mjs sends */

const number = (/** @type {number} */ value) => Math.round(value).toLocaleString('en').replaceAll(',', ' ');
const seconds = (/** @type {number} */ value) => `${value.toFixed(2)} s`;

/** @type {[string, (result: Result) => string][]} */
const ROWS = [
  ['reload took', (r) => `${seconds(r.reload.seconds)}, ${r.reload.reportedServed ? 'succeeded' : 'failed'}`],
  ['watched for', (r) => `${seconds(r.watched.seconds)} (${number(r.watched.samples)} samples)`],
  ['listeners down, at the worst', (r) => `${number(r.down.worst)} of ${number(r.listeners)}`],
  ['listeners down × time', (r) => `${number(r.down.listenerSeconds)} listener-seconds`],
  ['listeners down at the end', (r) => number(r.down.atEnd)],
  ['connections made', (r) => number(r.connections.attempted)],
  ['  refused', (r) => number(r.connections.refused)],
  ['  cut', (r) => `${number(r.connections.cut)} short, ${r.connections.heldLost} of ${r.connections.held} long`],
  ['  without an answer in 3 s', (r) => number(r.connections.hung)],
  ['  slowest answer', (r) => `${number(r.connections.slowestMs)} ms`],
  [
    'the new listener',
    (r) =>
      r.fresh.served
        ? `serves${r.fresh.afterSeconds === null ? '' : `, after ${seconds(r.fresh.afterSeconds)}`}`
        : 'does not serve',
  ],
  ['the connection on its port', (r) => (r.seeded.alive ? 'still carries data' : `lost (${r.seeded.why ?? 'silent'})`)],
];

const NAMES = { lbagent: "lbagent's own reload", berth: 'berth reload' };

/** @returns {string[][]} first row: the headings */
function cells(/** @type {Result[]} */ results) {
  const head = ['', ...results.map((result) => NAMES[/** @type {'lbagent' | 'berth'} */ (result.how)])];
  return [head, ...ROWS.map(([title, cell]) => [title, ...results.map(cell)])];
}

export function table(/** @type {Result[]} */ results) {
  const rows = cells(results);
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const line = (/** @type {string[]} */ row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('   ')
      .trimEnd();
  const rule = widths.map((width) => '─'.repeat(width)).join('   ');
  return [line(rows[0] ?? []), rule, ...rows.slice(1).map(line)].join('\n');
}

export function markdown(/** @type {Result[]} */ results) {
  const [head = [], ...rows] = cells(results);
  const line = (/** @type {string[]} */ row) => `| ${row.map((cell) => cell.trim()).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line), ''].join('\n');
}

/** What stands between a replay and "nobody noticed"; empty where nothing does. */
export function faults(/** @type {Result} */ result) {
  const { connections, down, fresh, seeded } = result;
  return [
    ...(result.reload.reportedServed ? [] : ['the reload failed']),
    ...(down.listenerSeconds > 0 ? [`${number(down.worst)} listeners were down`] : []),
    ...(connections.refused > 0 ? [`${connections.refused} connections were refused`] : []),
    ...(connections.cut + connections.heldLost > 0
      ? [`${connections.cut + connections.heldLost} connections were cut`]
      : []),
    ...(connections.hung > 0 ? [`${connections.hung} connections got no answer`] : []),
    ...(fresh.served ? [] : ['the new listener does not serve']),
    ...(seeded.alive ? [] : ['the connection on its port was lost']),
  ];
}
