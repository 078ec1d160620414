import { BerthError, toBerthError } from '../errors.js';
import type { ReloadObserver } from './reports.js';

/**
 * The phases of one reload in their order, timed and told, and the way back: what a phase did is undone by the ones it
 * registered, last first. After {@link Transaction.settled} nothing is undone any more.
 */
export class Transaction {
  readonly phases: { readonly name: string; readonly ms: number }[] = [];
  readonly #observer: ReloadObserver;
  readonly #signal: AbortSignal | undefined;
  #settled = false;
  #undo: { readonly what: string; readonly run: () => void | Promise<void> }[] = [];

  constructor(observer: ReloadObserver, signal?: AbortSignal) {
    this.#observer = observer;
    this.#signal = signal;
  }

  /** Run one phase; an abort that arrived before it ends the reload here. */
  async phase<T>(name: string, work: () => Promise<T>): Promise<T> {
    this.throwIfInterrupted(name);
    this.#observer({ type: 'phase', name, state: 'begin' });
    const begin = performance.now();
    try {
      return await work();
    } catch (error) {
      this.throwIfInterrupted(name);
      throw toBerthError(error, name);
    } finally {
      const ms = performance.now() - begin;
      this.phases.push({ name, ms });
      this.#observer({ type: 'phase', name, state: 'end', ms });
    }
  }

  throwIfInterrupted(step: string): void {
    if (this.#settled || !this.#signal?.aborted) return;
    throw new BerthError('BERTH_INTERRUPTED', `Interrupted at ${step}; the HAProxy that served goes on serving`, {
      step,
      cause: this.#signal.reason,
    });
  }

  /** How to take back what was just done; run last first by {@link rollBack}. */
  onRollBack(what: string, run: () => void | Promise<void>): void {
    this.#undo.push({ what, run });
  }

  /** The new HAProxy is proven and committed: from here on the way leads forward only, whatever interrupts. */
  settled(): void {
    this.#settled = true;
    this.#undo = [];
  }

  /** Undo everything; an undo that fails does not keep the others from running. @returns what could not be undone. */
  async rollBack(): Promise<string[]> {
    const failed: string[] = [];
    for (const { what, run } of this.#undo.reverse()) {
      try {
        await run();
      } catch (error) {
        failed.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    this.#undo = [];
    return failed;
  }
}
