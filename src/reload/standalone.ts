/** The switch in standalone mode: start the new HAProxy beside the old one, prove it, and only then retire the old one. */
import { BerthError } from '../errors.js';
import type { HAProxyCommand, ProcessInfo, StartedHAProxy } from './env.js';
import type { ReloadContext } from './context.js';
import { type Guard, type OldProcess, handOver } from './handover.js';
import { describeProof, endProcess, finishes, isAlive, prove, resume, stillListens } from './prove.js';
import { rememberStop } from './stop-times.js';
import type { Transaction } from './transaction.js';
import { type Expectation, type Verification, describeVerification, verify } from './verify.js';

export interface SwitchInput {
  /** Number of the generation that is to serve. */
  readonly generation: number;
  readonly command: HAProxyCommand;
  readonly old: OldProcess | undefined;
  readonly guards: readonly Guard[];
  /** Of every planned bind: what must be served, with the inodes that are handed over. */
  readonly expected: readonly Expectation[];
  /** Binds that only HAProxy can resolve may add listeners that were not planned. */
  readonly lenient: boolean;
}

export interface Switched {
  readonly process: ProcessInfo;
  readonly verification: Verification;
  readonly repairs: readonly string[];
}

/** A second start is a repair; a third would only repeat it. */
const ATTEMPTS = 2;

/** Resolves with a proven HAProxy beside the old one; rejects with nothing of the new one left and the old one serving. */
export async function switchStandalone(
  context: ReloadContext,
  transaction: Transaction,
  input: SwitchInput,
): Promise<Switched> {
  const repairs: string[] = [];
  for (let attempt = 1; ; attempt++) {
    const process = await transaction.phase('hand over', () => startBeside(context, input));
    transaction.onRollBack(`end haproxy[${process.pid}]`, () => endProcess(context, process));
    const proof = await transaction.phase('verify', () =>
      prove({ ...context, settleMs: context.settings.timeouts.settleMs }, process, input.expected, input.lenient),
    );
    repairs.push(...proof.repairs);
    if (proof.verification.ok && proof.alive) {
      await context.journal.append({ kind: 'verified' });
      return { process, verification: proof.verification, repairs };
    }
    const what = describeProof(proof) + (await unseen(context, process));
    await endProcess(context, process);
    await resumeOld(context, input);
    if (attempt === ATTEMPTS || context.signal?.aborted) {
      throw new BerthError('BERTH_VERIFY_FAILED', `haproxy[${process.pid}] started without an error, but: ${what}`, {
        step: 'verify',
      });
    }
    const text = `haproxy[${process.pid}]: ${what}; started once more`;
    repairs.push(text);
    context.observer({ type: 'repair', text });
  }
}

/** What may not be looked at shows no socket: then the privilege is what is missing, not the listeners. */
async function unseen({ kernel }: ReloadContext, { pid }: ProcessInfo): Promise<string> {
  const hidden = await kernel.hiddenHAProxies();
  return hidden.some((one) => one.pid === pid) ? '; Berth may not look at its sockets, that needs CAP_SYS_PTRACE' : '';
}

async function startBeside(context: ReloadContext, input: SwitchInput): Promise<ProcessInfo> {
  const { state } = context;
  const paths = handoverPaths(context, input.generation);
  const order = input.expected.flatMap(({ inodes }) => inodes);
  const started = await handOver(context, input.command, paths, input.old, input.guards, order);
  const process = await registered(context, started);
  if (process) return process;
  throw new BerthError(
    'BERTH_RELOAD_FAILED',
    `haproxy[${started.pid}] ended right after its start; see its log (state ${state.path})`,
    {
      step: 'hand-over',
    },
  );
}

/** In the journal and in the kernel's table; where either cannot be told, what was started is ended at once. */
async function registered(context: ReloadContext, started: StartedHAProxy): Promise<ProcessInfo | undefined> {
  const { pid, startTicks } = started;
  try {
    await context.journal.append({ kind: 'started', pid, startTicks });
    const process = await context.kernel.process(pid);
    return process?.startTicks === startTicks ? process : undefined;
  } catch (error) {
    await endProcess(context, started);
    throw error;
  }
}

export function handoverPaths(context: Pick<ReloadContext, 'state'>, generation: number) {
  return {
    handoff: context.state.socket(`${generation}.handoff`),
    pidFile: context.state.socket(`${generation}.pid`),
    statsSocket: context.state.socket(`${generation}.stats`),
  };
}

/** The listeners of the old process are shared with the new one: what paused them there paused them here. */
async function resumeOld(
  context: Pick<ReloadContext, 'kernel' | 'haproxy'>,
  input: Pick<SwitchInput, 'old' | 'expected'>,
): Promise<void> {
  if (!input.old) return;
  const { worker } = input.old.running;
  const inodes = new Set(input.old.served.map(({ inode }) => inode));
  const expected = input.expected.filter((one) => one.inodes.some((inode) => inodes.has(inode)));
  if (!(await isAlive(context.kernel, worker))) return;
  const { missing } = await verify(context.kernel, worker, expected, true);
  if (missing.length > 0) await resume(context, worker, expected, true);
}

/**
 * Tell the old process to finish (SIGUSR1; a master has told its worker already), wait until it listens no more, and see
 * that this took nothing from the new one.
 * @returns repairs and warnings
 */
export async function retire(
  context: ReloadContext,
  old: ProcessInfo,
  mode: 'standalone' | 'master-worker',
  serving: { readonly process: ProcessInfo; readonly expected: readonly Expectation[]; readonly lenient: boolean },
): Promise<{ readonly repairs: string[]; readonly warnings: string[] }> {
  if (mode === 'standalone') {
    if (!(await isAlive(context.kernel, serving.process))) throw diedBeside(old, serving.process);
    await context.journal.append({ kind: 'retiring', pid: old.pid, startTicks: old.startTicks });
    await context.haproxy.signal(old, 'SIGUSR1');
  }
  rememberStop(context.state, old.pid);
  const warnings: string[] = [];
  // Closing 19000 listeners takes HAProxy 2.6 seconds.
  const patienceMs = 2000 + serving.expected.length;
  if (!(await finishes(context, old, patienceMs))) warnings.push(`${stillListens(old)}; see berth status`);
  const proof = await prove({ ...context, settleMs: 0 }, serving.process, serving.expected, serving.lenient);
  if (!proof.verification.ok) warnings.push(`After the switch: ${describeVerification(proof.verification)}`);
  return { repairs: [...proof.repairs], warnings };
}

/** The journal stays open: the next run goes back to what the old one serves. */
function diedBeside(old: ProcessInfo, { pid }: ProcessInfo): BerthError {
  return new BerthError(
    'BERTH_RELOAD_FAILED',
    `haproxy[${pid}] died right after it was committed, and haproxy[${old.pid}] was not told to finish`,
    { step: 'retire' },
  );
}
