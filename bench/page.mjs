/** Results for people: the table at the end of a run, and the figures in docs/speed.md, between its markers. */

/** @typedef {import('./results.mjs').Results} Results */
/** @typedef {import('./measure.mjs').Row} Row */

const HEAD = ['what', 'berth', 'against', 'peer', 'ratio', 'goal', 'met'];

/** All rows, side by side. */
export function table(/** @type {Results} */ { parts }) {
  const rows = Object.values(parts).flatMap(({ rows }) => rows.map(cells));
  const all = [HEAD, ...rows];
  const widths = HEAD.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const padded = (/** @type {string[]} */ row) =>
    row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ');
  return all.map((row) => padded(row).trimEnd()).join('\n');
}

function cells(/** @type {Row} */ { name, ours, unit, against, peer, ratio, goal, most, met }) {
  const bounds = [goal?.toString(), most === undefined ? undefined : amount(most, unit)];
  return [
    name,
    amount(ours, unit),
    against ?? '',
    peer === undefined ? '' : amount(peer, unit),
    ratio === undefined ? '' : ratio.toPrecision(ratio < 1 ? 2 : 3),
    bounds
      .filter((bound) => bound !== undefined)
      .map((bound) => `≤ ${bound}`)
      .join(', '),
    met === undefined ? '' : met ? 'yes' : '**no**',
  ];
}

function amount(/** @type {number} */ value, unit = 'ms') {
  return `${value < 1 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0)} ${unit}`.trim();
}

/** The text with the figures of these results between its markers, `<!-- figures: NAME -->` and `<!-- end -->`. */
export function speedPage(/** @type {string} */ text, /** @type {Results} */ results) {
  return text.replaceAll(/(<!-- figures: (.+?) -->\n)[^]*?(<!-- end -->)/g, (_, begin, name, end) => {
    const [what = '', ...of] = String(name).split(' ');
    const made = REGIONS[what];
    if (!made) throw new Error(`speed.md asks for figures that nobody makes: ${name}`);
    return `${begin}\n${made(results, of)}\n\n${end}`;
  });
}

/** @type {Record<string, (results: Results, parts: string[]) => string>} */
const REGIONS = {
  machine: ({ about: { date, machine, versions }, parts }) => {
    const loads = Object.values(parts).map(({ load }) => load);
    const failures = Object.entries(parts).filter(([, { failure }]) => failure !== undefined);
    return [
      `${date.slice(0, 10)}, Linux ${versions.kernel}, ${machine.cpus} CPUs (${machine.model.trim()}), ${machine.memory}, HAProxy ${versions.haproxy},`,
      `Node ${versions.node}, iproute2 ${versions.iproute2}; load of the machine when the parts began: ${Math.min(...loads)} to ${Math.max(...loads)}.`,
      ...(failures.length === 0
        ? []
        : [`\n**Did not finish:** ${failures.map(([name, { failure }]) => `${name} (${failure})`).join(', ')}.`]),
    ].join('\n');
  },
  conflict: ({ parts: { conflict } }) => {
    const named = (conflict?.rows ?? []).filter(({ details }) => details !== undefined);
    const rows = named.map(({ name, ours, details }) => [
      `\`${name.split(': ')[1]}\``,
      amount(ours),
      `${details?.['served afterwards']} of ${details?.['listeners wanted']}`,
    ]);
    return markdown(['', 'takes', 'listeners served afterwards'], rows);
  },
  rows: (results, of) =>
    markdown(
      HEAD,
      of.flatMap((part) => results.parts[part]?.rows.map(cells) ?? []),
    ),
  phases: (results, of) => {
    const rows = of.flatMap((part) => results.parts[part]?.rows ?? []).filter(({ details }) => details?.['phases']);
    const named = rows.map(({ name, details }) => {
      const phases = /** @type {Record<string, number>} */ (details?.['phases']);
      return `- ${name}, in milliseconds: ${Object.entries(phases)
        .map(([phase, ms]) => `${phase} ${ms.toFixed(0)}`)
        .join(', ')}.`;
    });
    return named.join('\n');
  },
  checking: ({ parts: { peers } }) => {
    const counts = [...new Set(peers?.rows.map(({ name }) => name.split(': ')[0] ?? ''))];
    const names = [...new Set(peers?.rows.map(({ name }) => name.split(': ')[1] ?? ''))];
    const time = (/** @type {string} */ count, /** @type {string} */ name) =>
      amount(peers?.rows.find((row) => row.name === `${count}: ${name}`)?.ours ?? NaN);
    const rows = names.map((name) => [
      `\`${name}\``,
      ...counts.map((count) => time(count, name)),
      rightness(peers?.answers ?? [], name),
    ]);
    return markdown(['', ...counts, 'right answers'], rows);
  },
  answers: ({ parts: { peers } }) => {
    const answers = peers?.answers ?? [];
    const names = [...new Set(answers.map(({ contestant }) => contestant))];
    const rows = [...new Set(answers.map(({ holder }) => holder))].map((holder) => {
      const own = answers.filter((answer) => answer.holder === holder);
      const said = (/** @type {string} */ name) => {
        const answer = own.find(({ contestant }) => contestant === name);
        if (!answer || answer.said === 'cannot') return '–';
        return answer.said === answer.truth ? answer.said : `**${answer.said}**`;
      };
      return [holder, own[0]?.truth ?? '', ...names.map(said)];
    });
    return markdown(['port held by', 'HAProxy', ...names.map((name) => `\`${name}\``)], rows);
  },
  limits: (results) => {
    const all = Object.values(results.parts).flatMap(({ rows }) => rows);
    const rows = LIMITS.flatMap(([row, limit, detail]) => {
      const found = all.find(({ name }) => name.startsWith(row));
      const least = detail === undefined ? found?.peer : Number(found?.details?.[detail]);
      if (!found || least === undefined) return [];
      return [[found.name, limit, amount(least), amount(found.ours), `${(found.ours / least).toFixed(1)} ×`]];
    });
    return markdown(['path', 'the limit', 'takes', 'Berth', 'which is'], rows);
  },
};

/** Row whose time it is, what it cannot be faster than, and where that was measured, if not as its peer. */
const LIMITS = /** @type {readonly [string, string, string?][]} */ ([
  ['probe and guard 60000', 'the kernel: `socket`, `bind`, two `setsockopt`, `close` for each port'],
  ['snapshot of', "the kernel's walk over its table, told to nobody", 'the kernel alone'],
  ['verify', "the kernel's walk over its listeners, told to nobody", 'the kernel alone'],
  ['read', "HAProxy's own parse, which does more"],
  ['… by the library', "HAProxy's parse twice and its start"],
  ['berth --version', "Node's own start"],
  ['rename to commit', "HAProxy's parse, once, and its start"],
]);

function rightness(/** @type {readonly import('./measure.mjs').Answer[]} */ answers, /** @type {string} */ name) {
  const own = answers.filter(({ contestant }) => contestant === (name === 'berth preflight' ? 'berth' : name));
  return `${own.filter(({ said, truth }) => said === truth).length} of ${own.length}`;
}

export function markdown(/** @type {readonly string[]} */ head, /** @type {readonly (readonly string[])[]} */ rows) {
  if (rows.length === 0) return 'Not measured by the last run.';
  const line = (/** @type {readonly string[]} */ row) => `| ${row.join(' | ')} |`;
  return [line(head), line(head.map((_, column) => (column === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}
