import { formatEndpoint } from '../../model/endpoint.js';
import type { Action, Plan, SecureStep } from '../../model/plan.js';
import type { PlanReport } from '../../reload/reports.js';
import { percent, shorten, table, type Style } from '../style.js';
import {
  checkLines,
  ephemeralText,
  paragraphs,
  placeText,
  portsText,
  runningLines,
  warningLines,
  withoutName,
} from './common.js';

/** One block for each thing that a reload would do, with its count; nothing that it would not do. */
export function renderPlan({ plan, ephemeral, running, check }: PlanReport, style: Style): string[] {
  const { colour } = style;
  const steps = [...plan.open, ...plan.quarantine];
  const first = (action: Action) =>
    steps.filter(({ rungs }) => rungs[0] === action).map((step) => stepLines(step, style));
  // No rung at all: nobody can be in the way of a unix socket, and what HAProxy alone can bind is left to it.
  const opened = steps.filter(({ rungs }) => rungs.length === 0 || rungs[0] === 'guard').map(openRow);
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
    block(colour.green('keep'), table(kept, '  '), style),
    block(colour.green('open'), table(opened, '  '), style),
    block(colour.yellow('share'), first('share'), style),
    block(colour.yellow('destroy'), first('destroy'), style),
    block(colour.yellow('wait'), first('wait'), style),
    block(colour.red('quarantine'), first('quarantine'), style),
    block(colour.red('abort'), first('abort'), style),
    block(
      'close',
      table(
        plan.close.map(({ endpoint, owner }) => [formatEndpoint(endpoint), `${owner.comm}[${owner.pid}]`]),
        '  ',
      ),
      style,
    ),
    block(
      colour.yellow('unknown'),
      table(
        plan.unknown.map(({ text, section, place, reason }) => [text, section, placeText(place), reason]),
        '  ',
      ),
      style,
    ),
    block(
      'harden',
      table(
        plan.harden.map(({ section, file, line, added }) => [section, placeText({ file, line }), added]),
        '  ',
      ),
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

function block(title: string, items: readonly string[], style: Style): string[] {
  return items.length === 0 ? [] : [`${title}  ${items.length}`, ...shorten(items, style)];
}

function openRow({ bind }: SecureStep): string[] {
  return [formatEndpoint(bind.endpoint), bind.section, placeText(bind.place)];
}

/** One item of two lines: what and where with the rungs in the order in which they are tried, and why. */
function stepLines(step: SecureStep, { colour }: Style): string {
  const { rungs, reason } = step;
  const [name = '', section = '', place = ''] = openRow(step);
  const ladder = rungs.length > 1 ? `  ${rungs.join(', else ')}` : '';
  return `  ${name}  ${colour.dim(`${section}, ${place}`)}${ladder}\n      ${withoutName(reason, name)}`;
}

function summary(plan: Plan, accepted: boolean, style: Style): string {
  const { colour } = style;
  if (!accepted) return colour.red('A reload would go back: HAProxy refuses this configuration.');
  if (plan.conflicts.length > 0) return colour.red('A reload would go back: binds exclude each other.');
  const stuck = plan.quarantine.filter(({ rungs }) => rungs[0] === 'abort').length;
  if (stuck > 0) return colour.red(`A reload would go back: nothing frees ${stuck} of the ports.`);
  const { length: left } = plan.quarantine;
  const counts = `keep ${plan.keep.length}, open ${plan.open.length}, close ${plan.close.length}`;
  if (left > 0) return colour.yellow(`A reload would serve all but ${left}: ${counts}, quarantine ${left}.`);
  return colour.green(`A reload would serve everything: ${counts}.`);
}
