/** What the room needs of the rest of the house, handed in by the one who opens it. */
import type { Kernel, ProcessInfo } from '../reload/env.js';

/** The part of the kernel that tells processes and their sockets apart. */
export type ProcessTable = Pick<
  Kernel,
  'process' | 'haproxyProcesses' | 'hiddenHAProxies' | 'boundSockets' | 'socketsOf' | 'unixListenersOf'
>;

/** Signal a process through a pidfd, only if it still has these start ticks. False: it is gone. */
export type SendSignal = (pid: number, startTicks: string, signal: number) => boolean | Promise<boolean>;

export interface Context {
  /** Path of the network namespace that HAProxy runs in; Berth's own where absent. */
  readonly netns?: string;
  readonly kernel: ProcessTable;
  readonly sendSignal: SendSignal;
}

/** Value of an option of a HAProxy command line (`-p FILE`, `-S PATH`); the last one counts. */
export function optionOf(argv: readonly string[], option: string): string | undefined {
  const at = argv.lastIndexOf(option);
  return at < 1 ? undefined : argv[at + 1];
}

export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** A HAProxy that is alive: a zombie keeps its name, but has neither command line nor executable. */
export function isHAProxy(found: ProcessInfo | undefined): found is ProcessInfo {
  return found?.comm === 'haproxy' && !isDead(found);
}

export function isDead(found: ProcessInfo | undefined): boolean {
  return found === undefined || (found.argv.length === 0 && found.exe === undefined);
}

const EXEC_LIMIT = 50;

/**
 * The living HAProxy processes of the namespace, with their command lines: in the middle of execve(2), which a master
 * does at its start and at every reload, a process has none for a moment.
 */
export async function livingHAProxies(kernel: ProcessTable): Promise<ProcessInfo[]> {
  for (let look = 1; ; look += 1) {
    const found = (await kernel.haproxyProcesses()).filter(isHAProxy);
    if (look === EXEC_LIMIT || found.every(({ argv }) => argv.length > 0)) return found;
    await sleep(2);
  }
}

/**
 * Pids of those that have TCP sockets in LISTEN.
 * @param madeBy only sockets that these uids made; whoever HAProxy runs as later, it makes them as who starts it
 */
export async function listening(
  kernel: ProcessTable,
  processes: readonly ProcessInfo[],
  madeBy?: readonly number[],
): Promise<Set<number>> {
  const rows = processes.length > 0 ? await kernel.boundSockets([], { silent: false }) : [];
  const counts = ({ state, uid }: (typeof rows)[number]) => state === 'LISTEN' && (madeBy?.includes(uid) ?? true);
  const inodes = new Set(rows.filter(counts).map(({ inode }) => inode));
  const tables = await Promise.all(
    processes.map(({ pid }) => kernel.socketsOf(pid).catch(() => new Map<number, number[]>())),
  );
  const found = processes.filter((_, at) => [...(tables[at]?.keys() ?? [])].some((inode) => inodes.has(inode)));
  return new Set(found.map(({ pid }) => pid));
}
