import { formatEndpoint } from '../../model/endpoint.js';
import type { Action, Plan, SecureStep } from '../../model/plan.js';
import type { PlanReport } from '../../reload/reports.js';
import { percent, shorten, table, type Style } from '../style.js';
import { checkLines, ephemeralText, paragraphs, placeText, portsText, runningLines, warningLines } from './common.js';

/** One block for each thing that a reload would do, with its count; nothing that it would not do. */
export function renderPlan({ plan, ephemeral, running, check }: PlanReport, style: Style): string[] {
  const { colour } = style;
  const first = (action: Action) => plan.open.filter((step) => step.rungs[0] === action);
  const kept = plan.keep.map(({ bind, handedOver, why }) => [
    formatEndpoint(bind.endpoint),
    bind.section,
    handedOver ? '' : colour.yellow(`bound anew beside a guard: ${why ?? 'HAProxy does not take this socket'}`),
  ]);
  return paragraphs(
    runningLines(running, style),
    plan.conflicts.map(
      ({ first: one, second, reason }) =>
        `${colour.red('conflict')}  ${formatEndpoint(one.endpoint)} (${placeText(one.place)}) and ` +
        `${formatEndpoint(second.endpoint)} (${placeText(second.place)}): ${reason}`,
    ),
    block(colour.green('keep'), kept, style),
    block(colour.green('open'), first('guard').map(openRow), style),
    block(colour.yellow('share'), first('share').map(stepRow), style),
    block(colour.yellow('wait'), first('wait').map(stepRow), style),
    block(colour.yellow('destroy'), first('destroy').map(stepRow), style),
    block(colour.red('abort'), first('abort').map(stepRow), style),
    block(colour.red('quarantine'), [...first('quarantine'), ...plan.quarantine].map(stepRow), style),
    block(
      'close',
      plan.close.map(({ endpoint, owner }) => [formatEndpoint(endpoint), `${owner.comm}[${owner.pid}]`]),
      style,
    ),
    block(
      colour.yellow('unknown'),
      plan.unknown.map(({ text, section, place, reason }) => [text, section, placeText(place), reason]),
      style,
    ),
    block(
      'harden',
      plan.harden.map(({ section, file, line, added }) => [section, placeText({ file, line }), added]),
      style,
    ),
    [
      `reserve  ${portsText(plan.reserve.add, style)}`,
      `release  ${portsText(plan.reserve.remove, style)}`,
      colour.dim(
        `         ${percent(plan.reserve.share)} of the range then reserved; now: ${ephemeralText(ephemeral)}`,
      ),
    ],
    checkLines(check, style),
    warningLines(plan.warnings, style),
    [summary(plan, check.ok, style)],
  );
}

function block(title: string, rows: readonly (readonly string[])[], style: Style): string[] {
  if (rows.length === 0) return [];
  return [`${title}  ${rows.length}`, ...shorten(table(rows, '  '), style)];
}

function openRow({ bind }: SecureStep): string[] {
  return [formatEndpoint(bind.endpoint), bind.section, placeText(bind.place)];
}

/** With the rungs in the order in which they are tried, and why. */
function stepRow(step: SecureStep): string[] {
  const ladder = step.rungs.length > 1 ? `${step.rungs.join(', else ')}: ` : '';
  return [...openRow(step), ladder + step.reason];
}

function summary(plan: Plan, accepted: boolean, style: Style): string {
  const { colour } = style;
  if (!accepted) return colour.red('A reload would go back: HAProxy refuses this configuration.');
  if (plan.conflicts.length > 0) return colour.red('A reload would go back: binds exclude each other.');
  const stuck = plan.open.filter(({ rungs }) => rungs[0] === 'abort').length;
  if (stuck > 0) return colour.red(`A reload would go back: nothing frees ${stuck} of the ports.`);
  const { length: left } = plan.quarantine;
  const counts = `keep ${plan.keep.length}, open ${plan.open.length}, close ${plan.close.length}`;
  if (left > 0) return colour.yellow(`A reload would serve all but ${left}: ${counts}, quarantine ${left}.`);
  return colour.green(`A reload would serve everything: ${counts}.`);
}
