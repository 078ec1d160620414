/** HAProxy as a program: its binary, its processes, its sockets. Fits {@link HAProxy} of reload/env.ts for real. */
import { constants as os } from 'node:os';
import type { HAProxy, RunningHAProxy } from '../reload/env.js';
import { checkConfiguration, locateBinary, readBuild } from './check.js';
import { ask, statsIdentity, type StatsIdentity } from './cli.js';
import type { Context, ProcessTable, SendSignal } from './context.js';
import { findHAProxy, type FindOptions } from './find.js';
import { losesHandoff, reloadMaster } from './master.js';
import type { Invocation } from './process.js';
import { startHAProxy } from './start.js';

export interface HAProxyOptions extends FindOptions {
  /** Name looked up in PATH, or a path. Default: `haproxy`. */
  readonly binary?: string;
  /** Path of the network namespace to run HAProxy in, by nsenter(1). Default: Berth's own. */
  readonly netns?: string;
  readonly kernel: ProcessTable;
  readonly signal: SendSignal;
  /** Environment that HAProxy is started with. Default: Berth's own. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Limit of `haproxy -c`, default 120 s: 2.2 takes 23 s for 19000 files. */
  readonly checkTimeoutMs?: number;
}

export interface OpenHAProxy extends HAProxy {
  /** Who answers `show info` on a stats socket; throws BERTH_HAPROXY_SOCKET where that is not HAProxy. */
  statsIdentity(path: string, timeoutMs: number): Promise<StatsIdentity>;
  /** Would the master's next reload lose the handoff of the listening sockets? False where there is no master socket to ask. */
  handoffLost(running: RunningHAProxy): Promise<boolean>;
}

const CHECK_LIMIT_MS = 120_000;
const MASTER_LIMIT_MS = 5_000;

/** Nothing is run or read before the first call. */
export function openHAProxy(options: HAProxyOptions): OpenHAProxy {
  const environment = options.environment ?? process.env;
  const invocation = async (): Promise<Invocation> => ({
    binary: await locateBinary(options.binary ?? 'haproxy', environment['PATH'] ?? process.env['PATH']),
    environment,
    ...(options.netns !== undefined && { netns: options.netns }),
  });
  const context: Context = {
    kernel: options.kernel,
    sendSignal: options.signal,
    ...(options.netns !== undefined && { netns: options.netns }),
  };
  return {
    build: async () => readBuild(await invocation()),
    check: async (command) => checkConfiguration(await invocation(), command, options.checkTimeoutMs ?? CHECK_LIMIT_MS),
    find: async () => findHAProxy(context, options),
    start: async (command, startOptions) => startHAProxy(context, await invocation(), command, startOptions),
    reloadMaster: async (running, reloadOptions) => reloadMaster(context, running, reloadOptions),
    command: (path, command, timeoutMs) => ask(path, command, { timeoutMs }),
    signal: async ({ pid, startTicks }, signal) => options.signal(pid, startTicks, os.signals[signal]),
    statsIdentity,
    handoffLost: (running) => losesHandoff(context, running, MASTER_LIMIT_MS),
  };
}
