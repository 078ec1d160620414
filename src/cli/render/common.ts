/** Pieces that several reports share. */
import type { SourcePlace } from '../../model/bind.js';
import type { EphemeralFacts, HAProxyReport } from '../../reload/reports.js';
import { duration, localTime, percent, type Style } from '../style.js';

export function placeText(place: SourcePlace | undefined): string {
  return place === undefined ? '' : `${place.file}:${place.line}`;
}

/** `ephemeral range 32768–60999, 3 % of it reserved` */
export function ephemeralText({ first, last, reservedShare }: EphemeralFacts): string {
  const reserved = reservedShare > 0 ? `${percent(reservedShare)} of it reserved` : 'nothing of it reserved';
  return `ephemeral range ${first}–${last}, ${reserved}`;
}

/** The running HAProxy and the old processes that still drain. */
export function runningLines(running: HAProxyReport | undefined, style: Style): string[] {
  if (running === undefined) return ['No HAProxy runs.'];
  const { pid, masterPid, mode, version, startedAt, listening, draining } = running;
  const master = masterPid === undefined ? '' : `, master ${masterPid}`;
  const lines = [
    `HAProxy${version === undefined ? '' : ` ${version}`}, process ${pid}${master} (${mode}), since ` +
      `${localTime(startedAt)}${listening === undefined ? '' : `, ${listening} listening`}`,
  ];
  for (const old of draining) {
    const since = old.since === undefined ? `started ${localTime(old.startedAt)}` : `since ${localTime(old.since)}`;
    const load = old.connections === undefined ? '' : `, ${old.connections} connections`;
    lines.push(style.colour.dim(`  process ${old.pid} drains, ${since}${load}`));
  }
  return lines;
}

/** What `haproxy -c` said, below one line that says how it ended. */
export function checkLines(
  check: { readonly ok: boolean; readonly messages: readonly string[] } | undefined,
  style: Style,
): string[] {
  if (check === undefined) return [];
  const head = check.ok ? [] : [style.colour.red('haproxy -c refuses this configuration; HAProxy said:')];
  const said = check.messages.map((message) => `  ${message}`);
  if (check.ok && said.length > 0) head.push('haproxy -c accepts this configuration; HAProxy said:');
  return [...head, ...said];
}

export function warningLines(warnings: readonly string[], style: Style): string[] {
  return warnings.map((warning) => `${style.colour.yellow('warning')}  ${warning}`);
}

/** Blocks with one empty line between them; empty blocks vanish. */
export function paragraphs(...blocks: readonly (readonly string[])[]): string[] {
  return blocks.filter((block) => block.length > 0).flatMap((block, i) => (i === 0 ? block : ['', ...block]));
}

export function phasesText(phases: readonly { readonly name: string; readonly ms: number }[]): string {
  return phases.map(({ name, ms }) => `${name} ${duration(ms)}`).join(' · ');
}

/** A kernel list for people; an empty one is said to be none. Long ones are cut, since nobody reads 4 KiB of ports. */
export function portsText(list: string, style: Style): string {
  if (list === '') return 'none';
  const spaced = list.replaceAll(',', ', ');
  if (style.all || !style.terminal || spaced.length <= 200) return spaced;
  const ranges = list.split(',');
  return `${ranges.slice(0, 20).join(', ')}, … (${ranges.length} ranges; --json shows them)`;
}

/** Sentences begin with the name, since they stand alone in --json and in the log; below their headline they need not. */
export function withoutName(sentence: string, name: string): string {
  return sentence.startsWith(`${name} `) ? sentence.slice(name.length + 1) : sentence;
}
