/** Who listens on a path. HAProxy renames its own socket over whatever is there: a stranger's would be deaf from then on. */
import { connect } from 'node:net';
import { processInfo } from './process.js';
import { peerCredentials } from './system.js';

/** A listener that does not take up a connection for so long is there all the same. */
const PATIENCE_MS = 1000;

/**
 * Connects, sends nothing and hangs up. @returns who called listen(2) (SO_PEERCRED, unix(7)); pid 0 and no comm where that
 * process is gone or not to be seen from here; undefined where nobody listens at `path`
 */
export async function unixListenerAt(
  path: string,
): Promise<{ readonly pid: number; readonly comm?: string } | undefined> {
  const pid = await listenerPid(path);
  if (pid === undefined) return undefined;
  const found = pid > 0 ? await processInfo(pid) : undefined;
  return found ? { pid, comm: found.comm } : { pid: 0 };
}

function listenerPid(path: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const settle = (pid: number | undefined) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(pid);
    };
    const timer = setTimeout(settle, PATIENCE_MS, 0);
    // EAGAIN: its queue is full, so there is one.
    socket.once('error', ({ code }: NodeJS.ErrnoException) => settle(code === 'EAGAIN' ? 0 : undefined));
    socket.once('connect', () => settle(peerOf(socket)));
  });
}

function peerOf(socket: object): number {
  // Node has no name for a socket's descriptor.
  const descriptor = (socket as { readonly _handle?: { readonly fd?: number } })._handle?.fd;
  try {
    return descriptor === undefined ? 0 : peerCredentials(descriptor).pid;
  } catch {
    return 0;
  }
}
