/**
 * The environment as HAProxy sees it while it reads: the process' own, changed in place by `setenv`, `presetenv`,
 * `unsetenv` and `resetenv` of `global` (cfgparse-global.c). A change copies the variables, so that a line can keep the
 * ones that held where it stands ({@link Environment.variables}) at no cost: changes are rare, lines are many.
 */

export type Variables = ReadonlyMap<string, string>;

export class Environment {
  #variables: Map<string, string>;
  /** Variables set or unset where only the binary can say whether that line counts; name → why. */
  readonly #doubts = new Map<string, string>();
  /** Why a value read since {@link takeDoubt} may be another one. */
  #doubt: string | undefined;

  constructor(initial: Readonly<Record<string, string | undefined>>) {
    this.#variables = new Map();
    for (const [name, value] of Object.entries(initial)) if (value !== undefined) this.#variables.set(name, value);
  }

  get variables(): Variables {
    return this.#variables;
  }

  get(name: string): string | undefined {
    if (this.#doubts.size > 0) this.#doubt ??= this.#doubts.get(name);
    return this.#variables.get(name);
  }

  set(name: string, value: string | undefined): void {
    this.#variables = new Map(this.#variables);
    if (value === undefined) this.#variables.delete(name);
    else this.#variables.set(name, value);
  }

  /** Why what was read since the last call is not certain; undefined where it is. */
  takeDoubt(): string | undefined {
    const doubt = this.#doubt;
    this.#doubt = undefined;
    return doubt;
  }

  /** Apply a line of `global` where it is one of the four directives; false where it is not. */
  apply(words: readonly string[], doubt: string | undefined): boolean {
    const [directive, name = '', value = ''] = words;
    switch (directive) {
      case 'setenv':
      case 'presetenv':
        if (name === '' || value === '') return true; // HAProxy refuses the line: left to `haproxy -c`
        if (directive === 'setenv' || !this.#variables.has(name)) this.#change(name, value, doubt);
        return true;
      case 'unsetenv':
        for (const each of untilEmpty(words, 1)) this.#change(each, undefined, doubt);
        return true;
      case 'resetenv': {
        const kept = new Set(untilEmpty(words, 1));
        for (const each of this.#variables.keys()) if (!kept.has(each)) this.#change(each, undefined, doubt);
        return true;
      }
      default:
        return false;
    }
  }

  #change(name: string, value: string | undefined, doubt: string | undefined): void {
    if (doubt === undefined) this.#doubts.delete(name);
    else this.#doubts.set(name, doubt);
    this.set(name, value);
  }
}

/** The words from `from` up to the first empty one: where HAProxy's own loops over arguments end. */
export function untilEmpty(words: readonly string[], from: number): readonly string[] {
  const end = words.indexOf('', from);
  return words.slice(from, end < 0 ? undefined : end);
}

/**
 * Expansion as addresses have it a second time, after the tokenizer (env_expand() in tools.c): `$X` and `${X}`, quoted
 * or not, an unset one is empty, no default values.
 */
export function expandVariables(text: string, variables: Variables): string {
  if (!text.includes('$')) return text;
  return text.replace(/\$(?:\{(\w*)\}?|(\w*))/g, (_match, braced: string | undefined, plain: string | undefined) => {
    return variables.get(braced ?? plain ?? '') ?? '';
  });
}
