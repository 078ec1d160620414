/** The agent's unix socket: made beside its place, opened to the right people, then renamed into it. */
import { chmodSync, chownSync, lstatSync, mkdirSync, renameSync, rmSync, statSync, type Stats } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import { BerthError, systemCause } from '../../errors.js';

/** As many as the kernel lets (net.core.somaxconn): who may not block is sent away where it is full. */
const BACKLOG = 65_535;

export interface SocketOptions {
  readonly path: string;
  /** gid of those who may connect besides the agent's own user. */
  readonly group: number | undefined;
  readonly readers: 'group' | 'all';
  readonly warn: (text: string) => void;
}

/**
 * Listen on `path`. A dead agent's socket is replaced, a live one's is not.
 * @returns what removes it, unless another agent has taken the place since
 * @throws BERTH_LOCKED where another agent listens there, BERTH_STATE_DIR where it cannot be made
 */
export async function listenOn(server: Server, { path, group, readers, warn }: SocketOptions): Promise<() => void> {
  const there = status(path);
  if (there !== undefined && !there.isSocket()) {
    throw new BerthError('BERTH_STATE_DIR', `${path} is there already and is no socket`, {
      step: 'listen',
      advice: 'Remove it, or set agent.socket to another place',
    });
  }
  if (there !== undefined && (await answers(path))) {
    throw new BerthError('BERTH_LOCKED', `Another agent listens on ${path}`, {
      step: 'listen',
      advice: 'Stop it, or set agent.socket to another place',
    });
  }
  const own = `${path}.${process.pid}.tmp`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    refuseUntrusted(dirname(path));
    rmSync(own, { force: true });
    await listening(server, own);
    permitTo(own, group, readers, warn);
    const { ino } = lstatSync(own);
    renameSync(own, path);
    return () => {
      if (status(path)?.ino === ino) rmSync(path, { force: true });
    };
  } catch (error) {
    server.close();
    rmSync(own, { force: true });
    throw new BerthError('BERTH_STATE_DIR', `Cannot listen on ${path}: ${(error as Error).message}`, {
      step: 'listen',
      cause: error,
      advice: 'Make its directory writable for the agent alone, or set agent.socket to another place',
    });
  }
}

/**
 * The socket's owner and mode are changed by its name. Whoever can put another thing in its place between would have that
 * changed, /etc/shadow for one. In a sticky directory, as /tmp is, nobody can.
 */
function refuseUntrusted(directory: string): void {
  const { uid, gid, mode } = statSync(directory);
  const [us, ourGroup] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  const byGroup = (mode & 0o020) !== 0 && gid !== 0 && gid !== ourGroup;
  const byOthers = byGroup || (mode & 0o002) !== 0;
  if ((uid === 0 || uid === us) && (!byOthers || (mode & 0o1000) !== 0)) return;
  throw new Error(`others than the agent's user can replace what is in ${directory}`);
}

/** Until here only the agent's own user may connect: bind(2) made it under a umask that leaves others no write. */
function permitTo(
  path: string,
  group: number | undefined,
  readers: 'group' | 'all',
  warn: (text: string) => void,
): void {
  const mode = readers === 'all' ? 0o666 : 0o660;
  try {
    if (group !== undefined) chownSync(path, -1, group);
    chmodSync(path, group === undefined && readers === 'group' ? 0o600 : mode);
  } catch (error) {
    chmodSync(path, 0o600);
    const { code } = systemCause(error) ?? {};
    warn(
      `The socket cannot be given to its group (${code ?? String(error)}): only root may connect; the agent needs CAP_CHOWN, or to be in the group`,
    );
  }
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path, backlog: BACKLOG }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    // EAGAIN: its backlog is full, so somebody holds it.
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'EAGAIN'));
  });
}

function status(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}
