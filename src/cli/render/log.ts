/** A line of the agent's log for a terminal. */
import type { LogRecord } from '../../agent/log.js';
import { duration, indented, localTime, type Style } from '../style.js';

/** `14:02:31  warn   web  generation 18 serves 1999 listeners, 1 left out  (182 ms)` */
export function renderLogLine(raw: LogRecord, style: Style): string {
  const { time, level, instance, message, ...fields } = style.printable(raw);
  const { colour } = style;
  const colours = { error: colour.red, warn: colour.yellow, info: colour.green, debug: colour.dim, trace: colour.dim };
  const whose = instance === undefined || instance === 'default' ? '' : `${colour.bold(instance)}  `;
  const took = typeof fields['ms'] === 'number' ? colour.dim(`  (${duration(fields['ms'])})`) : '';
  // What HAProxy says has many lines: only the first stands at the margin, so that no text can pass for a line of its own.
  const [first = '', ...rest] = message.split('\n');
  const advice = adviceOf(fields['error']);
  return [
    `${colour.dim(localTime(time).slice(-8))}  ${colours[level](level.padEnd(5))}  ${whose}${first}${took}`,
    ...rest.flatMap((text) => indented(text, MARGIN)),
    ...(advice === undefined ? [] : [`${MARGIN}→ ${advice}`]),
  ].join('\n');
}

const MARGIN = ' '.repeat(17);

function adviceOf(error: unknown): string | undefined {
  const advice = typeof error === 'object' && error !== null && 'advice' in error ? error.advice : undefined;
  return typeof advice === 'string' ? advice : undefined;
}
