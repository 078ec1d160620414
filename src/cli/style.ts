/** How text is laid out for people: colours, tables, shortened lists. Nothing here knows a report. */
import pc from 'picocolors';

export type Colours = ReturnType<typeof pc.createColors>;

export interface Style {
  readonly colour: Colours;
  /** Standard output is a terminal: long lists are shortened. */
  readonly terminal: boolean;
  /** `--all` */
  readonly all: boolean;
  /** A copy of plain data in which control characters are written as `\x1b`, so that no configuration can move the cursor. */
  printable<T>(data: T): T;
}

export function styleOf(options: { terminal: boolean; all: boolean; coloured: boolean }): Style {
  const { terminal, all } = options;
  return { colour: pc.createColors(options.coloured), terminal, all, printable };
}

/** FORCE_COLOR over NO_COLOR (https://no-color.org) over what the stream is, as Node does it. */
export function wantsColour(environment: NodeJS.ProcessEnv, terminal: boolean): boolean {
  const force = environment.FORCE_COLOR;
  if (force !== undefined) return force !== '0' && force !== 'false';
  return terminal && !environment.NO_COLOR && environment.TERM !== 'dumb';
}

export function printable<T>(data: T): T {
  if (typeof data === 'string') return escapeControls(data) as T;
  if (Array.isArray(data)) return data.map((item: unknown) => printable(item)) as T;
  if (typeof data !== 'object' || data === null) return data;
  return Object.fromEntries(
    Object.entries(data).map(([key, value]: [string, unknown]) => [key, printable(value)]),
  ) as T;
}

/** C0, DEL and C1 controls but newline and tab; C1 (U+009B) starts a sequence on some terminals just like ESC. */
function escapeControls(text: string): string {
  return text.replace(
    // eslint-disable-next-line no-control-regex -- control characters are what this looks for
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g,
    (control) => `\\x${control.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** Rows as aligned columns, two spaces between them. Widths are counted without colour. */
export function table(rows: readonly (readonly string[])[], indent = ''): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, visibleLength(cell))));
  return rows.map((row) => {
    const cells = row.map((cell, i) => cell + ' '.repeat((widths[i] ?? 0) - visibleLength(cell)));
    return (indent + cells.join('  ')).trimEnd();
  });
}

function visibleLength(text: string): number {
  // eslint-disable-next-line no-control-regex -- the colours that picocolors writes
  return text.replace(/\u001b\[\d+m/g, '').length;
}

/** The first of a long list and how many more there are; all of it under --all and in a pipe. */
export function shorten(lines: readonly string[], style: Style, limit = 10, indent = '  '): string[] {
  if (style.all || !style.terminal || lines.length <= limit + 1) return [...lines];
  const more = lines.length - limit;
  return [...lines.slice(0, limit), style.colour.dim(`${indent}… and ${more} more (--all shows them)`)];
}

/** `1 listener`, `2 listeners` */
export function count(number: number, noun: string, plural = `${noun}s`): string {
  return `${number} ${number === 1 ? noun : plural}`;
}

/** Milliseconds for people: `0.4 ms`, `12 ms`, `1.24 s`, `2 min 5 s`, `3 h 12 min`, `4 d 1 h`. */
export function duration(ms: number): string {
  if (ms < 10) return `${Number(ms.toFixed(1))} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(2)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const hours = Math.floor(seconds / 3600);
  if (hours < 24) return `${hours} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** 0..1 as `34 %`; small shares keep a digit so that they do not read as none. */
export function percent(share: number): string {
  const value = share * 100;
  if (value > 0 && value < 0.1) return 'less than 0.1 %';
  return `${value > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

/** ISO time as local wall-clock time, `2026-08-07 14:02:31`. */
export function localTime(iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  const two = (number: number) => String(number).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Indents a paragraph, line by line. */
export function indented(text: string, indent: string): string[] {
  return text.split('\n').map((line) => (indent + line).trimEnd());
}
