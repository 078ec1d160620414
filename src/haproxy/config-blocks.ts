/** The nesting of `.if`, `.elif`, `.else` and `.endif` (readcfgfile() in cfgparse.c), with blocks that may count or not. */
import { syntaxError } from './config-errors.js';
import type { SourcePlace } from '../model/bind.js';
import type { Truth } from './conditions.js';

/** MAXNESTEDCONDS of HAProxy's cfgcond-t.h. */
const MAX_NESTED = 100;

interface Block {
  /** Was one of the branches so far taken? Undefined: only the binary knows. */
  taken: boolean | undefined;
  /** Does the present branch count? A text says why only the binary knows. */
  counts: boolean | string;
  /** Why that is not known. */
  doubt: string | undefined;
  afterElse: boolean;
}

export class Blocks {
  readonly #stack: Block[] = [];

  /** Whether a line at this place counts, or why only the binary knows. */
  get counts(): boolean | string {
    return all(this.#stack);
  }

  /** Take one directive; false where it is none of the four. `condition` is only asked for where HAProxy asks. */
  take(directive: string, words: readonly string[], place: SourcePlace, condition: () => Truth): boolean {
    switch (directive) {
      case '.if': {
        if (this.#stack.length + 1 >= MAX_NESTED) throw syntaxError(place, `more than ${MAX_NESTED - 1} nested '.if'`);
        const block: Block = { taken: false, counts: false, doubt: undefined, afterElse: false };
        const { counts } = this;
        if (counts !== false) enter(block, asked(condition, counts === true ? undefined : counts));
        this.#stack.push(block);
        return true;
      }
      case '.elif': {
        const block = this.#open(directive, place);
        const outer = this.#outer();
        if (outer === false || block.taken === true) block.counts = false;
        else enter(block, asked(condition, block.doubt ?? (outer === true ? undefined : outer)));
        return true;
      }
      case '.else': {
        noArguments(directive, words, place);
        const block = this.#open(directive, place);
        block.afterElse = true;
        if (this.#outer() !== false) enter(block, true);
        else block.counts = false;
        return true;
      }
      case '.endif':
        noArguments(directive, words, place);
        if (this.#stack.pop() === undefined) throw syntaxError(place, "'.endif' without '.if'");
        return true;
      default:
        return false;
    }
  }

  expectClosed(place: SourcePlace): void {
    if (this.#stack.length > 0) throw syntaxError(place, "'.if' without '.endif'");
  }

  #open(directive: string, place: SourcePlace): Block {
    const block = this.#stack.at(-1);
    if (block === undefined) throw syntaxError(place, `'${directive}' without '.if'`);
    if (block.afterElse) throw syntaxError(place, `'${directive}' after '.else'`);
    return block;
  }

  /** As {@link counts}, for what is around the innermost block. */
  #outer(): boolean | string {
    return all(this.#stack.slice(0, -1));
  }
}

function all(blocks: readonly Block[]): boolean | string {
  let doubt: string | undefined;
  for (const block of blocks) {
    if (block.counts === false) return false;
    if (block.counts !== true) doubt ??= block.counts;
  }
  return doubt ?? true;
}

/** HAProxy never looks at the condition of a place that it does not reach: where that is in doubt, a wrong one is no error. */
function asked(condition: () => Truth, doubt: string | undefined): Truth {
  try {
    return condition();
  } catch (error) {
    if (doubt === undefined) throw error;
    return { undecided: doubt };
  }
}

function enter(block: Block, truth: Truth): void {
  if (truth === false || block.taken === true) {
    block.counts = false;
  } else if (truth === true) {
    // behind an undecided branch it counts exactly where that one does not
    block.counts = block.doubt ?? true;
    block.taken = true;
  } else {
    block.doubt ??= truth.undecided;
    block.counts = block.doubt;
    block.taken = undefined;
  }
}

function noArguments(directive: string, words: readonly string[], place: SourcePlace): void {
  if (words.length > 1 && words[1] !== '')
    throw syntaxError(place, `unexpected argument '${words[1]}' for '${directive}'`);
}
