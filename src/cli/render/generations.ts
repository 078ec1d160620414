import type { DiffReport, GenerationReport, HistoryReport } from '../../reload/reports.js';
import { count, localTime, table, type Style } from '../style.js';
import { paragraphs } from './common.js';

/** Newest first; `*` serves, `+` is the last good one. */
export function renderHistory({ generations }: HistoryReport, style: Style): string[] {
  if (generations.length === 0) return ['No generation yet; berth reload makes the first.'];
  const newestFirst = [...generations].sort((a, b) => b.number - a.number);
  const rows = newestFirst.map((one) => [
    `${mark(one)} ${one.number}`,
    localTime(one.createdAt),
    stateText(one, style),
    String(one.listeners),
    one.quarantined.length === 0 ? '-' : style.colour.yellow(String(one.quarantined.length)),
    one.reason ?? one.sources.join(' '),
  ]);
  const head = ['  NUMBER', 'CREATED', 'STATE', 'LISTENERS', 'LEFT OUT', 'SOURCES OR REASON'];
  return [
    ...table([head.map((title) => style.colour.bold(title)), ...rows]),
    '',
    style.colour.dim('* serves   + last good one'),
  ];
}

function mark({ serving, lastGood }: GenerationReport): string {
  return serving ? '*' : lastGood ? '+' : ' ';
}

function stateText({ state, serving }: GenerationReport, { colour }: Style): string {
  if (serving) return colour.green(state);
  return state === 'failed' ? colour.red(state) : state;
}

export function renderDiff({ from, to, files, listeners }: DiffReport, style: Style): string[] {
  const { colour } = style;
  const { added, removed, changed } = listeners;
  if (files.length + added.length + removed.length + changed.length === 0) {
    return [`Generations ${from} and ${to} are the same.`];
  }
  return paragraphs(
    [
      `Generation ${from} to ${to}: ${count(files.length, 'file')} changed, ` +
        `${count(added.length, 'listener')} added, ${removed.length} removed, ${changed.length} moved`,
      ...removed.map((name) => colour.red(`- ${name}`)),
      ...added.map((name) => colour.green(`+ ${name}`)),
      ...changed.map((one) => colour.yellow(`~ ${one.endpoint}: ${one.from} → ${one.to}`)),
    ],
    ...files.map(({ file, change, patch }) => [colour.bold(`${change} ${file}`), ...patchLines(patch, style)]),
  );
}

function patchLines(patch: string, { colour }: Style): string[] {
  return patch
    .replace(/\n$/, '')
    .split('\n')
    .map((line) => {
      if (line.startsWith('@@')) return colour.cyan(line);
      if (line.startsWith('+')) return colour.green(line);
      if (line.startsWith('-')) return colour.red(line);
      return line;
    });
}
