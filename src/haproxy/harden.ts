/**
 * The opt-in `harden: source`: with `source 0.0.0.0` HAProxy sets SO_REUSEADDR (and IP_BIND_ADDRESS_NO_PORT) on its own
 * outgoing sockets (tcp_bind_socket() in proto_tcp.c), and their ports never stand in the way of a listener, neither while
 * they are connected nor in TIME_WAIT. IPv6 servers work with it as well (tried with 2.2, 2.6, 3.0 and 3.2).
 */
import type { SourcePlace } from '../model/bind.js';
import type { Configuration, Section } from './config.js';

export interface HardenedLine extends SourcePlace {
  /** `defaults`, `listen web`, … */
  readonly section: string;
  /** Line of the section's header in the file as it is; `added` comes right behind it. */
  readonly line: number;
  readonly added: string;
}

const SOURCE = 'source 0.0.0.0';

/**
 * The fewest lines that give a source to everything that connects: one in each `defaults` that neither has nor inherits
 * one, and one in each `listen` and `backend` with no `defaults` before it. A `source` that stands anywhere stays and wins:
 * a section's over its defaults', a server's over its section's.
 */
export function harden(configuration: Configuration): HardenedLine[] {
  const added: HardenedLine[] = [];
  const named = new Set<string>();
  let defaultsSeen = false;
  for (const section of configuration.sections) {
    const isDefaults = section.kind === 'defaults';
    if (!isDefaults && section.kind !== 'listen' && section.kind !== 'backend') continue;
    const { words } = section.header;
    const from = words.indexOf('from', 1);
    // every `defaults` so far has a source by now, its own or an added one
    const inherits = from > 0 ? named.has(words[from + 1] ?? '') : !isDefaults && defaultsSeen;
    if (!inherits && !section.lines.some(({ keyword }) => keyword === 'source')) added.push(sourceOf(section));
    if (!isDefaults || section.header.doubt !== undefined) continue;
    defaultsSeen = true;
    if (section.name !== '') named.add(section.name);
  }
  return added;
}

function sourceOf(section: Section): HardenedLine {
  const { kind, name, file, line } = section;
  return { section: name === '' ? kind : `${kind} ${name}`, file, line, added: SOURCE };
}

/**
 * The text of one file with its lines added, right behind the headers, so that they stand in the same `.if` as those.
 * @param text the file, decoded or one character a byte: only ASCII is added
 * @param lines of this file
 */
export function hardenText(text: string, lines: readonly HardenedLine[]): string {
  const rows = text.split('\n');
  for (const { line, added } of [...lines].sort((a, b) => b.line - a.line)) {
    const end = rows[line - 1]?.endsWith('\r') === true ? '\r' : '';
    rows.splice(line, 0, `  ${added}${end}`);
  }
  return rows.join('\n');
}

/** The line in the user's file of a line that HAProxy names in the hardened one; of an added line, its section's header. */
export function originalLine(line: number, lines: readonly HardenedLine[]): number {
  const headers = lines.map((each) => each.line).sort((a, b) => a - b);
  let shift = 0;
  for (const header of headers) {
    if (header + shift >= line) break;
    shift++;
  }
  return line - shift;
}
