/**
 * What the agent does to one HAProxy: bring configurations into service, start it again when it died, stop it. One call
 * at a time; instance.ts sees to that.
 */
import { BerthError, toBerthError } from '../errors.js';
import type { Host } from '../host.js';
import type { HostContext } from '../reload/context.js';
import type { ProcessEnd, ProcessInfo, RunningHAProxy } from '../reload/env.js';
import { servingNumber } from '../reload/generations.js';
import { isHalted } from '../reload/halt.js';
import type { HostProcess } from '../reload/processes.js';
import { isAlive } from '../reload/prove.js';
import { reload } from '../reload/reload.js';
import type { ReloadReport, ReviveReport, StopReport } from '../reload/reports.js';
import { revive } from '../reload/revive.js';
import { rollbackTarget } from '../reload/rollback.js';
import { stop } from '../reload/stop.js';
import { policySchema, type Settings, withPolicy } from '../settings.js';
import { type Applied, isSame, lastApplied, rememberApplied } from './applied.js';
import type { CareParts, Own, Told } from './care-parts.js';
import type { ReloadDemand, Unchanged } from './contract.js';
import { Figures } from './figures.js';
import { Keeper } from './keeper.js';
import { Life, type LifeEnvironment, describeEnd, isDeliberate } from './life.js';
import { OldProcesses } from './old-processes.js';
import { Restarts } from './restarts.js';

export class Care {
  readonly name: string;
  readonly host: Host;
  readonly tell: (event: Told) => void;
  readonly keeper: Keeper;
  readonly life: Life;
  readonly restarts = new Restarts();
  readonly figures = new Figures();
  readonly oldProcesses = new OldProcesses();
  /** The last look at all HAProxies, and which others there were than the serving one. */
  lastProcesses: { readonly others: string; readonly all: readonly HostProcess[] } | undefined;
  #applied: Applied | undefined;
  /** The outline that the sources had when they were found to be what serves. */
  settled: string | undefined;
  #mode: 'standalone' | 'master-worker' = 'standalone';
  /** Berth started it: its command line names a generation. */
  #ours = false;
  #statePath: string;
  readonly #wasStopped: LifeEnvironment['wasStopped'];

  constructor(parts: CareParts) {
    const { name, host, tell, store, adopted } = parts;
    this.name = name;
    this.host = host;
    this.#statePath = host.settings.stateDir;
    this.tell = tell;
    this.#wasStopped = parts.life.wasStopped;
    this.life = new Life(parts.life, { end: parts.onEnd, loss: parts.onLoss });
    this.keeper = new Keeper({
      kernel: host.kernel,
      name,
      socketAt: parts.life.socketAt,
      ...(store ? { store } : {}),
      wanted: (process) => {
        this.#ours = process.argv.some((word) => word.startsWith(`${this.#statePath}/`));
        return this.keeps;
      },
      warn: (text) => tell({ type: 'warning', text }),
    });
    this.keeper.adopt(adopted);
  }

  get settings(): Settings {
    return this.host.settings;
  }

  /** Does the agent start this HAProxy again when it dies? */
  get keeps(): boolean {
    const { keeper } = this.settings;
    return keeper === 'on' || (keeper === 'auto' && this.#ours);
  }

  async context(over: Partial<HostContext> = {}): Promise<HostContext> {
    const context = await this.host.writing();
    this.#statePath = context.state.path;
    return { ...context, keeper: this.keeper, ...over };
  }

  /** What is found at the start of the agent. @returns false where no HAProxy runs */
  async takeOver(context: HostContext): Promise<boolean> {
    this.#applied = lastApplied(context.state);
    const running = await context.haproxy.find();
    if (!running) return false;
    await this.follow(running);
    await this.figures.readGeneration(context);
    return true;
  }

  /** This HAProxy serves now: keep its sockets and notice its end. */
  async follow(running: RunningHAProxy): Promise<void> {
    const root = running.master ?? running.worker;
    const known = this.life.watches(root) && this.keeper.owner?.pid === running.worker.pid;
    this.#mode = running.mode;
    if (!known) await this.keeper.renew(running.worker);
    this.life.watch(root, this.keeper.places);
    this.figures.serving(running.worker, this.keeper);
  }

  /** @param mark fingerprint of the sources @throws what {@link reload} throws; then what served before serves */
  async apply(demand: ReloadDemand, mark: string): Promise<ReloadReport | Unchanged> {
    const { reason, ifChanged = false, policy, observer } = demand;
    const sources = demand.sources ?? this.settings.sources;
    if (sources.length === 0) {
      throw new BerthError('BERTH_USAGE', `Instance ${this.name} has no sources, and none were given`, {
        step: 'read',
        advice: 'Name them in the settings (sources) or in the request',
      });
    }
    if (ifChanged && (await this.#isLive(sources, mark))) {
      this.tell({ type: 'reload-unchanged', reason });
      return this.figures.unchanged();
    }
    const workingDirectory = demand.workingDirectory ?? this.settings.haproxy.workingDirectory ?? '/';
    const report = await this.transact(reason, { policy, observer }, async (context) => {
      await this.#bringBack(context);
      return reload(context, { sources, workingDirectory, reason, orLastGood: true });
    });
    this.restarts.forget();
    if (!report.insteadOf) await this.#remember({ sources, fingerprint: mark, generation: report.generation });
    return report;
  }

  async rollback(
    generation: number | undefined,
    { reason = 'rollback', policy, observer }: Own & { readonly reason?: string } = {},
  ): Promise<ReloadReport> {
    return this.transact(reason, { policy, observer }, async (context) => {
      const target = await rollbackTarget(context.state, generation);
      await this.#bringBack(context);
      return reload(context, target);
    });
  }

  /** Run one reload, tell how it went and follow the HAProxy that serves after it. */
  async transact(
    reason: string,
    { policy, observer }: Own,
    work: (context: HostContext) => Promise<ReloadReport>,
  ): Promise<ReloadReport> {
    this.figures.doing ??= `reload: ${reason}`;
    const begin = performance.now();
    const { owner } = this.keeper;
    const ms = () => Math.round(performance.now() - begin);
    this.tell({ type: 'reload-begun', reason });
    const context = await this.context({
      settings: policy ? withPolicy(this.settings, policySchema.parse(policy)) : this.settings,
      observer: (event) => {
        this.tell({ type: 'reload-progress', event });
        observer?.(event);
      },
    });
    try {
      const report = await work(context);
      // First: whoever hears of it finds the process that serves.
      await this.#followAny(context, owner);
      this.figures.reloaded(reason, ms(), report);
      this.tell({ type: 'reload-ended', reason, ms: ms(), report });
      return report;
    } catch (thrown) {
      const error = toBerthError(thrown, 'reload');
      await this.#followAny(context, owner);
      this.figures.failed(reason, ms(), error);
      this.tell({ type: 'reload-failed', reason, ms: ms(), error: error.toJSON() });
      throw error;
    } finally {
      this.figures.doing = undefined;
    }
  }

  /**
   * HAProxy is gone: start it again, with the sockets that the keeper has; where that fails, by a whole reload of the
   * generation that served, which finds out what stands in its way.
   */
  async restart(): Promise<void> {
    const context = await this.context();
    const { owner } = this.keeper;
    try {
      const report = await this.#reviveTwice(context);
      await this.#followAny(context, owner);
      this.#tellRestarted(report);
    } catch (thrown) {
      const error = toBerthError(thrown, 'restart');
      this.tell({ type: 'restart-failed', error: error.toJSON() });
      this.keeper.letGo();
      const serving = await servingNumber(context.state);
      if (serving === undefined) throw error;
      await this.transact('HAProxy died', {}, async (own) => reload(own, await rollbackTarget(own.state, serving)));
    }
  }

  /** Once more before the sockets are let go: HAProxy waits a second for a hand-over, and a busy host may take longer. */
  async #reviveTwice(context: HostContext): Promise<ReviveReport | undefined> {
    try {
      return await revive(context, this.keeper.held, this.#mode);
    } catch (error) {
      this.tell({ type: 'restart-failed', error: toBerthError(error, 'restart').toJSON(), nextInMs: 0 });
      return revive(context, this.keeper.held, this.#mode);
    }
  }

  /** It ended. @returns true where it is to be started again */
  async ended(process: ProcessInfo, end: ProcessEnd): Promise<boolean> {
    // Of one that a reload has retired meanwhile: what serves now is another's matter, and so are the kept sockets.
    if (!this.life.watches(process)) return false;
    const context = await this.context();
    const running = await context.haproxy.find();
    if (running) {
      await this.follow(running);
      return false;
    }
    const { unit } = process;
    const byManager = end.how === 'unknown' && unit !== undefined && (await this.#wasStopped(unit));
    const deliberate = isDeliberate(end) || byManager || isHalted(context.state);
    this.tell({ type: 'haproxy-died', pid: process.pid, how: describeEnd(end), deliberate });
    this.figures.gone(deliberate ? 'stopped' : 'failed');
    this.life.stop();
    if (!deliberate && this.keeps) return true;
    this.keeper.letGo();
    return false;
  }

  async stop(options: { readonly hard?: boolean }): Promise<StopReport> {
    this.life.stop();
    const report = await stop(await this.context(), options);
    this.figures.gone('stopped');
    this.tell({ type: 'haproxy-stopped', report });
    return report;
  }

  /** Told now, and shown as a problem until it is gone. */
  trouble(what: string, error: unknown): void {
    const text = `${what}: ${toBerthError(error, what).message}`;
    this.figures.problem(what, text);
    this.tell({ type: 'warning', text });
  }

  /** A HAProxy that died a moment ago is brought back first: the reload then finds its sockets where they were. */
  async #bringBack(context: HostContext): Promise<void> {
    if (this.keeper.held.length === 0 || (await context.haproxy.find())) return;
    try {
      this.#tellRestarted(await revive(context, this.keeper.held, this.#mode));
    } catch (error) {
      this.tell({ type: 'restart-failed', error: toBerthError(error, 'restart').toJSON() });
      this.keeper.letGo();
    }
  }

  #tellRestarted(report: ReviveReport | undefined): void {
    if (!report) return;
    this.figures.restarted();
    this.tell({ type: 'haproxy-restarted', report });
  }

  /** @param before who owned the kept sockets when the work began */
  async #followAny(context: HostContext, before: ProcessInfo | undefined): Promise<void> {
    try {
      const running = await context.haproxy.find();
      const { owner } = this.keeper;
      if (running) await this.follow(running);
      // It has come to serve, and died before anybody watched it: its end is told as any other's.
      else if (owner && owner !== before && !(await isAlive(context.kernel, owner))) this.life.watch(owner, []);
    } catch (error) {
      // What went live is live: the next reconciliation looks again.
      this.tell({ type: 'warning', text: toBerthError(error, 'find').message });
    }
  }

  async #isLive(sources: readonly string[], mark: string): Promise<boolean> {
    const context = await this.host.reading();
    if (!isSame(this.#applied, sources, mark)) return false;
    return (
      (await servingNumber(context.state)) === this.#applied?.generation && (await context.haproxy.find()) !== undefined
    );
  }

  /** Do these files, or a failure that they had, stand for the sources as they are now? */
  isApplied(sources: readonly string[], mark: string): boolean {
    return isSame(this.#applied, sources, mark);
  }

  async #remember(applied: Applied): Promise<void> {
    this.#applied = applied;
    this.settled = undefined;
    try {
      rememberApplied((await this.host.reading()).state, applied);
    } catch (error) {
      this.tell({ type: 'warning', text: toBerthError(error, 'state').message });
    }
  }
}
