/**
 * Work on one network namespace, one piece at a time, in the order of its arrival. While a piece waits for its turn, a
 * later one with the same key takes its place: of a hundred changes in a row the first and the last are applied.
 */
export class Queue {
  readonly #waiting = new Map<string, Waiting>();
  #running: Promise<void> = Promise.resolve();
  #count = 0;

  /** Pieces that wait or run. */
  get length(): number {
    return this.#count;
  }

  /** @param key what makes two pieces the same; undefined: nothing does */
  run<T>(key: string | undefined, work: () => Promise<T>): Promise<T> {
    const before = key === undefined ? undefined : this.#waiting.get(key);
    if (before) {
      before.work = work;
      return before.result as Promise<T>;
    }
    const piece: Waiting = { work, result: Promise.resolve() };
    const turn = this.#running.then(() => {
      if (key !== undefined) this.#waiting.delete(key);
      return piece.work();
    });
    piece.result = turn;
    if (key !== undefined) this.#waiting.set(key, piece);
    this.#count++;
    const over = (): void => {
      this.#count--;
    };
    this.#running = turn.then(over, over);
    return turn as Promise<T>;
  }

  /** Resolves when nothing waits or runs any more. */
  async idle(): Promise<void> {
    for (let last; last !== this.#running;) {
      last = this.#running;
      await last;
    }
  }
}

interface Waiting {
  work: () => Promise<unknown>;
  result: Promise<unknown>;
}
