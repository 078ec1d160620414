/** The plots of the curves: logarithmic axes, readable in light and dark, with no script in them. */

/** @typedef {{ name: string, points: [number, number][] }} Series */
/** @typedef {{ title: string, x: string, y: string, series: Series[] }} Chart */

const [WIDTH, HEIGHT] = [860, 460];
const PLOT = { left: 64, top: 44, right: 640, bottom: 404 };
const LABEL_GAP = 17;
const UNITS = { listeners: 'ms', snapshot: 'ms', connections: 'ms', generations: 'ms', disk: 'KiB' };

/** @type {Record<string, { title: string, x: string }>} */
const TITLES = {
  listeners: { title: 'One new listener beside those that stay', x: 'listeners' },
  snapshot: { title: 'Every TCP socket of the host', x: 'sockets' },
  connections: { title: 'Looking at 2000 listeners and ports', x: 'connections on the host' },
  generations: { title: 'With old generations kept', x: 'generations' },
  disk: { title: 'State directory, 100 listeners', x: 'generations' },
};

/** One SVG for each chart that there are points of. @returns {Record<string, string>} */
export function charts(/** @type {import('./results.mjs').Results} */ { parts }) {
  const points = Object.values(parts).flatMap((part) => part.points);
  const found = Object.entries(TITLES).filter(([name]) => points.some(({ chart }) => chart === name));
  return Object.fromEntries(
    found.map(([name, { title, x }]) => {
      const own = points.filter(({ chart }) => chart === name);
      const names = [...new Set(own.map(({ contestant }) => contestant))];
      const series = names.map((contestant) => ({
        name: contestant,
        points: own
          .filter((point) => point.contestant === contestant)
          .map((point) => /** @type {[number, number]} */ ([point.x, point.y]))
          .sort(([one], [other]) => one - other),
      }));
      return [name, svg({ title, x, y: UNITS[/** @type {keyof typeof UNITS} */ (name)], series })];
    }),
  );
}

/** @param {Chart} chart */
export function svg({ title, x, y, series }) {
  const all = series.flatMap(({ points }) => points);
  const across = axis(
    all.map(([value]) => value),
    [PLOT.left, PLOT.right],
  );
  const up = axis(
    all.map(([, value]) => value),
    [PLOT.bottom, PLOT.top],
  );
  const body = [
    `<rect class="paper" width="${WIDTH}" height="${HEIGHT}"/>`,
    `<text class="title" x="${PLOT.left}" y="24">${escaped(title)}</text>`,
    ...up.ticks.map(
      ({ at, text }) =>
        `<path class="grid" d="M${PLOT.left} ${at}H${PLOT.right}"/>${label(PLOT.left - 8, at + 4, text, 'end')}`,
    ),
    ...across.ticks.map(
      ({ at, text }) =>
        `<path class="grid" d="M${at} ${PLOT.top}V${PLOT.bottom}"/>${label(at, PLOT.bottom + 18, text, 'middle')}`,
    ),
    label((PLOT.left + PLOT.right) / 2, PLOT.bottom + 40, x, 'middle'),
    label(PLOT.left - 8, PLOT.top - 8, y, 'end'),
    ...series.map(({ points }, index) =>
      line(
        points.map(([a, b]) => [across.place(a), up.place(b)]),
        index,
      ),
    ),
    ...labels(series, up),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(title)}">
<style>${STYLE}</style>
${body.join('\n')}
</svg>
`;
}

/** Name of each line at its end, in the order of the ends, none on another. @param {Series[]} series @param {Axis} up */
function labels(series, up) {
  const ends = series
    .map(({ name, points }, index) => ({ name, index, at: up.place(points.at(-1)?.[1] ?? 1) }))
    .sort((one, other) => one.at - other.at);
  let free = PLOT.top;
  for (const end of ends) free = (end.at = Math.max(end.at, free)) + LABEL_GAP;
  const over = Math.max(0, free - LABEL_GAP - PLOT.bottom);
  return ends.map(
    ({ name, index, at }) =>
      `<g class="s${index}">${marker(PLOT.right + 18, at - over, index)}</g>${label(PLOT.right + 30, at - over + 4, name, 'start')}`,
  );
}

/** @param {number[][]} places @param {number} index */
function line(places, index) {
  const path = places.map(([a, b], at) => `${at === 0 ? 'M' : 'L'}${a} ${b}`).join('');
  return `<g class="s${index}"><path class="line" d="${path}"/>${places.map(([a = 0, b = 0]) => marker(a, b, index)).join('')}</g>`;
}

/** A shape for each line, for those who do not tell the colours apart. @param {number} a @param {number} b @param {number} index */
function marker(a, b, index) {
  const shapes = [
    `<circle cx="${a}" cy="${b}" r="4"/>`,
    `<path d="M${a - 4} ${b - 4}h8v8h-8z"/>`,
    `<path d="M${a} ${b - 5}l5 9h-10z"/>`,
    `<path d="M${a} ${b - 5}l5 5l-5 5l-5 -5z"/>`,
  ];
  return shapes[index % shapes.length] ?? '';
}

/** @typedef {{ place: (value: number) => number, ticks: { at: number, text: string }[] }} Axis */

/**
 * Decades from the smallest value to the largest; zero has a place of its own before them.
 * @param {number[]} values @param {[number, number]} span
 * @returns {Axis}
 */
function axis(values, [from, to]) {
  const positive = values.filter((value) => value > 0);
  const zero = positive.length < values.length;
  const low = Math.floor(Math.log10(Math.min(...positive)) + 1e-9);
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...positive)) - 1e-9));
  const first = zero ? low - 1 : low;
  const scale = (/** @type {number} */ exponent) =>
    Math.round((from + ((exponent - first) / (high - first)) * (to - from)) * 10) / 10;
  const decades = Array.from({ length: high - low + 1 }, (_, index) => low + index);
  return {
    place: (value) => scale(value > 0 ? Math.log10(value) : first),
    ticks: [
      ...(zero ? [{ at: scale(first), text: '0' }] : []),
      ...decades.map((exponent) => ({ at: scale(exponent), text: short(10 ** exponent) })),
    ],
  };
}

const short = (/** @type {number} */ value) =>
  value >= 1e6 ? `${value / 1e6}M` : value >= 1e3 ? `${value / 1e3}k` : String(Number(value.toPrecision(3)));

const label = (
  /** @type {number} */ a,
  /** @type {number} */ b,
  /** @type {string} */ text,
  /** @type {string} */ anchor,
) => `<text x="${a}" y="${b}" text-anchor="${anchor}">${escaped(text)}</text>`;

const escaped = (/** @type {string} */ text) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');

const COLOURS = ['#0b62c4', '#d1495b', '#2a8c4a', '#b36b00', '#7a3fb0', '#00858a', '#6b6b6b', '#a83279'];
const AT_NIGHT = ['#6cb2ff', '#ff8a99', '#6fd48d', '#ffb454', '#c79bff', '#54d6da', '#b5b5b5', '#ff8fd0'];
const colours = (/** @type {string[]} */ list) => list.map((colour, index) => `.s${index}{color:${colour}}`).join('');
const STYLE =
  'text{font:13px system-ui,sans-serif;fill:#222}.title{font-size:16px;font-weight:600}.paper{fill:#fff}.grid{stroke:#ddd}' +
  `.line{fill:none;stroke:currentColor;stroke-width:2}g{fill:currentColor}${colours(COLOURS)}` +
  `@media(prefers-color-scheme:dark){text{fill:#ddd}.paper{fill:#0d1117}.grid{stroke:#30363d}${colours(AT_NIGHT)}}`;
