/**
 * The condition of `.if` and `.elif` (cfgcond.c): predicates, `!`, `&&`, `||` and parentheses. What only the binary can
 * decide is undecided, and three-valued logic carries it through: `undecided && false` is false all the same.
 */
import { syntaxError } from './config-errors.js';
import type { SourcePlace } from '../model/bind.js';
import type { Environment } from './environment.js';

/** True, false, or why only the binary knows. */
export type Truth = boolean | { readonly undecided: string };

export interface ConditionContext {
  readonly environment: Environment;
  /** `haproxy -v`'s version text, `2.6.12-1+deb12u4`. */
  readonly version: string;
  /** Features of `haproxy -vv` that are built in; undefined: not known. */
  readonly features: readonly string[] | undefined;
  readonly place: SourcePlace;
}

/** Evaluate the words behind `.if`, joined by spaces. Nothing is false. Throws BERTH_CONFIG_SYNTAX. */
export function evaluate(expression: string, context: ConditionContext): Truth {
  if (expression === '') return false;
  const parser = new Parser(expression, context);
  const truth = parser.or();
  parser.expectEnd();
  return truth;
}

/** MAX_CFG_RECURSION of HAProxy's cfgcond-t.h. */
const MAX_DEPTH = 1024;

class Parser {
  #at = 0;
  #depth = 0;

  constructor(
    private readonly text: string,
    private readonly context: ConditionContext,
  ) {}

  or(): Truth {
    let truth = this.#and();
    while (this.#take('||')) {
      const right = this.#and();
      truth = truth === true || right === true ? true : truth === false ? right : truth;
    }
    return truth;
  }

  expectEnd(): void {
    this.#skipBlanks();
    if (this.#at < this.text.length) this.#fail('unexpected character at the end of the condition');
  }

  #and(): Truth {
    let truth = this.#term();
    while (this.#take('&&')) {
      const right = this.#term();
      truth = truth === false || right === false ? false : truth === true ? right : truth;
    }
    return truth;
  }

  #term(): Truth {
    let negated = false;
    while (this.#take('!')) negated = !negated;
    const truth = this.#positive();
    return negated && typeof truth === 'boolean' ? !truth : truth;
  }

  #positive(): Truth {
    this.#skipBlanks();
    const number = this.#match(/[+-]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)/y);
    if (number !== undefined) return !/^[+-]?0[xX]?0*$/.test(number);
    if (this.#take('(')) {
      if (++this.#depth > MAX_DEPTH) this.#fail('condition nested too deeply');
      const truth = this.or();
      if (!this.#take(')')) this.#fail("expected ')'");
      this.#depth--;
      return truth;
    }
    const name = this.#match(/[A-Za-z_][\w-]*/y);
    if (name === undefined) return this.#fail('unparsable condition');
    return this.#predicate(name, this.#arguments());
  }

  #predicate(name: string, words: readonly string[]): Truth {
    const { environment, version, features } = this.context;
    const [first = '', second = ''] = words;
    const need = (count: number): void => {
      if (words.length !== count) this.#fail(`${name}() takes ${count} argument${count > 1 ? 's' : ''}`);
    };
    switch (name) {
      case 'defined': {
        need(1);
        const defined = environment.get(first) !== undefined;
        const doubt = environment.takeDoubt();
        return doubt === undefined ? defined : { undecided: doubt };
      }
      case 'streq':
        need(2);
        return first === second;
      case 'strneq':
        need(2);
        return first !== second;
      case 'strstr':
        need(2);
        return first.includes(second);
      case 'version_atleast':
        need(1);
        return compareVersions(first, version) <= 0;
      case 'version_before':
        need(1);
        return compareVersions(first, version) > 0;
      case 'feature':
        need(1);
        return features === undefined
          ? { undecided: `feature(${first}): only the haproxy binary knows` }
          : features.includes(first);
      default:
        return { undecided: `${name}(${words.join(',')}): only the haproxy binary knows` };
    }
  }

  /** `(a,b)` by the rules of make_arg_list() in arg.c: quotes, escapes, nothing trimmed. */
  #arguments(): string[] {
    if (this.text[this.#at] !== '(') return [];
    const words: string[] = [];
    let word = '';
    let quote = '';
    for (this.#at++; this.#at < this.text.length; this.#at++) {
      const c = this.text.charAt(this.#at);
      if ((c === '"' || c === "'") && (quote === '' || quote === c)) {
        quote = quote === '' ? c : '';
      } else if (c === '\\' && quote !== "'") {
        const next = this.text.charAt(this.#at + 1);
        const meaning = ESCAPES[next];
        word += meaning ?? c;
        if (meaning !== undefined) this.#at++;
      } else if (quote === '' && (c === ',' || c === ')')) {
        words.push(word);
        word = '';
        if (c === ')') {
          this.#at++;
          return words;
        }
      } else {
        word += c;
      }
    }
    return this.#fail("expected ')'");
  }

  #take(token: string): boolean {
    this.#skipBlanks();
    if (!this.text.startsWith(token, this.#at)) return false;
    this.#at += token.length;
    return true;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.text)?.[0];
    if (found !== undefined) this.#at = pattern.lastIndex;
    return found;
  }

  #skipBlanks(): void {
    while (this.text[this.#at] === ' ' || this.text[this.#at] === '\t') this.#at++;
  }

  #fail(message: string): never {
    throw syntaxError(this.context.place, `${message} at position ${this.#at + 1} of the condition '${this.text}'`);
  }
}

const ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\',
  ' ': ' ',
  '"': '"',
  "'": "'",
  r: '\r',
  n: '\n',
  t: '\t',
};

/** Order of two version texts as compare_current_version() in haproxy.c has it: four numbers, then -dev, -rc, release. */
export function compareVersions(a: string, b: string): number {
  const left = versionKey(a);
  const right = versionKey(b);
  for (let i = 0; i < left.length; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

const STAGES: Readonly<Record<string, number>> = { dev: 1, rc: 2, pre: 2 };
const RELEASED = 3;

/** A text that is no version is older than any, so that `version_atleast` of it holds: HAProxy's own reading. */
function versionKey(text: string): number[] {
  const match = /^(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:\.(\d+))?(?:-(?:(dev|rc|pre)(\d*))?-?(.*))?$/.exec(text);
  if (match === null) return [-1];
  const [, a, b, c, d, stage, step, rest = ''] = match;
  const commit = /(?:^|-)(\d+)$/.exec(rest)?.[1];
  return [a, b, c, d, STAGES[stage ?? ''] ?? RELEASED, step, commit].map((part) => Number(part ?? 0));
}
