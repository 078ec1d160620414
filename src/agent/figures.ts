/** What is known of one instance, for whoever asks: kept up to date by what happens, never read from the host. */
import type { BerthError } from '../errors.js';
import type { HostContext } from '../reload/context.js';
import type { ProcessInfo } from '../reload/env.js';
import { listGenerations } from '../reload/generations.js';
import type { ProcessReport, ReloadReport } from '../reload/reports.js';
import type { InstanceState, Unchanged } from './contract.js';
import type { ReservationState } from './heal.js';
import type { Keeper } from './keeper.js';

export class Figures {
  phase: InstanceState['phase'] = 'starting';
  doing: string | undefined;
  generation: number | undefined;
  haproxy: InstanceState['haproxy'];
  lastReload: InstanceState['lastReload'];
  reconciledAt: string | undefined;
  oldProcesses: readonly ProcessReport[] = [];
  /** Names of listeners that were left out. */
  quarantined: readonly string[] = [];
  #served = 0;
  #missing: readonly string[] = [];
  #held = 0;
  #restarts = 0;
  #reservations = { ours: '', foreign: '', share: 0, reasserted: 0 };
  readonly #problems = new Map<string, string>();

  serving({ pid, startedAt }: ProcessInfo, keeper: Keeper): void {
    this.haproxy = { pid, startedAt };
    this.phase = 'idle';
    this.#served = keeper.places.length;
    this.#held = keeper.held.length;
    this.#problems.delete('haproxy');
  }

  gone(phase: 'stopped' | 'failed'): void {
    this.phase = phase;
    this.haproxy = undefined;
    this.#missing = [];
    this.#served = 0;
    this.#held = 0;
    if (phase === 'failed') this.problem('haproxy', 'HAProxy is gone');
    else this.#problems.delete('haproxy');
  }

  reloaded(reason: string, ms: number, report: ReloadReport): void {
    const { generation, outcome, insteadOf, quarantined } = report;
    this.generation = generation;
    this.quarantined = quarantined.map(({ name }) => name);
    const at = new Date().toISOString();
    const error = insteadOf && {
      code: insteadOf.error.code,
      step: insteadOf.error.step,
      message: insteadOf.error.message,
    };
    this.lastReload = { at, reason, outcome: error ? 'failed' : outcome, ms, ...(error ? { error } : {}) };
    this.problem('reload', error && `Generation ${generation} serves instead of what was asked for: ${error.message}`);
  }

  failed(reason: string, ms: number, { code, step, message }: BerthError): void {
    const at = new Date().toISOString();
    this.lastReload = { at, reason, outcome: 'failed', ms, error: { code, step, message } };
    this.problem('reload', `The last reload failed: ${message}`);
  }

  unchanged(): Unchanged {
    const { generation, haproxy } = this;
    return {
      outcome: 'unchanged',
      ...(generation === undefined ? {} : { generation }),
      ...(haproxy ? { haproxy: { pid: haproxy.pid } } : {}),
    };
  }

  restarted(): void {
    this.#restarts += 1;
  }

  missing(names: readonly string[]): void {
    this.#missing = names;
    this.problem(
      'missing',
      names.length > 0 ? `${names.length} listeners are not served: ${names.slice(0, 5).join(', ')}` : undefined,
    );
  }

  reserved({ ours, foreign, share, reasserted }: ReservationState): void {
    const times = this.#reservations.reasserted + (reasserted === '' ? 0 : 1);
    this.#reservations = { ours, foreign, share, reasserted: times };
  }

  /** One thing that needs a person; undefined: no longer. */
  problem(what: string, text: string | undefined): void {
    if (text === undefined) this.#problems.delete(what);
    else this.#problems.set(what, text);
  }

  async readGeneration({ state }: HostContext): Promise<void> {
    const serving = (await listGenerations(state)).find((each) => each.serving);
    this.generation = serving?.number;
    this.quarantined = serving?.quarantined ?? [];
  }

  state(keeps: boolean): InstanceState {
    return {
      phase: this.doing === undefined ? this.phase : 'working',
      ...(this.doing === undefined ? {} : { doing: this.doing }),
      ...(this.generation === undefined ? {} : { generation: this.generation }),
      ...(this.haproxy ? { haproxy: this.haproxy } : {}),
      listeners: {
        served: this.#served - this.#missing.length,
        missing: this.#missing.length,
        quarantined: this.quarantined.length,
      },
      ...(this.lastReload ? { lastReload: this.lastReload } : {}),
      ...(this.reconciledAt === undefined ? {} : { reconciledAt: this.reconciledAt }),
      keeper: { enabled: keeps, held: this.#held, restarts: this.#restarts },
      reservations: this.#reservations,
      oldProcesses: this.oldProcesses,
      problems: [...this.#problems.values()],
    };
  }
}
