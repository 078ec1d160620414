/**
 * The ladder: what is done about a port that somebody has. *share* (SO_REUSEADDR on the holder's connected socket, which
 * lives on), *destroy* (TIME_WAIT and orphans, which nobody owns; by setting more), *wait*; what is left ends in
 * quarantine or abort. Each rung is a setting, and each act is told with the one whom it touched.
 */
import type { InetEndpoint } from '../model/endpoint.js';
import { endpointKey, formatEndpoint } from '../model/endpoint.js';
import type { Action, SecureStep } from '../model/plan.js';
import type { SocketOwner } from '../model/socket.js';
import type { Holder, Verdict } from '../model/verdict.js';
import type { Descriptor, Kernel, ProbeResult } from './env.js';
import type { ReloadObserver, SecuredListener } from './reports.js';

export interface LadderSettings {
  readonly wait: { readonly enabled: boolean; readonly deadlineMs: number };
}

export interface LadderEnvironment {
  readonly kernel: Kernel;
  readonly settings: LadderSettings;
  /** Why each of these is not free, from the kernel's tables. */
  readonly diagnose: (results: readonly ProbeResult[]) => Promise<ReadonlyMap<string, Verdict>>;
  /** Which rungs the settings allow for a verdict, in order. */
  readonly rungs: (verdict: Verdict) => readonly Action[];
  readonly observer: ReloadObserver;
  readonly signal?: AbortSignal;
  /** Told before a socket of somebody else is shared or destroyed, so that the journal knows. */
  readonly beforeAct: (action: 'share' | 'destroy', endpoint: InetEndpoint, holder: Holder) => Promise<void>;
}

export interface SecuredPorts {
  /** endpointKey → guard; whoever called closes them. */
  readonly guards: Map<string, Descriptor>;
  readonly secured: SecuredListener[];
  /** What could not be secured, with the last verdict. */
  readonly unsolved: SecureStep[];
}

/** What was done so far: for each listener the act that counts and all owners, and the sockets that need no second one. */
interface Acts {
  readonly listeners: Map<string, { readonly action: Action; readonly owners: readonly SocketOwner[] }>;
  readonly sockets: Set<string>;
}

const LONGEST_PAUSE_MS = 200;

/**
 * Rounds that act beyond the deadline, which is for waiting: where the journal's disk or the search for owners is slow, acting
 * takes all of it, and a connection that closed meanwhile (its TIME_WAIT is another socket) would cost the listener its port.
 */
const LATE_ROUNDS = 3;

/**
 * Secure what the probe left busy. `guards` holds the guards of the endpoints that were free and is added to.
 * On a throw (abort signal, a failed system call) every guard is closed.
 */
export async function climb(
  env: LadderEnvironment,
  steps: readonly SecureStep[],
  guards: Map<string, Descriptor>,
): Promise<SecuredPorts> {
  const secured: SecuredListener[] = [];
  const deadline = performance.now() + env.settings.wait.deadlineMs;
  let pause = 10;
  let late = 0;
  let open = steps.filter(({ bind }) => !guards.has(endpointKey(bind.endpoint)));
  const done: Acts = { listeners: new Map(), sockets: new Set() };
  try {
    while (open.some(({ rungs }) => rungs.some(isClimbable))) {
      env.signal?.throwIfAborted();
      const acted = await actOn(env, open, done);
      if (!acted) {
        if (!open.some(({ rungs }) => rungs.includes('wait')) || performance.now() >= deadline) break;
        await sleep(Math.min(pause, Math.max(1, deadline - performance.now())), env.signal);
        pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
      }
      open = await probeAgain(env, open, guards, (step) => {
        const name = formatEndpoint(step.bind.endpoint);
        const { action, owners } = done.listeners.get(endpointKey(step.bind.endpoint)) ?? {
          action: 'wait',
          owners: [],
        };
        const sentence = `${name} ${PAST[action]}${by(owners)}`;
        const listener = { name, action, cause: step.verdict.kind, owners, sentence };
        secured.push(listener);
        env.observer({ type: 'secured', listener });
      });
      if (acted && performance.now() >= deadline && ++late > LATE_ROUNDS) break;
    }
    return { guards, secured, unsolved: open };
  } catch (error) {
    env.kernel.close([...guards.values()]);
    guards.clear();
    throw error;
  }
}

/** Share and destroy whatever the present verdicts allow. True where anything was done. */
async function actOn(env: LadderEnvironment, open: readonly SecureStep[], done: Acts): Promise<boolean> {
  let acted = false;
  for (const { bind, verdict, rungs } of open) {
    if (bind.endpoint.kind !== 'inet' || !('holders' in verdict)) continue;
    for (const holder of verdict.holders) {
      const action = actionFor(holder, rungs);
      const socket = `${action} ${holder.socket.cookie ?? holder.socket.inode}`;
      if (!action || done.sockets.has(socket)) continue;
      done.sockets.add(socket);
      await env.beforeAct(action, bind.endpoint, holder);
      if (await act(env.kernel, action, holder)) {
        acted = true;
        const key = endpointKey(bind.endpoint);
        const before = done.listeners.get(key);
        // A port can have live connections and dead ones on it: whose live one was touched must not go untold.
        const shared = action === 'share' || before?.action === 'share';
        done.listeners.set(key, {
          action: shared ? 'share' : action,
          owners: [...(before?.owners ?? []), ...holder.owners],
        });
      }
    }
  }
  return acted;
}

function actionFor(holder: Holder, rungs: readonly Action[]): 'share' | 'destroy' | undefined {
  if (holder.socket.state === 'LISTEN') return undefined;
  if (holder.owners.length > 0 && rungs.includes('share')) return 'share';
  return rungs.includes('destroy') ? 'destroy' : undefined;
}

/** False where the holder went away meanwhile: then the next probe tells. */
async function act(kernel: Kernel, action: 'share' | 'destroy', holder: Holder): Promise<boolean> {
  try {
    if (action === 'destroy') await kernel.destroy(holder.socket);
    // Several processes can hold one socket: the flag is the socket's, so one owner is enough.
    else if (holder.owners[0]) await kernel.share(holder.owners[0], holder.socket);
    return true;
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}

async function probeAgain(
  env: LadderEnvironment,
  open: readonly SecureStep[],
  guards: Map<string, Descriptor>,
  onSecured: (step: SecureStep) => void,
): Promise<SecureStep[]> {
  const endpoints = open.flatMap(({ bind }) => (bind.endpoint.kind === 'inet' ? [bind.endpoint] : []));
  const results = await env.kernel.probe(endpoints, { keep: true });
  for (const { endpoint, guard } of results) if (guard !== undefined) guards.set(endpointKey(endpoint), guard);
  const verdicts = await env.diagnose(results.filter(({ outcome }) => outcome !== 'free'));
  const still: SecureStep[] = [];
  for (const step of open) {
    const key = endpointKey(step.bind.endpoint);
    const verdict = verdicts.get(key);
    const guard = guards.get(key);
    // Beside a listener of somebody else HAProxy's own options would bind, and half of the traffic would be theirs.
    if (guard !== undefined && verdict?.kind !== 'taken') {
      onSecured(step);
      continue;
    }
    if (guard !== undefined) {
      env.kernel.close([guard]);
      guards.delete(key);
    }
    const now = verdict ?? step.verdict;
    still.push({ ...step, verdict: now, rungs: env.rungs(now) });
  }
  return still;
}

const PAST: Record<Action, string> = {
  guard: 'was free',
  share: 'is shared with the connection on it',
  destroy: 'was freed: what was left of a closed connection was removed',
  wait: 'became free',
  quarantine: 'is left out',
  abort: 'stops the reload',
};

function by(owners: readonly SocketOwner[]): string {
  const names = [...new Set(owners.map(({ comm, pid }) => `${comm}[${pid}]`))];
  return names.length > 0 ? ` of ${names.join(', ')}` : '';
}

function isClimbable(action: Action): boolean {
  return action === 'share' || action === 'destroy' || action === 'wait';
}

/** Process, descriptor or socket went between the look and the act; ESTALE: its descriptor or its place is another socket's by now. */
function isGone(error: unknown): boolean {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ESRCH' || code === 'EBADF' || code === 'ENOENT' || code === 'ESTALE';
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = () => {
      signal?.removeEventListener('abort', abort);
      resolve();
    };
    const timer = setTimeout(done, ms);
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
    };
    signal?.addEventListener('abort', abort, { once: true });
  });
}
