import type { RecoveryReport, ReloadReport } from '../../reload/reports.js';
import { count, duration, shorten, type Style } from '../style.js';
import { paragraphs, phasesText, placeText, portsText, warningLines, withoutName } from './common.js';

export function renderReload(report: ReloadReport, style: Style): string[] {
  const { colour } = style;
  const worked = report.secured.filter(({ action }) => action !== 'guard');
  return paragraphs(
    report.recovery === undefined ? [] : recoveryLines(report.recovery),
    shorten(
      worked.map(
        ({ action, name, sentence }) =>
          `${colour.yellow(action.padEnd(7))}  ${sentence.startsWith(name) ? sentence : `${name} ${sentence}`}`,
      ),
      style,
    ),
    report.quarantined.flatMap(({ name, section, place, sentence }) => [
      `${colour.red('quarantined')}  ${colour.bold(name)}  ${colour.dim(`${section}, ${placeText(place)}`)}`,
      `             ${withoutName(sentence, name)}`,
    ]),
    report.repairs.map((repair) => `${colour.yellow('repaired')}  ${repair}`),
    warningLines(report.warnings, style),
    report.insteadOf
      ? [
          colour.red(`${report.insteadOf.sources.join(' ')} cannot be served: ${report.insteadOf.error.message}`),
          `${report.insteadOf.error.advice} (${report.insteadOf.error.code}). Nothing served, so the last good generation does.`,
        ]
      : [],
    [summary(report, style), ...facts(report, style)],
  );
}

function summary({ outcome, generation, listeners, quarantined }: ReloadReport, { colour }: Style): string {
  const served = `Generation ${generation} serves ${count(listeners.served, 'listener')}`;
  const parts = `${listeners.kept} kept, ${listeners.opened} opened, ${listeners.closed} closed`;
  if (outcome === 'served') return `${colour.green(served)}: ${parts}.`;
  return (
    colour.yellow(`${served}; ${quarantined.length} left out`) + `: ${parts}. The next reload takes them up again.`
  );
}

function facts(report: ReloadReport, style: Style): string[] {
  const { haproxy, listeners, mode, previous, reserved, phases } = report;
  const old = haproxy.oldPid === undefined ? 'no HAProxy ran before' : `process ${haproxy.oldPid} drains`;
  const before = previous === undefined ? '' : `, generation ${previous} before it`;
  const lines = [`HAProxy ${haproxy.version}, process ${haproxy.pid} (${mode}); ${old}${before}`];
  if (listeners.kept > 0) {
    lines.push(`${listeners.sameSocket} of ${count(listeners.kept, 'kept listener')} stayed on the very same socket`);
  }
  if (reserved.added !== '') lines.push(`reserved ${portsText(reserved.added, style)}`);
  if (reserved.removed !== '') lines.push(`released ${portsText(reserved.removed, style)}`);
  const total = phases.reduce((sum, { ms }) => sum + ms, 0);
  if (phases.length > 0) lines.push(`${duration(total)}: ${phasesText(phases)}`);
  return lines.map((line) => style.colour.dim(`  ${line}`));
}

function recoveryLines({ found, direction, done, generation }: RecoveryReport): string[] {
  const words = { back: 'went back', forward: 'finished it', nothing: 'there was nothing to undo' };
  const which = generation === undefined ? '' : ` (generation ${generation})`;
  return [`recovered  ${found}; ${words[direction]}${which}`, ...done.map((step) => `    ${step}`)];
}
