/**
 * One line of a configuration into its words, by the rules of parse_line() in HAProxy's tools.c (2.2 to 3.2): weak and
 * strong quotes, backslash escapes, comments, and environment variables inside of weak quotes.
 *
 * The text is the file's bytes, one character each (`latin1`), as HAProxy works on bytes; words come out as UTF-8.
 */
import { syntaxError } from './config-errors.js';
import type { Environment } from './environment.js';

export interface TokenContext {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** What `$.SECTION` stands for: name, else keyword of the section so far. */
  readonly section: string | undefined;
  readonly environment: Environment;
  /** HAProxy 3.x: an unset variable right before the closing quote takes the quote and the spaces behind it away. */
  readonly unsetClosesQuote: boolean;
}

/** MAX_LINE_ARGS of HAProxy's defaults.h. */
export const MAX_WORDS = 64;

const TAB = 9;
const LF = 10;
const CR = 13;
const SPACE = 32;
const DOUBLE = 34;
const HASH = 35;
const DOLLAR = 36;
const SINGLE = 39;
const DASH = 45;
const BACKSLASH = 92;

/**
 * Where the first word of a plain line ends: one of words and spaces only, as nearly all are, which can be taken apart
 * later as well ({@link plainWords}). 0 where anything in the line has a meaning of its own, or where it is too long.
 */
export function plainKeyword(text: string, start: number, end: number): number {
  let first = 0;
  let spaces = 0;
  for (let i = start; i < end; i++) {
    const c = text.charCodeAt(i);
    if (c >= DASH) {
      if (c === BACKSLASH || c >= 0x80) return 0;
    } else if (MEANING[c] === 2) {
      return 0;
    } else if (MEANING[c] === 1) {
      if (first === 0) first = i;
      spaces++;
    }
  }
  return spaces >= MAX_WORDS ? 0 : first || end;
}

/** The words of a plain line. */
export function plainWords(text: string, start: number, end: number): string[] {
  const words: string[] = [];
  let from = start;
  for (let i = start; i < end; i++) {
    const c = text.charCodeAt(i);
    if (c < DASH && MEANING[c] === 1) {
      if (i > from) words.push(text.slice(from, i));
      from = i + 1;
    }
  }
  if (end > from) words.push(text.slice(from, end));
  return words;
}

/** Of the characters below '-': 1 parts words, 2 means more. */
const MEANING = new Uint8Array(DASH);
for (const c of [TAB, TAB + 2, TAB + 3, SPACE]) MEANING[c] = 1;
for (const c of [LF, CR, DOUBLE, HASH, DOLLAR, SINGLE]) MEANING[c] = 2;

/**
 * The words of `text` from `start` (not a space) up to `end`, a line feed or a carriage return. An empty line gives none;
 * `""` gives an empty word. Throws BERTH_CONFIG_SYNTAX.
 */
export function tokenize(text: string, start: number, end: number, context: TokenContext): string[] {
  const words: string[] = [];
  let done = ''; // what of the present word was transformed
  let from = start; // the rest of it stands in the text from here on
  let quote = 0;
  let quoteAt = 0;
  let i = start;
  let bytes = false;
  let nul = false;

  const fail = (at: number, message: string): never => {
    throw syntaxError(context, `${message} at position ${at - start + 1}: ${text.slice(start, end).slice(0, 120)}`);
  };
  const endWord = (): void => {
    const word = done === '' ? text.slice(from, i) : done + text.slice(from, i);
    words.push(bytes ? asText(word) : word);
    done = '';
  };

  while (i < end) {
    const c = text.charCodeAt(i);
    if (c >= DASH && c !== BACKSLASH) {
      // by far the most: letters, digits, '.', '/', ':'
      if (c >= 0x80) bytes = true;
      i++;
    } else if (c === LF || c === CR) {
      break;
    } else if (c === HASH && quote === 0) {
      break;
    } else if ((c === DOUBLE && quote !== SINGLE) || (c === SINGLE && quote !== DOUBLE)) {
      done += text.slice(from, i);
      quote = quote === 0 ? c : 0;
      quoteAt = i;
      from = ++i;
    } else if (c === BACKSLASH && quote !== SINGLE) {
      done += text.slice(from, i);
      const [length, char] = escape(text, i, quote) ?? fail(i, 'truncated or invalid hexadecimal sequence');
      if (char.charCodeAt(0) >= 0x80) bytes = true;
      if (char === '\0') nul = true;
      done += char;
      i += length;
      from = i;
    } else if (c === SPACE || (c >= TAB && c < CR)) {
      if (quote !== 0) {
        i++;
        continue;
      }
      endWord();
      do i++;
      while (i < end && isSpace(text.charCodeAt(i)));
      from = i;
    } else if (c === DOLLAR && quote === DOUBLE) {
      done += text.slice(from, i);
      const variable = readVariable(text, i, end) ?? fail(i, 'unmatched brace or forbidden character in variable');
      i = variable.end;
      const value = lookUp(variable.name, context) ?? variable.fallback;
      if (value === undefined) {
        if (context.unsetClosesQuote && !variable.name.startsWith('.') && text.charCodeAt(i) === DOUBLE) {
          do i++;
          while (i < end && isSpace(text.charCodeAt(i)));
          quote = 0;
        }
      } else {
        const raw = asBytes(value);
        if (raw !== value) bytes = true;
        const [first = '', ...rest] = variable.split ? raw.split(/[ \t-\r]+/) : [raw];
        done += first;
        for (const piece of rest) {
          words.push(bytes ? asText(done) : done);
          done = piece;
        }
      }
      from = i;
    } else {
      i++;
    }
  }
  if (quote !== 0) fail(quoteAt, 'unmatched quote');
  if (i > from || done !== '') endWord();
  if (words.length > MAX_WORDS) fail(0, `more than ${MAX_WORDS} words`);
  return nul ? withoutNuls(words) : words;
}

/**
 * `\x00`: to HAProxy, which is C, the word ends there. But of a condition it makes one text again, and puts a space in the place
 * of whatever ended a word (readcfgfile() in cfgparse.c).
 */
function withoutNuls(words: readonly string[]): string[] {
  const [keyword = '', ...rest] = words.map((word) => word.replace(/\0.*$/s, ''));
  if (keyword !== '.if' && keyword !== '.elif') return [keyword, ...rest];
  return [keyword, ...words.slice(1).map((word) => word.replaceAll('\0', ' '))];
}

/** UTF-8 of bytes that stand as one character each. */
export function asText(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

function asBytes(text: string): string {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) >= 0x80) return Buffer.from(text, 'utf8').toString('latin1');
  }
  return text;
}

export function isSpace(c: number): boolean {
  return c === SPACE || (c >= TAB && c <= CR);
}

/** Length and meaning of the escape at `at`; a backslash that escapes nothing stands for itself. */
function escape(text: string, at: number, quote: number): [number, string] | undefined {
  const next = text[at + 1];
  switch (next) {
    case ' ':
    case '\\':
    case '#':
    case '"':
    case "'":
      return [2, next];
    case 't':
      return [2, '\t'];
    case 'n':
      return [2, '\n'];
    case 'r':
      return [2, '\r'];
    case '$':
      return quote === DOUBLE ? [2, '$'] : [1, '\\'];
    case 'x': {
      const digits = text.slice(at + 2, at + 4);
      return /^[0-9a-fA-F]{2}$/.test(digits) ? [4, String.fromCharCode(parseInt(digits, 16))] : undefined;
    }
    default:
      return [1, '\\'];
  }
}

const VARIABLE = /\$(?:\{(\.?\w+)(\[\*\])?(?:-([^}]*))?\}|(\.?\w+))/y;

function readVariable(
  text: string,
  at: number,
  end: number,
): { end: number; name: string; split: boolean; fallback: string | undefined } | undefined {
  VARIABLE.lastIndex = at;
  const match = VARIABLE.exec(text);
  if (match === null || VARIABLE.lastIndex > end) return undefined;
  const name = match[1] ?? match[4] ?? '';
  if (!/^\.?[A-Za-z_]|^\./.test(name)) return undefined;
  return { end: VARIABLE.lastIndex, name, split: match[2] !== undefined, fallback: match[3] };
}

function lookUp(name: string, context: TokenContext): string | undefined {
  switch (name) {
    case '.LINE':
      return String(context.line);
    case '.FILE':
      return context.file;
    case '.SECTION':
      return context.section;
    default:
      return context.environment.get(name);
  }
}
