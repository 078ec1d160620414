import type { ConfigurationLine } from './config-model.js';
import type { Variables } from './environment.js';
import { plainWords } from './tokenizer.js';

const NO_VARIABLES: Variables = new Map();

/** Words of plain lines are made when they are asked for: most lines of a large configuration are never looked at again. */
export class TakenLine implements ConfigurationLine {
  base = '';
  variables: Variables = NO_VARIABLES;
  doubt: string | undefined = undefined;

  constructor(
    readonly keyword: string,
    readonly file: string,
    readonly line: number,
    /** The words, or the text of a plain line, from `start` to `end`. */
    private readonly content: string | readonly string[],
    private readonly start: number,
    private readonly end: number,
  ) {}

  get plain(): boolean {
    return typeof this.content === 'string';
  }

  get words(): readonly string[] {
    return typeof this.content === 'string' ? plainWords(this.content, this.start, this.end) : this.content;
  }
}
