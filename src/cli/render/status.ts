import type {
  AgentReport,
  AttemptReport,
  DoctorReport,
  Finding,
  ReservationsReport,
  ReserveReport,
  StatusReport,
} from '../../reload/reports.js';
import { count, localTime, shorten, type Style } from '../style.js';
import { ephemeralText, paragraphs, portsText, runningLines } from './common.js';

export function renderStatus(report: StatusReport, style: Style): string[] {
  const { colour } = style;
  const { listeners, generation, quarantined, unfinished, lock } = report;
  const named = (label: string, names: readonly string[]) =>
    shorten(
      names.map((name) => `${label}  ${name}`),
      style,
      10,
      '',
    );
  return paragraphs(
    [report.ok ? colour.green(verdict(report)) : colour.red(verdict(report))],
    [
      ...runningLines(report.running, style),
      generation === undefined
        ? 'No generation of Berth serves.'
        : `Generation ${generation.number}, ${localTime(generation.createdAt)}: ${generation.sources.join(' ')}`,
    ],
    [
      ...named(colour.red('missing'), listeners.missing),
      ...named(colour.yellow('extra'), listeners.extra),
      ...named(colour.yellow('quarantined'), quarantined),
    ],
    renderReservations(report.reservations, style),
    [
      ...(unfinished === undefined
        ? []
        : [`${colour.yellow('unfinished')}  ${unfinished}; the next reload recovers it`]),
      ...(lock === undefined ? [] : [`working  process ${lock.pid}: ${lock.doing}`]),
    ],
    report.lastAttempt ? attemptLines(report.lastAttempt, style) : [],
    report.agent ? agentLines(report.agent, style) : [],
  );
}

/** Nothing where it went as asked: the generation says so. */
function attemptLines({ at, error, instead, sources }: AttemptReport, { colour }: Style): string[] {
  if (!error) return [];
  const serves = instead === undefined ? 'what served before serves on' : `generation ${instead} serves instead`;
  return [
    `${colour.red('failed')}   ${localTime(at)}: ${sources.join(' ')}; ${serves}`,
    `         ${error.message}`,
    `         ${error.advice} (${error.code}, step ${error.step})`,
  ];
}

function agentLines(
  { version, pid, startedAt, instance, phase, doing, problems }: AgentReport,
  style: Style,
): string[] {
  return [
    `agent    ${version}, process ${pid}, since ${localTime(startedAt)}, instance ${instance}: ${doing ?? phase}`,
    ...problems.map((problem) => `${style.colour.red('problem')}  ${problem}`),
  ];
}

function verdict({ ok, listeners, generation }: StatusReport): string {
  const served = `${listeners.served} of ${count(listeners.wanted, 'listener')} served`;
  if (generation === undefined) return ok ? served : `Nothing that Berth started serves; ${served}`;
  return ok ? `${served}, each in LISTEN and owned by the running HAProxy` : served;
}

export function renderReservations(report: ReservationsReport, style: Style): string[] {
  const lines = [
    ephemeralText(report.ephemeral),
    `ours     ${portsText(report.ours, style)}`,
    `foreign  ${portsText(report.foreign, style)}`,
  ];
  if (report.lost !== '') {
    lines.push(
      `${style.colour.red('lost')}     ${portsText(report.lost, style)}`,
      '         reserved by Berth, and overwritten by somebody since; berth reserve or berth reload reserves them again',
    );
  }
  return lines;
}

export function renderReserve(report: ReserveReport, style: Style): string[] {
  const { added, removed } = report;
  const done = [
    ...(added === '' ? [] : [style.colour.green(`reserved ${portsText(added, style)}`)]),
    ...(removed === '' ? [] : [style.colour.green(`released ${portsText(removed, style)}`)]),
  ];
  return paragraphs(done.length > 0 ? done : ['Nothing to change.'], renderReservations(report, style));
}

/** Problems first; what is in order is one line each. */
export function renderDoctor({ ok, findings }: DoctorReport, style: Style): string[] {
  const { colour } = style;
  const colours = { problem: colour.red, warning: colour.yellow, note: colour.cyan, ok: colour.green };
  const levels: readonly Finding['level'][] = ['problem', 'warning', 'note', 'ok'];
  const blocks = levels.map((level) =>
    findings
      .filter((finding) => finding.level === level)
      .flatMap(({ title, facts, advice, id }) => [
        `${colours[level](level.padEnd(7))}  ${title}  ${colour.dim(id)}`,
        ...(level === 'ok' && !style.all ? [] : facts.map((fact) => `         ${fact}`)),
        ...(advice === undefined ? [] : [`         → ${advice}`]),
      ]),
  );
  const problems = findings.filter(({ level }) => level === 'problem').length;
  const end = ok ? colour.green('No problem found.') : colour.red(`${count(problems, 'problem')} found.`);
  return paragraphs(...blocks, [end]);
}
