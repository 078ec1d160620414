/** What HAProxy prints on standard error, read the same from 2.2 to 3.2 (HAProxy src/errors.c). Pure. */
import { isIP } from 'node:net';
import type { HAProxyMessage } from '../reload/env.js';

// 2.2 has `DDD/HHMMSS` between level and pid, later versions pad with blanks instead.
const HEAD = /^\[(ALERT|WARNING|NOTICE|DIAG)\]\s*(?:\d+\/\d+ )?\(\d+\) : ?(.*)$/;
const BIND_FAILURE = /cannot (?:bind|listen to) (?:UNIX |UDP )?socket (?:\((.+?)\) for )?\[(.+?)\]\.?$/;
/** Two paths and some words; the expression's time grows with the square of a text that was made for it. */
const LONGEST_FAILURE = 8192;
const PLACE = /\[([^[\]]+):(\d{1,9})\]/g;
const FILE_ONLY = /found in configuration file : (\S.*)$/;

/**
 * One entry per ALERT, WARNING or NOTICE (DIAG counts as NOTICE), in order. Lines without a head belong to the entry
 * above them; those before the first head are an ALERT of their own (a dynamic loader or a wrapper that failed).
 */
export function parseMessages(output: string): HAProxyMessage[] {
  const entries: { level: HAProxyMessage['level']; text: string }[] = [];
  for (const line of output.split('\n')) {
    const head = HEAD.exec(line);
    const last = entries.at(-1);
    if (head)
      entries.push({
        level: head[1] === 'DIAG' ? 'NOTICE' : (head[1] as HAProxyMessage['level']),
        text: head[2] ?? '',
      });
    else if (line.trim() === '' || isChatter(line)) continue;
    else if (last) last.text += `\n${line}`;
    else entries.push({ level: 'ALERT', text: line });
  }
  return entries.map((entry) => ({ ...entry, ...placeIn(entry.text) }));
}

/** The summaries that HAProxy prints without a level. */
function isChatter(line: string): boolean {
  return line === 'Configuration file is valid' || line === 'Warnings were found.';
}

function placeIn(text: string): { file?: string; line?: number } {
  for (const [, file = '', line] of text.matchAll(PLACE)) {
    // `[10.0.0.1:80]`, `[:::80]` and `[*:80]` name an address.
    if (isIP(file) === 0 && file !== '*') return { file, line: Number(line) };
  }
  const file = FILE_ONLY.exec(text.split('\n', 1)[0] ?? '')?.[1];
  return file === undefined ? {} : { file };
}

/** A bind that HAProxy could not make. */
export interface BindFailure {
  /** As HAProxy prints it: `10.0.0.1:80`, `:::80`, a path. */
  readonly address: string;
  /** `Address already in use`; HAProxy 2.2 does not tell. */
  readonly reason?: string;
  readonly file?: string;
  readonly line?: number;
}

/** Every failed bind: HAProxy names all of them, one ALERT each, on its last try. */
export function bindFailures(messages: readonly HAProxyMessage[]): BindFailure[] {
  return messages.flatMap(({ text, file, line }) => {
    const match = text.length > LONGEST_FAILURE ? null : BIND_FAILURE.exec(text);
    if (!match?.[2]) return [];
    return [
      {
        address: match[2],
        ...(match[1] === undefined ? {} : { reason: match[1] }),
        ...(file === undefined ? {} : { file }),
        ...(line === undefined ? {} : { line }),
      },
    ];
  });
}

/** The alerts in one line each, for the message of an error; all that was said where there is no alert. */
export function summary(messages: readonly HAProxyMessage[], limit = 5): string {
  const alerts = messages.filter(({ level }) => level === 'ALERT');
  const said = alerts.length > 0 ? alerts : messages.filter(({ level }) => level === 'WARNING');
  if (said.length === 0) return 'it said nothing';
  const shown = said.slice(0, limit).map(({ text }) => lines(text).join(' '));
  return said.length > limit ? `${shown.join('; ')}; and ${said.length - limit} more` : shown.join('; ');
}

function lines(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}
