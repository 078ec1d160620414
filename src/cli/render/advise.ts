import type { AdviceReport, Chance } from '../../advise/advise.js';
import { count, table, type Style } from '../style.js';
import { paragraphs } from './common.js';

export function renderAdvice(report: AdviceReport, style: Style): string[] {
  return paragraphs(
    hostLines(report),
    chanceLines(report, style),
    rangeLines(report, style),
    adviceLines(report, style),
  );
}

function hostLines({ source, inputs, measured, connections, range }: AdviceReport): string[] {
  const { listeners, rate, destinations, range: ephemeral } = inputs;
  const to = typeof destinations === 'number' ? destinations : destinations.reduce((sum, one) => sum + one.count, 0);
  const from = source === 'measured' ? `Measured for ${digits(measured?.seconds ?? 0)} s: ` : 'Given: ';
  return [
    `${from}${count(listeners, 'listener')}; ${digits(rate)} outgoing connections a second to ` +
      `${count(to, 'destination')}, each on its port for ${digits(connections.seconds)} s ` +
      `(${share(connections.timeWait)} of that in TIME_WAIT): ${Math.round(connections.held)} at a time`,
    `Ephemeral range ${ephemeral.first}–${ephemeral.last}: ${range.free} of ${range.size} ports ` +
      `(${share(range.freeShare)}) are left for connections when all listeners are reserved; ` +
      `a new listener has one of them in ${share(range.exposed)} of cases`,
  ];
}

function chanceLines(report: AdviceReport, style: Style): string[] {
  const { inputs, without, reservation, everything, error, busy, measured } = report;
  const row = (name: string, chance: Chance, then: string) => [
    name,
    share(chance.held),
    share(chance.foreign),
    digits(chance.perDay),
    ...(inputs.hosts > 1 ? [digits(chance.perDayAllHosts)] : []),
    then,
  ];
  const later = reservation.after.map(({ seconds, held }) => `${seconds} s later ${share(held)}`).join(', ');
  const other = busy.firstParity === 'even' ? 'odd' : 'even';
  return [
    style.colour.bold('A new listener meets a port that is'),
    ...table([
      ['', 'held', 'foreign', 'a day', ...(inputs.hosts > 1 ? [`on ${inputs.hosts} hosts`] : []), ''],
      row('without Berth', without, `each an outage of all ${inputs.listeners} listeners under lbagent`),
      row('reservation only', reservation, `${inputs.lead} s after it was reserved; ${later}`),
      row(
        'everything',
        everything,
        `${share(everything.shared)} shared, ${share(everything.released)} taken from TIME_WAIT; no outage`,
      ),
    ]),
    `held: by an outgoing connection, ${share(error.low)} to ${share(error.high)} without Berth ` +
      `(model ±${share(error.model)}${error.measurement > 0 ? `, measurement ±${share(error.measurement)}` : ''} of the value); ` +
      'foreign: another program listens there, and only that listener is left out',
    `held of the ${busy.firstParity} ports of the range ${share(busy.first)}, of the ${other} ones ${share(busy.second)}` +
      (measured ? `; seen just now: ${share(measured.seen.first)} and ${share(measured.seen.second)}` : ''),
  ];
}

function rangeLines({ exhaustion, inputs }: AdviceReport, { colour }: Style): string[] {
  const { perDestination, load, failing, rate, lifetime, listeners } = exhaustion;
  const line =
    `One destination can have ${perDestination} connections at a time; the busiest has ${digits(load)}` +
    (failing >= 0.001 ? `, and ${share(failing)} of its connects fail with EADDRNOTAVAIL` : '');
  const limits = [
    ...(rate === undefined ? [] : [`${digits(rate)} connections a second`]),
    ...(lifetime === undefined || lifetime <= inputs.lifetime ? [] : [`lifetimes of ${digits(lifetime)} s`]),
    ...(listeners === undefined || listeners > 65_535 ? [] : [`${listeners} listeners`]),
  ];
  return [
    failing >= 0.001 ? colour.red(line) : line,
    ...(limits.length === 0 ? [] : [`Outgoing connections run dry at ${limits.join(', or at ')}`]),
  ];
}

function adviceLines({ advice }: AdviceReport, { colour }: Style): string[] {
  const files = [...new Set(advice.map(({ file }) => file))];
  return files.flatMap((file) => [
    colour.bold(`# ${file}`),
    ...advice
      .filter((one) => one.file === file)
      .flatMap(({ line, why, changes }) => [changes ? colour.yellow(line) : line, colour.dim(`  # ${why}`)]),
  ]);
}

/** A share as percent with as many digits as tell something. */
function share(value: number): string {
  const percent = value * 100;
  if (percent === 0) return '0 %';
  if (percent < 0.01) return 'below 0.01 %';
  return `${digits(percent)} %`;
}

/** Two significant digits and more, no exponent: `0.0042`, `1.6`, `812`, `28232`. */
function digits(value: number): string {
  if (value === 0) return '0';
  if (value < 0.001) return 'below 0.001';
  if (value >= 100) return String(Math.round(value));
  return String(Number(value.toPrecision(2)));
}
