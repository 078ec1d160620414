import type { ListenerReport, PreflightReport } from '../../reload/reports.js';
import { formatPorts, portSet } from '../../model/ports.js';
import { count, indented, shorten, table, type Style } from '../style.js';
import { checkLines, ephemeralText, paragraphs, placeText, runningLines, warningLines, withoutName } from './common.js';

/** First what cannot be served, then what a reload has to work for, then the rest as counts (all of it under --all). */
export function renderPreflight(report: PreflightReport, style: Style): string[] {
  const { listeners, unknown, conflicts } = report;
  const broken = listeners.filter((one) => !one.servable);
  const told = listeners.filter((one) => one.servable && one.verdict.kind === 'unknown');
  const work = listeners.filter((one) => one.servable && !isEasy(one) && one.verdict.kind !== 'unknown');
  const easy = listeners.filter((one) => one.servable && isEasy(one));
  return paragraphs(
    conflicts.map(
      ({ first, second, reason }) =>
        `${style.colour.red('conflict')}  ${first.text} (${first.section}, ${placeText(first.place)}) and ` +
        `${second.text} (${second.section}, ${placeText(second.place)}): ${reason}`,
    ),
    listenerBlock(broken, style.colour.red('cannot'), style),
    listenerBlock(work, style.colour.yellow('needs'), style),
    listenerBlock(told, style.colour.yellow('unknown'), style),
    unknown.map(
      ({ text, section, place, reason }) =>
        `${style.colour.yellow('unknown')}  ${text} (${section}, ${placeText(place)}): ${reason}`,
    ),
    easyLines(easy, style),
    exposedLines(listeners, report, style),
    checkLines(report.check, style),
    warningLines(report.warnings, style),
    report.running === undefined ? [] : runningLines(report.running, style),
    [summary(report, broken.length, work.length, style)],
  );
}

/** Nothing to be done and nobody in the way: free, our own, or harmless. */
function isEasy({ verdict: { kind } }: ListenerReport): boolean {
  return kind === 'free' || kind === 'ours' || kind === 'harmless';
}

/** A block for each listener; on a terminal the first twenty. */
function listenerBlock(group: readonly ListenerReport[], label: string, style: Style): string[] {
  const blocks = group.map((one) => listenerLines(one, label, style).join('\n'));
  return shorten(blocks, style, 20, '');
}

function listenerLines(one: ListenerReport, label: string, style: Style): string[] {
  const { name, section, place } = one;
  const where = [section, placeText(place)].filter((part) => part !== undefined && part !== '').join(', ');
  return [
    `${label}  ${style.colour.bold(name)}${where === '' ? '' : `  ${style.colour.dim(where)}`}`,
    ...indented(withoutName(one.sentence, name).replaceAll('; ', ';\n'), '        '),
  ];
}

function easyLines(easy: readonly ListenerReport[], style: Style): string[] {
  if (easy.length === 0) return [];
  const kept = easy.filter((one) => one.verdict.kind === 'ours');
  const parts = [
    kept.length < easy.length ? `${easy.length - kept.length} free` : '',
    kept.length > 0 ? `${kept.length} kept` : '',
  ].filter((part) => part !== '');
  const head = `${style.colour.green('ok')}  ${count(easy.length, 'listener')}: ${parts.join(', ')}`;
  if (!style.all) return [head];
  const rows = easy.map((one) => [
    one.name,
    one.verdict.kind === 'ours' ? 'kept' : one.verdict.kind,
    one.section ?? '',
    placeText(one.place),
  ]);
  return [head, ...table(rows, '    ')];
}

/** Ports that the kernel may give to an outgoing connection at any moment: the incident in waiting. */
function exposedLines(listeners: readonly ListenerReport[], { ephemeral }: PreflightReport, style: Style): string[] {
  const ports = listeners.flatMap(({ exposed, endpoint }) =>
    exposed && endpoint.kind === 'inet' ? [endpoint.port] : [],
  );
  if (ports.length === 0) return [];
  const list = formatPorts(portSet(ports)).split(',');
  const shown = shorten(list, style, 12, '').join(', ');
  return [
    `${style.colour.yellow('exposed')}  ${count(new Set(ports).size, 'port')} in the ephemeral range ${ephemeral.first}–` +
      `${ephemeral.last} and not reserved; any outgoing connection may take one:`,
    `    ${shown}`,
    '    berth reload reserves them; berth reserve does it now',
  ];
}

function summary(report: PreflightReport, broken: number, work: number, style: Style): string {
  const total = count(report.listeners.length, 'listener');
  const range = ephemeralText(report.ephemeral);
  if (report.ok) {
    const doing = work === 0 ? '' : `, ${work} of them after the work named above`;
    return style.colour.green(`A reload would serve all of ${total}${doing}`) + ` (${range}).`;
  }
  const why =
    broken > 0
      ? `${broken} of ${total} cannot be served`
      : report.conflicts.length > 0
        ? 'binds of this configuration exclude each other'
        : report.check?.ok === false
          ? 'HAProxy refuses this configuration'
          : 'not everything would be served';
  return style.colour.red(`Not ready: ${why}`) + ` (${range}).`;
}
