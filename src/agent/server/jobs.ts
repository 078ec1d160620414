/** Runs that a client may lose sight of: they go on without it, and a key brings it back to the same one. */
import { createHash } from 'node:crypto';
import { BerthError, toBerthError } from '../../errors.js';
import type { ReloadEvent } from '../../reload/reports.js';

/** The answer, as it is sent. */
export interface Answer {
  readonly status: number;
  /** JSON. */
  readonly body: string;
}

export interface Job {
  readonly answer: Promise<Answer>;
  /** What has happened so far, then what happens; the result stops that. */
  watch(listener: (event: ReloadEvent) => void): () => void;
}

interface Kept {
  readonly fingerprint: string;
  readonly job: Job;
  readonly until: () => number;
  readonly bytes: () => number;
}

const KEPT_MS = 600_000;
const KEPT_COUNT = 1000;
/** Reports of large hosts are large. */
const KEPT_BYTES = 8 * 1024 * 1024;

export class Jobs {
  readonly #kept = new Map<string, Kept>();
  readonly #now: () => number;

  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /**
   * @param key of this caller, or undefined; @param demand everything that makes two demands the same
   * @throws BERTH_API_KEY where the key came with another demand
   */
  run(
    key: string | undefined,
    demand: string,
    work: (observer: (event: ReloadEvent) => void) => Promise<unknown>,
  ): Job {
    if (key === undefined) return this.#begin(work).job;
    this.#forget();
    const fingerprint = createHash('sha256').update(demand).digest('hex');
    const kept = this.#kept.get(key);
    if (kept !== undefined) {
      if (kept.fingerprint === fingerprint) return kept.job;
      throw new BerthError('BERTH_API_KEY', 'This idempotency key came with another demand before', {
        step: 'request',
      });
    }
    const begun = this.#begin(work);
    this.#kept.set(key, { fingerprint, ...begun });
    return begun.job;
  }

  #begin(work: (observer: (event: ReloadEvent) => void) => Promise<unknown>): Omit<Kept, 'fingerprint'> {
    let past: ReloadEvent[] = [];
    let until = Infinity;
    let bytes = 0;
    const listeners = new Set<(event: ReloadEvent) => void>();
    const observer = (event: ReloadEvent) => {
      past.push(event);
      for (const listener of listeners) listener(event);
    };
    const answer = answerOf(() => work(observer)).then((done) => {
      past = [];
      until = this.#now() + KEPT_MS;
      bytes = done.body.length;
      return done;
    });
    const watch = (listener: (event: ReloadEvent) => void) => {
      past.forEach(listener);
      listeners.add(listener);
      return () => void listeners.delete(listener);
    };
    return { job: { answer, watch }, until: () => until, bytes: () => bytes };
  }

  /** Oldest first; what still runs stays. */
  #forget(): void {
    let bytes = [...this.#kept.values()].reduce((sum, kept) => sum + kept.bytes(), 0);
    for (const [key, kept] of this.#kept) {
      const tooMany = this.#kept.size >= KEPT_COUNT || bytes > KEPT_BYTES;
      if (kept.until() === Infinity || (!tooMany && kept.until() > this.#now())) continue;
      bytes -= kept.bytes();
      this.#kept.delete(key);
    }
  }
}

/** Never rejects: an error is an answer too. */
export async function answerOf(work: () => Promise<unknown>): Promise<Answer> {
  try {
    return { status: 200, body: JSON.stringify((await work()) ?? {}) };
  } catch (error) {
    return errorAnswer(error);
  }
}

export function errorAnswer(thrown: unknown): Answer {
  const error = toBerthError(thrown, 'agent');
  return { status: error.httpStatus, body: JSON.stringify(error) };
}
