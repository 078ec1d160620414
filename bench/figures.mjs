/** The promises of the bench, as lines of the report: the shape is that of test/support/figures.ts. */
import { appendFileSync } from 'node:fs';

/** @typedef {import('./results.mjs').Results} Results */

/** A promise is kept where every goal of its parts is met and every answer was right. */
const PROMISES = /** @type {const} */ ([
  {
    name: 'answers',
    promise: 'Asked whether HAProxy can have a port, Berth says what HAProxy then finds, whatever holds it.',
    parts: ['peers'],
  },
  {
    name: 'ports',
    promise:
      'A test bind or a guard costs hardly more than the system calls it is made of, however many connections stand.',
    parts: ['probe'],
  },
  {
    name: 'tables',
    promise: "Berth has every socket of the host before ss could, and HAProxy's configuration before HAProxy.",
    parts: ['tables', 'read'],
  },
  {
    name: 'conflict',
    promise:
      "A new listener on the port of one of HAProxy's own connections is served by the next reload, and so are all others.",
    parts: ['conflict'],
  },
  { name: 'reload', promise: "A reload costs at most 1.3 times HAProxy's own.", parts: ['reload'] },
  {
    name: 'agent',
    promise:
      'The agent answers within 10 ms, applies a change in 1.5 times the time of a bare reload, and hardly shows when idle.',
    parts: ['preflight', 'restart', 'change', 'rest'],
  },
]);

/** Append what becomes of each promise whose parts ran. */
export function report(/** @type {string} */ file, /** @type {Results} */ { about, parts }) {
  for (const { name, promise, parts: names } of PROMISES) {
    const ran = names.flatMap((part) => parts[part] ?? []);
    if (ran.length === 0) continue;
    const failures = ran.flatMap(({ failure }) => failure ?? []);
    const bound = ran.flatMap(({ rows }) => rows).filter(({ met }) => met !== undefined);
    const answers = ran.flatMap((part) => part.answers).filter(({ contestant }) => contestant === 'berth');
    const right = answers.filter(({ said, truth }) => said === truth).length;
    const met = bound.filter((row) => row.met).length;
    const figure = [
      ...(answers.length > 0 ? [`${right} of ${answers.length} answers right`] : []),
      ...(bound.length > 0 ? [`${met} of ${bound.length} goals met`] : []),
      ...bound.map(
        (row) =>
          `${row.name}: ${row.ratio === undefined || row.goal === undefined ? `${row.ours} ${row.unit}` : `${row.ratio.toFixed(2)} ×`}`,
      ),
      ...failures,
    ];
    const line = {
      part: 'speed',
      name,
      promise,
      figure: figure.join('; '),
      kept: failures.length === 0 && met === bound.length && right === answers.length,
      haproxy: [about.versions.haproxy],
      form: about.form,
      test: 'bench/main.mjs',
      date: ran[0]?.date ?? about.date,
      kernel: about.versions.kernel,
      node: about.versions.node,
    };
    appendFileSync(file, `${JSON.stringify(line)}\n`);
  }
}
