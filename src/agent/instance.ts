/** One HAProxy under the agent's care, seen from outside: every demand has its turn, and what happens by itself has one too. */
import { BerthError, toBerthError } from '../errors.js';
import { type Berth, berthOn, type ConfigurationOptions } from '../berth.js';
import { recoverUnfinished } from '../reload/session.js';
import { isHalted } from '../reload/halt.js';
import type { KeptSocket } from '../reload/revive.js';
import type { ReloadReport, ReserveReport, StopReport } from '../reload/reports.js';
import type { Settings } from '../settings.js';
import { Care } from './care.js';
import type { CareParts } from './care-parts.js';
import type { Instance, InstanceState, ReloadDemand, Unchanged } from './contract.js';
import { fingerprint, outline } from './fingerprint.js';
import { Listings } from './listings.js';
import type { HandoffServer, ProcessEnd, ProcessInfo } from '../reload/env.js';
import { handedGuard } from '../reload/handover.js';
import type { Queue } from './queue.js';
import { tend } from './tend.js';
import { type Watch, watchSources } from './watch.js';

export interface InstanceParts extends Omit<CareParts, 'onEnd' | 'onLoss'> {
  /** Of its network namespace: instances that share one never work at the same time. */
  readonly queue: Queue;
}

/** Every so many reconciliations look at every descriptor of HAProxy's. */
const THOROUGH = 6;
/** A configuration that failed for another reason than itself is tried again after so long, then after twice that. */
const RETRY_MS = 10_000;
const LONGEST_RETRY_MS = 600_000;
/** Who takes over fetches at once. */
const OFFER_MS = 30_000;
/** Codes of errors.ts that only another configuration cures. */
const CONFIGURATION = /^BERTH_CONFIG_|^BERTH_USAGE$/;

export class OpenInstance implements Instance {
  readonly name: string;
  readonly berth: Berth;
  readonly #care: Care;
  readonly #queue: Queue;
  readonly #listings = new Listings('latin1');
  #watch: Watch | undefined;
  #timer: NodeJS.Timeout | undefined;
  #restart: NodeJS.Timeout | undefined;
  #offer: HandoffServer | undefined;
  #rounds = 0;
  #closing = false;
  #failed: { readonly mark: string; readonly retryAt: number; readonly delay: number } | undefined;

  constructor({ queue, ...parts }: InstanceParts) {
    this.name = parts.name;
    this.#queue = queue;
    this.#care = new Care({
      ...parts,
      onEnd: (process, end) => void this.#ended(process, end),
      onLoss: () => void this.#look(true).catch(() => undefined),
    });
    this.berth = berthOn(parts.host);
  }

  get settings(): Settings {
    return this.#care.settings;
  }

  get state(): InstanceState {
    return this.#care.figures.state(this.#care.keeps);
  }

  /** Finish what was cut off, take over what serves or start it, and watch from then on. Never rejects. */
  async start(): Promise<void> {
    await this.#turn(undefined, 'start', () => this.#takeOver()).catch((error: unknown) =>
      this.#trouble('start', error),
    );
    this.#watch = await this.#watchSources();
    this.#timer = setInterval(() => void this.#look(false).catch(() => undefined), this.settings.reconcile.intervalMs);
    await this.#look(false).catch(() => undefined);
  }

  /** Ends after the transaction under way. HAProxy, its listeners and its reservations stay as they are. */
  async close(): Promise<void> {
    await this.#end();
    this.#care.keeper.close();
  }

  async #end(): Promise<void> {
    this.#closing = true;
    clearInterval(this.#timer);
    clearTimeout(this.#restart);
    this.#care.life.stop();
    await this.#watch?.close();
    await this.#offer?.stop();
    await this.#queue.idle();
    await this.#care.host.close();
  }

  /** Ends as {@link close}; what the keeper holds is the caller's. */
  async handOver(): Promise<readonly KeptSocket[]> {
    await this.#end();
    return this.#care.keeper.handOver();
  }

  /** Offer a copy of what the keeper holds, for half a minute. @returns the socket to fetch it from; undefined: nothing is held */
  async offer(): Promise<string | undefined> {
    const { keeper, host } = this.#care;
    if (keeper.held.length === 0) return undefined;
    const { state } = await host.reading();
    await this.#offer?.stop();
    const offer = await host.kernel.serveSockets(state.socket('succession'), keeper.held.map(handedGuard));
    this.#offer = offer;
    setTimeout(() => void offer.stop(), OFFER_MS).unref();
    return offer.path;
  }

  letGo(): void {
    this.#care.keeper.letGo();
  }

  reload(demand: ReloadDemand): Promise<ReloadReport | Unchanged> {
    const { sources, workingDirectory, policy, ifChanged } = demand;
    const key = `${this.name} ${JSON.stringify([sources, workingDirectory, policy, ifChanged])}`;
    return this.#turn(key, `reload: ${demand.reason}`, () => this.#apply(demand));
  }

  rollback(generation: number | undefined, demand?: Partial<ReloadDemand>): Promise<ReloadReport> {
    return this.#turn(undefined, 'rollback', () => this.#care.rollback(generation, demand));
  }

  reserve(targets: readonly string[], options?: ConfigurationOptions): Promise<ReserveReport> {
    return this.#turn(undefined, 'reserve', () => this.berth.reserve(targets, options));
  }

  release(ports?: string): Promise<ReserveReport> {
    return this.#turn(undefined, 'release', () => this.berth.release(ports));
  }

  stop(options: { readonly hard?: boolean } = {}): Promise<StopReport> {
    clearTimeout(this.#restart);
    return this.#turn(undefined, 'stop', () => this.#care.stop(options));
  }

  reconcile(): Promise<void> {
    return this.#look(true);
  }

  #look(thorough: boolean): Promise<void> {
    const whole = thorough || ++this.#rounds % THOROUGH === 0;
    return this.#queue.run(`${this.name} reconcile ${whole}`, async () => {
      try {
        await this.#watch?.refresh();
        await tend(this.#care, {
          thorough: whole,
          watched: this.#watch?.complete ?? false,
          outline: () => outline(this.settings.sources, this.#listings),
          mayApply: (mark) => this.#mayApply(mark),
          apply: (demand, mark) => this.#apply(demand, mark),
          restart: () => this.#restartNow(),
        });
        // Of the reloads, too, that there were meanwhile.
        if (whole) await this.#care.host.kernel.releaseMemory();
        this.#care.figures.problem('reconcile', undefined);
      } catch (error) {
        this.#trouble('reconcile', error);
      } finally {
        this.#care.figures.reconciledAt = new Date().toISOString();
      }
    });
  }

  async #takeOver(): Promise<void> {
    const care = this.#care;
    const context = await care.context();
    const recovery = await recoverUnfinished(context);
    if (recovery) care.tell({ type: 'recovered', found: recovery.found, done: recovery.done });
    if (await care.takeOver(context)) return;
    if (isHalted(context.state)) {
      care.keeper.letGo();
      care.figures.gone('stopped');
    } else if (care.keeper.held.length > 0) await this.#restartNow();
    else if (this.settings.sources.length === 0) care.figures.gone('stopped');
  }

  async #apply(demand: ReloadDemand, known?: string): Promise<ReloadReport | Unchanged> {
    clearTimeout(this.#restart);
    const mark = known ?? (await fingerprint(demand.sources ?? this.settings.sources));
    try {
      const report = await this.#care.apply(demand, mark);
      this.#failed = undefined;
      if (report.outcome !== 'unchanged' && report.insteadOf) this.#hold(mark, report.insteadOf.error.code);
      return report;
    } catch (error) {
      this.#hold(mark, toBerthError(error, 'reload').code);
      throw error;
    }
  }

  #hold(mark: string, code: string): void {
    const delay = this.#failed?.mark === mark ? Math.min(LONGEST_RETRY_MS, this.#failed.delay * 2) : RETRY_MS;
    const never = CONFIGURATION.test(code);
    this.#failed = { mark, delay, retryAt: never ? Infinity : performance.now() + delay };
  }

  #mayApply(mark: string): boolean {
    return this.#failed?.mark !== mark || performance.now() >= this.#failed.retryAt;
  }

  async #ended(process: ProcessInfo, end: ProcessEnd): Promise<void> {
    if (this.#closing) return;
    await this.#turn(undefined, 'restart', async () => {
      if (await this.#care.ended(process, end)) await this.#restartNow();
    }).catch((error: unknown) => this.#trouble('restart', error));
  }

  /** As soon as the back-off allows. */
  async #restartNow(): Promise<void> {
    const care = this.#care;
    const wait = care.restarts.next(this.settings.restart, performance.now());
    if (wait === undefined) {
      care.keeper.letGo();
      care.figures.gone('failed');
      const why = `HAProxy died ${this.settings.restart.limit} times within ${this.settings.restart.windowMs / 1000} s and is not started again`;
      care.figures.problem('haproxy', `${why}; see its log, then: berth reload`);
      const error = new BerthError('BERTH_RELOAD_FAILED', why, { step: 'restart' });
      care.tell({ type: 'restart-failed', error: error.toJSON() });
      return;
    }
    if (wait > 0) {
      this.#restart = setTimeout(() => void this.#restartLater(), wait);
      return;
    }
    await this.#tryRestart();
  }

  async #restartLater(): Promise<void> {
    if (this.#closing) return;
    await this.#turn(undefined, 'restart', () => this.#tryRestart()).catch(() => undefined);
  }

  async #tryRestart(): Promise<void> {
    try {
      await this.#care.restart();
    } catch (error) {
      this.#trouble('restart', error);
      // Without a generation there is nothing to start, however often.
      if (toBerthError(error, 'restart').code === 'BERTH_GENERATION_UNKNOWN') this.#care.figures.gone('failed');
      else await this.#restartNow();
    }
  }

  async #watchSources(): Promise<Watch | undefined> {
    const { sources, reconcile } = this.settings;
    if (sources.length === 0) return undefined;
    try {
      return await watchSources(sources, {
        delayMs: reconcile.delayMs,
        onChange: (paths) => {
          this.#care.tell({ type: 'source-changed', paths });
          void this.#changed().catch(() => undefined);
        },
        onError: (error) => this.#trouble('watch', error),
      });
    } catch (error) {
      this.#trouble('watch', error);
      return undefined;
    }
  }

  async #changed(): Promise<void> {
    const { phase } = this.#care.figures;
    if (this.#closing || phase === 'stopped' || phase === 'failed') return;
    if (!this.#mayApply(await fingerprint(this.settings.sources))) return;
    await this.reload({ reason: 'source changed', ifChanged: true });
  }

  #turn<T>(key: string | undefined, doing: string, work: () => Promise<T>): Promise<T> {
    return this.#queue.run(key, async () => {
      this.#care.figures.doing = doing;
      try {
        return await work();
      } finally {
        this.#care.figures.doing = undefined;
      }
    });
  }

  #trouble(what: string, error: unknown): void {
    this.#care.trouble(what, error);
  }
}
