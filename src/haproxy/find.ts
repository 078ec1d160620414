/** Which HAProxy serves now: by its master socket, its pid file, what Berth remembers, or who listens. */
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { BerthError, systemCause } from '../errors.js';
import type { ProcessInfo, RunningHAProxy } from '../reload/env.js';
import { identity } from '../model/process.js';
import { isDead, isHAProxy, listening, livingHAProxies, optionOf, sleep, type Context } from './context.js';
import { isWritableByOthers, readPidFile } from './pid-file.js';
import { showProc } from './show-proc.js';

export interface FindOptions {
  readonly pidFile?: string;
  readonly masterSocket?: string;
  /**
   * A pid file or master socket that names a dead process or another program: `refuse` it, since a person named it, or
   * take it for `none`: who restarts what died finds such a one each time.
   */
  readonly stale?: 'refuse' | 'none';
  /** The same for the master socket alone, where nobody named it: its place is Berth's own. Default: as `stale`. */
  readonly staleSocket?: 'refuse' | 'none';
  /** The HAProxy that Berth itself started last, as its journal has it. */
  readonly remembered?: () => Promise<{ readonly pid: number; readonly startTicks: string } | undefined>;
}

const MASTER_LIMIT_MS = 5_000;

/**
 * In this order, the first that names one decides:
 * 1. the master socket, if it exists;
 * 2. the pid file, if it exists; one that others can write to (Debian's /run/haproxy is HAProxy's user's) goes behind 3.
 *    where that process listens: that user must not be able to point Berth at the HAProxy of somebody else;
 * 3. what Berth remembers, if that process still lives;
 * 4. who listens. Where no pid file and no master socket was named: the one HAProxy of this network namespace that has
 *    listening TCP sockets. Where one was named but does not exist, only a HAProxy whose own command line names it
 *    (`-p`, `-S`) counts: any other is somebody else's. So is one whose sockets another user made: any user can call a
 *    process haproxy, and its sockets are not to be handed on as HAProxy's.
 * undefined: none runs, this is a first start.
 * @throws BERTH_HAPROXY_NOT_FOUND where what is named is dead, another program, or in another network namespace, or
 *   where several HAProxies listen and none is named; BERTH_HAPROXY_SOCKET where the master socket is not a master's;
 *   BERTH_HAPROXY_UNSUITABLE for `nbproc`.
 */
export async function findHAProxy(context: Context, options: FindOptions): Promise<RunningHAProxy | undefined> {
  const all = await livingHAProxies(context.kernel);
  let listeners: Promise<ReadonlySet<number>> | undefined;
  const view: View = { context, all, listening: () => (listeners ??= listening(context.kernel, all)) };
  const remembered = await options.remembered?.();
  const alive = remembered && all.find((found) => identity(found) === identity(remembered));
  const named = await byName({ ...view, serving: alive }, options);
  if (named) return named;
  if (alive) return describe(view, alive, 'journal', options);
  const listener = await byListeners(view, options);
  if (!listener) await refuseHidden(view, options);
  return listener;
}

async function byName(view: View, options: FindOptions): Promise<RunningHAProxy | undefined> {
  const { stale, staleSocket = stale } = options;
  for (const [look, whenStale] of [
    [byMasterSocket, staleSocket],
    [byPidFile, stale],
  ] as const) {
    try {
      const named = await look(view, options);
      if (named) return named;
    } catch (error) {
      const isStale = error instanceof BerthError && error.code === 'BERTH_HAPROXY_NOT_FOUND';
      if (!isStale || whenStale !== 'none') throw error;
    }
  }
  return undefined;
}

/**
 * The HAProxy processes of the namespace, and which of them have TCP sockets in LISTEN. That takes a look at every descriptor
 * of theirs (4 µs each), so that it is asked for only where it makes a difference.
 */
interface View {
  readonly context: Context;
  readonly all: readonly ProcessInfo[];
  readonly listening: () => Promise<ReadonlySet<number>>;
  /** The one that Berth remembers, alive. */
  readonly serving?: ProcessInfo | undefined;
}

async function byMasterSocket(view: View, options: FindOptions): Promise<RunningHAProxy | undefined> {
  const { masterSocket } = options;
  if (masterSocket === undefined) return undefined;
  const pid = await masterBehind(view, masterSocket, options);
  if (pid === undefined) return undefined;
  return describe(view, await living(view, pid, `the master socket ${masterSocket}`), 'master-socket', options);
}

/** pid of the master; undefined where the socket does not exist, or is deaf and the pid file can tell instead. */
async function masterBehind(view: View, socket: string, options: FindOptions): Promise<number | undefined> {
  for (const deadline = performance.now() + MASTER_LIMIT_MS; ;) {
    try {
      return (await showProc(socket, { timeoutMs: MASTER_LIMIT_MS })).master.pid;
    } catch (error) {
      const code = error instanceof BerthError ? error.system?.code : undefined;
      if (code === 'ENOENT') return undefined;
      if (code !== 'ECONNREFUSED' && code !== 'ECONNRESET') throw error;
      // The masters of 2.2 to 3.0 have no listener on their socket while they reload.
      if (options.pidFile !== undefined && (await readPidFile(options.pidFile))?.length) return undefined;
      const own = await Promise.all(view.all.map((root) => namesItself(root, { masterSocket: socket })));
      if (!own.includes(true) || performance.now() >= deadline) {
        throw notFound(`Nobody listens on the master socket ${socket}: the HAProxy that made it is gone`, error);
      }
      await sleep(20);
    }
  }
}

async function byPidFile(view: View, options: FindOptions): Promise<RunningHAProxy | undefined> {
  const { pidFile } = options;
  const pids = pidFile === undefined ? undefined : await readPidFile(pidFile);
  if (pidFile === undefined || pids === undefined) return undefined;
  if (await isOverruled(view, pidFile, pids)) return undefined;
  if (pids.length === 0) throw notFound(`The pid file ${pidFile} is empty; remove it if no HAProxy runs`);
  const alive = view.all.filter(({ pid }) => pids.includes(pid));
  const roots = alive.filter(({ ppid }) => !alive.some(({ pid }) => pid === ppid));
  if (roots.length > 1) {
    throw new BerthError(
      'BERTH_HAPROXY_UNSUITABLE',
      `The pid file ${pidFile} names ${roots.length} HAProxy processes (${list(roots)}): with nbproc no single one serves`,
      { step: 'find', advice: 'Replace nbproc by nbthread' },
    );
  }
  const root = roots[0] ?? (await living(view, pids[0] ?? 0, `the pid file ${pidFile}`));
  return describe(view, root, 'pid-file', options);
}

/** By what Berth remembers: it listens, the file names another, and whoever may write to the file could have done that. */
async function isOverruled({ serving, listening }: View, pidFile: string, pids: readonly number[]): Promise<boolean> {
  if (!serving || pids.includes(serving.pid) || pids.includes(serving.ppid)) return false;
  return (await isWritableByOthers(pidFile).catch(() => true)) && (await listening()).has(serving.pid);
}

/** A process that must be a HAProxy of this network namespace. */
async function living(view: View, pid: number, namedBy: string): Promise<ProcessInfo> {
  const found = view.all.find((candidate) => candidate.pid === pid) ?? (await view.context.kernel.process(pid));
  if (!found || isDead(found)) {
    throw notFound(`${capital(namedBy)} names process ${pid}, which is gone; remove it if no HAProxy runs`);
  }
  if (found.comm !== 'haproxy')
    throw notFound(`${capital(namedBy)} names process ${pid}, which is ${found.comm}, not haproxy`);
  if (found.netns === '') throw hidden([found]);
  const own = await ownNamespace(view.context);
  if (own !== undefined && digits(found.netns) !== own) {
    throw notFound(
      `${capital(namedBy)} names haproxy[${pid}], which runs in another network namespace; name that with --netns`,
    );
  }
  return found;
}

/** None was found, but something listens here, and there are HAProxies that Berth may not look at: one of these may serve. */
async function refuseHidden({ context: { kernel } }: View, options: FindOptions): Promise<void> {
  // One that is ending has no namespace any more, and is no secret.
  let suspects = (await kernel.hiddenHAProxies()).filter(isHAProxy);
  if (options.pidFile !== undefined || options.masterSocket !== undefined) {
    const own = await Promise.all(suspects.map((root) => namesItself(root, options)));
    suspects = suspects.filter((_, at) => own[at]);
  }
  if (suspects.length === 0) return;
  const rows = await kernel.boundSockets([], { silent: false });
  if (rows.some(({ state }) => state === 'LISTEN')) throw hidden(suspects);
}

function hidden(processes: readonly ProcessInfo[]): BerthError {
  return new BerthError(
    'BERTH_PERMISSION',
    `Berth may not look at ${list(processes)} (/proc/PID/ns/net): it needs CAP_SYS_PTRACE to see what a HAProxy with more privileges serves`,
    {
      step: 'find',
      advice: 'Give Berth CAP_SYS_PTRACE, or name another HAProxy with --pid-file or --master-socket',
    },
  );
}

async function ownNamespace({ kernel, netns }: Context): Promise<string | undefined> {
  if (netns !== undefined) return String((await stat(netns)).ino);
  return digits((await kernel.process(process.pid))?.netns ?? '');
}

function digits(netns: string): string | undefined {
  return /\d+/.exec(netns)?.[0];
}

async function byListeners(view: View, options: FindOptions): Promise<RunningHAProxy | undefined> {
  const { all, context } = view;
  const listeners = await listening(context.kernel, all, [0, process.geteuid?.() ?? 0]);
  const parents = all
    .filter(({ pid }) => listeners.has(pid))
    .map((found) => all.find(({ pid }) => pid === found.ppid) ?? found);
  let roots = [...new Set(parents)];
  if (options.pidFile !== undefined || options.masterSocket !== undefined) {
    const own = await Promise.all(roots.map((root) => namesItself(root, options)));
    roots = roots.filter((_, at) => own[at]);
  }
  if (roots.length > 1) {
    throw notFound(
      `Several HAProxies listen in this network namespace (${list(roots)}); name one with --pid-file or --master-socket`,
    );
  }
  return roots[0] && describe(view, roots[0], 'listeners', options);
}

async function namesItself(root: ProcessInfo, { pidFile, masterSocket }: FindOptions): Promise<boolean> {
  const [ownPidFile, ownSocket] = [pathOption(root, '-p'), pathOption(root, '-S')];
  return (
    (pidFile !== undefined && ownPidFile !== undefined && (await samePath(pidFile, ownPidFile))) ||
    (masterSocket !== undefined && ownSocket !== undefined && (await samePath(masterSocket, ownSocket)))
  );
}

async function samePath(one: string, other: string): Promise<boolean> {
  const real = async (path: string) => join(await realpath(dirname(path)).catch(() => dirname(path)), basename(path));
  return (await real(resolve(one))) === (await real(other));
}

/** Absolute path given by an option on the process' own command line; bind options after a comma are cut off. */
function pathOption(found: ProcessInfo, option: '-p' | '-S'): string | undefined {
  const value = optionOf(found.argv, option)
    ?.replace(/^unix@/, '')
    .split(',', 1)[0];
  return value === undefined || value === '' ? undefined : resolve(found.cwd ?? '/', value);
}

/** `found` is the process itself, its master, or one of its workers. */
async function describe(
  view: View,
  found: ProcessInfo,
  foundBy: RunningHAProxy['foundBy'],
  options: FindOptions,
): Promise<RunningHAProxy> {
  const { all } = view;
  // One alone is its own master or none, and nothing drains beside it.
  const listeners = all.length > 1 ? await view.listening() : new Set<number>();
  const isMaster = (candidate: ProcessInfo) =>
    candidate.argv.some((word) => word === '-W' || word === '-Ws') ||
    (!listeners.has(candidate.pid) && all.some(({ ppid, pid }) => ppid === candidate.pid && listeners.has(pid)));
  const root = all.find(({ pid }) => pid === found.ppid) ?? found;
  const pidFile = options.pidFile ?? pathOption(root, '-p');
  const where = { foundBy, ...(pidFile !== undefined && { pidFile }) };
  if (!isMaster(root)) {
    const stranger = ({ pid, ppid }: ProcessInfo) => all.some((other) => other.pid === ppid || other.ppid === pid);
    const draining = all.filter((other) => other.pid !== root.pid && !listeners.has(other.pid) && !stranger(other));
    return { mode: 'standalone', worker: root, draining, ...where };
  }
  const children = all.filter(({ ppid }) => ppid === root.pid).sort(newestFirst);
  const worker = children.find(({ pid }) => listeners.has(pid)) ?? children[0];
  if (!worker) throw notFound(`The HAProxy master ${root.pid} has no worker: nothing is served; restart it`);
  const masterSocket = options.masterSocket ?? pathOption(root, '-S');
  return {
    mode: 'master-worker',
    worker,
    master: root,
    draining: children.filter((child) => child !== worker),
    ...where,
    ...(masterSocket !== undefined && { masterSocket }),
  };
}

function newestFirst(one: ProcessInfo, other: ProcessInfo): number {
  return Number(BigInt(other.startTicks) - BigInt(one.startTicks)) || other.pid - one.pid;
}

function list(processes: readonly ProcessInfo[]): string {
  return processes.map(({ pid }) => `haproxy[${pid}]`).join(', ');
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function notFound(message: string, cause?: unknown): BerthError {
  return new BerthError('BERTH_HAPROXY_NOT_FOUND', message, { step: 'find', cause: systemCause(cause) && cause });
}
