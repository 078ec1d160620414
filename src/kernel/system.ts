/** What Node lacks: a file lock, the peer of a unix socket, sd_notify(3), the descriptor limit. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError } from '../errors.js';
import { native } from './addon.js';
import { kernelError } from './errors.js';

const LOCK_POLL_MS = 50;

/**
 * Takes flock(2) on `path` (created 0600, a symlink is refused) within `waitMs`; it lasts until the descriptor is
 * closed, at the latest with the process. Whoever has it writes its pid into the first line.
 * @returns the descriptor, or the pid that the file names.
 * @throws BERTH_STATE_DIR where the file cannot be opened, BERTH_INTERRUPTED where `signal` ends the wait
 */
export async function lockFile(
  path: string,
  waitMs: number,
  signal?: AbortSignal,
): Promise<{ readonly fd: number } | { readonly busyPid: number | undefined }> {
  const end = performance.now() + waitMs;
  for (;;) {
    const fd = tryLock(path);
    if (fd >= 0) return { fd };
    const left = end - performance.now();
    if (left <= 0) return { busyPid: pidIn(path) };
    if (signal?.aborted) {
      throw new BerthError('BERTH_INTERRUPTED', 'Interrupted while another Berth worked; nothing was changed', {
        step: 'lock',
      });
    }
    await sleep(Math.min(LOCK_POLL_MS, left));
  }
}

function tryLock(path: string): number {
  try {
    return native().tryLock(path);
  } catch (error) {
    throw kernelError(error, 'lock', `Cannot lock ${path}`, { ELOOP: 'It is a symlink' }, 'BERTH_STATE_DIR');
  }
}

function pidIn(path: string): number | undefined {
  try {
    const pid = Number(readFileSync(path, 'utf8').split('\n')[0]);
    return Number.isInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** Supplementary ones; none where the kernel does not tell (before Linux 4.13). */
  readonly groups: readonly number[];
}

/** SO_PEERCRED and SO_PEERGROUPS (unix(7)) of a connected unix socket: whom the peer ran as at its connect(2). */
export function peerCredentials(descriptor: number): PeerCredentials {
  try {
    const [pid, uid, gid, groups] = native().peerCredentials(descriptor);
    return { pid, uid, gid, groups };
  } catch (error) {
    throw kernelError(error, 'start', 'Cannot tell the peer of a unix socket');
  }
}

/** sd_notify(3): tells the service manager, `READY=1`. False where there is none (NOTIFY_SOCKET) or it does not listen. */
export function notifyServiceManager(message: string, socket = process.env['NOTIFY_SOCKET']): boolean {
  if (socket === undefined || socket === '') return false;
  try {
    native().notifyService(socket, message, new Int32Array());
    return true;
  } catch {
    return false;
  }
}

/** RLIMIT_NOFILE, soft raised to hard: a guard is one descriptor. */
export function raiseDescriptorLimit(): { readonly soft: number; readonly hard: number } {
  try {
    const [soft, hard] = native().raiseDescriptorLimit();
    return { soft, hard };
  } catch (error) {
    throw kernelError(error, 'start', 'Cannot raise the limit of open files');
  }
}
