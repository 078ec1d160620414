import type { Settings } from '../settings.js';

/** How soon a HAProxy that died is started again, and when it is no use any more. */
export class Restarts {
  readonly #times: number[] = [];
  #total = 0;

  get total(): number {
    return this.#total;
  }

  /**
   * One more restart is due. @param now ms of a clock that does not jump
   * @returns how long to wait before it, in ms; undefined: the limit is reached
   */
  next({ backOffMs, maxBackOffMs, limit, windowMs }: Settings['restart'], now: number): number | undefined {
    while ((this.#times[0] ?? now) < now - windowMs) this.#times.shift();
    if (this.#times.length >= limit) return undefined;
    const recent = this.#times.length;
    this.#times.push(now);
    this.#total++;
    // The first at once: every second without a HAProxy fills backlogs.
    return recent === 0 ? 0 : Math.min(maxBackOffMs, backOffMs * 2 ** (recent - 1));
  }

  /** A person or a new configuration starts anew. */
  forget(): void {
    this.#times.length = 0;
  }
}
