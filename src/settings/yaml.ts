/** YAML of unknown origin into plain values: bounded before it is parsed, and every value knows its line. */
import { createRequire } from 'node:module';
import type { Node } from 'yaml';
import { BerthError } from '../errors.js';

export interface YamlText {
  /** Plain values; null where the text holds none. */
  readonly value: unknown;
  /** Line of a value, from 1; of what surrounds it where it has none of its own. */
  readonly lineOf: (path: readonly string[]) => number;
}

/** Far above any settings. The parser recurses, and V8 ends the process where its stack ends inside of a regular expression. */
const LIMITS = { depth: 64, indent: 128, words: 50_000, aliases: 100 };

/** Loaded where there is YAML to read: a quarter of all modules are its, and many commands have no settings file. */
const yaml = () => createRequire(import.meta.url)('yaml') as typeof import('yaml');

/**
 * @param name the file, for messages
 * @throws BERTH_SETTINGS for what is no YAML, holds duplicate keys, several documents or unknown tags, or is meant to exhaust
 */
export function parseYaml(text: string, name: string): YamlText {
  refuseExcess(text, name);
  const { LineCounter, parseDocument } = yaml();
  const lines = new LineCounter();
  const options = { lineCounter: lines, stringKeys: true, logLevel: 'error' } as const;
  const document = plain(() => parseDocument(text, options), name);
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) throw notYaml(name, problem.message.split('\n')[0] ?? '', problem);
  return {
    value: plain(() => document.toJS({ maxAliasCount: LIMITS.aliases }) as unknown, name),
    lineOf: (path) => {
      for (let length = path.length; length > 0; length--) {
        const node = document.getIn(path.slice(0, length), true) as Node | undefined;
        if (node?.range) return lines.linePos(node.range[0]).line;
      }
      return 1;
    },
  };
}

/** What the library throws, as ours. */
function plain<T>(read: () => T, name: string): T {
  try {
    return read();
  } catch (error) {
    throw notYaml(name, (error as Error).message, error);
  }
}

/** The lexer neither recurses nor compares keys, so that it is safe and linear where the parser is neither. */
function refuseExcess(text: string, name: string): void {
  const { Lexer } = yaml();
  // Before a scalar the lexer yields this sign, so that its text is not taken for an indicator.
  const SCALAR = '\x1f';
  let [words, flow, block, line, scalar] = [0, 0, 0, 1, false];
  const excess = (what: string) => notYaml(name, `line ${line}: ${what}, which no settings need`);
  for (const word of new Lexer().lex(text)) {
    if (++words > LIMITS.words) throw excess(`more than ${LIMITS.words} words`);
    if (scalar) scalar = false;
    else if (word === SCALAR) scalar = true;
    else if (word === '[' || word === '{') flow++;
    else if (word === ']' || word === '}') flow = Math.max(0, flow - 1);
    else if (word === '-' || word === '?' || word === ':') block++;
    else if (word === ',') block = 0;
    else if (word.length > LIMITS.indent && word.trim() === '' && block === 0) throw excess('deep nesting');
    if (flow + block > LIMITS.depth) throw excess('deep nesting');
    if (word.includes('\n')) {
      line += word.split('\n').length - 1;
      // Within brackets a line feed ends nothing.
      if (flow === 0) block = 0;
    }
  }
}

function notYaml(name: string, problem: string, cause?: unknown): BerthError {
  return new BerthError('BERTH_SETTINGS', `${name}: not YAML: ${problem}`, {
    step: 'settings',
    cause,
    details: { where: name },
  });
}
