/** A deliberate stop of the HAProxy that serves. */
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { pidFileOf } from './commit.js';
import type { HostContext } from './context.js';
import { rememberHalt } from './halt.js';
import { isAlive, stopsListening } from './prove.js';
import { withJournal } from './session.js';
import type { StopReport } from './reports.js';
import { rememberStop } from './stop-times.js';

const POLL_MS = 20;

/**
 * Tell HAProxy to stop: softly (SIGUSR1: no new connections, the present ones end by themselves) or hard (SIGTERM).
 * Resolves when it listens no more, in a hard stop when it is gone. Whoever keeps its listening sockets has let them go.
 * @throws BERTH_LOCKED, BERTH_TIMEOUT is none: what goes on listening is told by `ended: false`
 */
export async function stop(host: HostContext, { hard = false }: { readonly hard?: boolean } = {}): Promise<StopReport> {
  return withJournal(host, hard ? 'stop --hard' : 'stop', async (context) => {
    const how = hard ? 'hard' : 'soft';
    const running = await context.haproxy.find();
    // Before the signal: a Berth that dies after it must leave a HAProxy that stays stopped.
    rememberHalt(context.state);
    await context.keeper?.letGo();
    if (!running) return { how, ended: true, connections: 0 };
    const target = running.master ?? running.worker;
    await context.haproxy.signal(target, hard ? 'SIGTERM' : 'SIGUSR1');
    rememberStop(context.state, running.worker.pid);
    await stopsListening(context.kernel, running.worker, STOP_MS);
    const deadline = performance.now() + (hard ? STOP_MS : 0);
    let ended = !(await isAlive(context.kernel, target));
    while (!ended && performance.now() < deadline) {
      await sleep(POLL_MS);
      ended = !(await isAlive(context.kernel, target));
    }
    // As the service scripts of HAProxy do: a pid file that names nobody is worse than none.
    rmSync(pidFileOf(context), { force: true });
    const connections = ended ? 0 : (await context.kernel.socketsOf(running.worker.pid).catch(() => new Map())).size;
    return { pid: running.worker.pid, how, ended, connections };
  });
}

const STOP_MS = 5000;
