/**
 * HAProxy died, and its listening sockets live on in the keeper: start it again with them. Clients that arrived meanwhile
 * wait in the backlogs. It is the generation that served, which was checked and proven, so that nothing but HAProxy's own
 * start takes time.
 */
import { rmSync } from 'node:fs';
import { BerthError } from '../errors.js';
import { type Endpoint, formatEndpoint } from '../model/endpoint.js';
import { pidFileOf } from './commit.js';
import type { HostContext, ReloadContext } from './context.js';
import type { ProcessInfo } from './env.js';
import { type Generation, openGeneration, readListeners, servingNumber } from './generations.js';
import { type Guard, handedGuard, handOver } from './handover.js';
import { endProcess, isAlive } from './prove.js';
import type { ReviveReport } from './reports.js';
import { rememberProcess } from './serving.js';
import { withJournal } from './session.js';
import { handoverPaths } from './standalone.js';
import { namespacesOf, socketsServedBy } from './survey.js';
import { launchMaster } from './switch.js';

/** A listening socket that outlived its HAProxy. */
export interface KeptSocket extends Guard {
  readonly inode: number;
}

/**
 * Start the serving generation with these sockets, which stay the caller's.
 * @param mode how the dead one ran
 * @returns undefined where a HAProxy serves: somebody was faster
 * @throws BERTH_GENERATION_UNKNOWN where none has served yet, BERTH_RELOAD_FAILED, BERTH_VERIFY_FAILED
 */
export async function revive(
  host: HostContext,
  kept: readonly KeptSocket[],
  mode: 'standalone' | 'master-worker',
): Promise<ReviveReport | undefined> {
  const begin = performance.now();
  return withJournal(host, 'restart', async (context) => {
    if (await context.haproxy.find()) return undefined;
    const number = await servingNumber(context.state);
    if (number === undefined) {
      throw new BerthError('BERTH_GENERATION_UNKNOWN', 'HAProxy is gone, and no generation has served that could be', {
        step: 'restart',
      });
    }
    const generation = await openGeneration(context.state, number);
    // The dead one's pid; HAProxy writes its own there, so that it is found however soon Berth dies.
    rmSync(pidFileOf(context), { force: true });
    const start = mode === 'standalone' ? startWith : startMasterWith;
    const process = await start(context, generation, kept);
    const served = await proveRevived(context, generation, process, kept);
    rememberProcess(context.state.path, process);
    await context.keeper?.renew(process);
    const inodes = new Set(served.map(({ inode }) => inode));
    return {
      generation: number,
      pid: process.pid,
      listeners: served.filter(({ endpoint }) => endpoint.kind === 'inet').length,
      sameSocket: kept.filter(({ inode }) => inodes.has(inode)).length,
      ms: performance.now() - begin,
      warnings: [],
    };
  });
}

async function startWith(
  context: ReloadContext,
  generation: Generation,
  kept: readonly KeptSocket[],
): Promise<ProcessInfo> {
  const paths = { ...handoverPaths(context, generation.number), pidFile: pidFileOf(context) };
  const { pid } = await handOver(context, generation.command, paths, undefined, kept);
  const process = await context.kernel.process(pid);
  if (process) return process;
  throw new BerthError('BERTH_RELOAD_FAILED', `haproxy[${pid}] ended right after its start`, { step: 'restart' });
}

async function startMasterWith(
  context: ReloadContext,
  generation: Generation,
  kept: readonly KeptSocket[],
): Promise<ProcessInfo> {
  const server = await context.kernel.serveSockets(
    handoverPaths(context, generation.number).handoff,
    kept.map(handedGuard),
  );
  try {
    const { pid } = await launchMaster(context, generation, { signal: context.signal, handoff: server.path });
    const worker = (await context.haproxy.find())?.worker;
    if (worker) return worker;
    throw new BerthError('BERTH_RELOAD_FAILED', `Master haproxy[${pid}] has no worker`, { step: 'restart' });
  } finally {
    await server.stop();
  }
}

/** Every listener of the generation, by what was recorded when it went live; a paused one is told to listen once. */
async function proveRevived(
  context: ReloadContext,
  generation: Generation,
  process: ProcessInfo,
  kept: readonly KeptSocket[],
) {
  const recorded = await readListeners(generation);
  const namespaces = namespacesOf(kept.map(({ endpoint }): Endpoint => endpoint));
  for (const last of [false, true]) {
    const served = await socketsServedBy(context.kernel, process, namespaces);
    const names = new Set(served.map(({ endpoint }) => formatEndpoint(endpoint)));
    const missing = recorded.filter(({ endpoint }) => !names.has(endpoint)).map(({ endpoint }) => endpoint);
    const alive = await isAlive(context.kernel, process);
    if (alive && missing.length === 0) return served;
    if (alive && !last) {
      await context.haproxy.signal(process, 'SIGTTIN');
      continue;
    }
    await endProcess(context, process);
    const what = alive ? `it does not listen on ${missing.slice(0, 5).join(', ')}` : 'it died right after its start';
    throw new BerthError('BERTH_VERIFY_FAILED', `haproxy[${process.pid}] was started again, but ${what}`, {
      step: 'restart',
      details: { missing },
    });
  }
  return [];
}
