/** What the room needs of the rest of the house, handed in by the one who opens it. */
import type { Kernel, ProcessInfo } from '../reload/env.js';

/** The part of the kernel that tells processes and their sockets apart. */
export type ProcessTable = Pick<
  Kernel,
  'process' | 'haproxyProcesses' | 'boundSockets' | 'socketsOf' | 'unixListenersOf'
>;

/** Signal a process through a pidfd, only if it still has these start ticks. False: it is gone. */
export type SendSignal = (pid: number, startTicks: string, signal: number) => boolean | Promise<boolean>;

export interface Context {
  /** Path of the network namespace that HAProxy runs in; Berth's own where absent. */
  readonly netns?: string;
  readonly kernel: ProcessTable;
  readonly sendSignal: SendSignal;
}

/** One life of a process: a pid alone may be recycled. */
export function identity({ pid, startTicks }: Pick<ProcessInfo, 'pid' | 'startTicks'>): string {
  return `${pid}:${startTicks}`;
}

/** Value of an option of a HAProxy command line (`-p FILE`, `-S PATH`); the last one counts. */
export function optionOf(argv: readonly string[], option: string): string | undefined {
  const at = argv.lastIndexOf(option);
  return at < 1 ? undefined : argv[at + 1];
}

export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** A HAProxy that is alive: a zombie keeps its name but has no command line. */
export function isHAProxy(found: ProcessInfo | undefined): found is ProcessInfo {
  return found?.comm === 'haproxy' && found.argv.length > 0;
}
