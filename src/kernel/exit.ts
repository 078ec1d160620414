/** How processes end (pidfd_open(2), waitid(2)), also those that are not our children; nothing here looks at a clock. */
import type { ChildProcess } from 'node:child_process';
import { subscribe } from 'node:diagnostics_channel';
import { constants } from 'node:os';
import { systemCause } from '../errors.js';
import type { ProcessEnd } from '../reload/env.js';
import { native } from './addon.js';
import { kernelError } from './errors.js';

export interface ExitWatch {
  readonly ended: Promise<ProcessEnd>;
  /** From now on `ended` never settles. */
  readonly stop: () => void;
}

const UNKNOWN: ProcessEnd = { how: 'unknown' };
const SIGNALS = Object.entries(constants.signals);

/**
 * Children that Node itself has started. libuv waits for each by its pid; where somebody else has reaped one, its `exit`
 * event never comes (libuv src/unix/process.c uv__wait_children).
 */
const started = new Set<ChildProcess>();
subscribe('child_process', (message) => {
  for (const child of started) if (isOver(child)) started.delete(child);
  started.add((message as { readonly process: ChildProcess }).process);
});

/** One that is just being started has no pid yet, but nobody can ask meanwhile: starting is one turn of the event loop. */
function isOver({ pid, exitCode, signalCode }: ChildProcess): boolean {
  return pid === undefined || exitCode !== null || signalCode !== null;
}

function childrenOfNode(): number[] {
  return [...started].flatMap((child) => (isOver(child) ? [] : (child.pid ?? [])));
}

/**
 * Waits for the end of the process that started at these ticks; it does not keep this process alive. Where we are the
 * parent (see {@link becomeSubreaper}) it is reaped and its end is known. That of another's child is known from Linux
 * 6.15 on, and before, if we may trace it and look before its parent does. Needs Linux 5.4.
 * @throws BERTH_NO_DESCRIPTORS, BERTH_KERNEL
 */
export function watchExit(target: { readonly pid: number; readonly startTicks: string }): ExitWatch {
  const { pid, startTicks } = target;
  const watch = begin(pid, startTicks);
  if (watch === undefined) return { ended: Promise.resolve(UNKNOWN), stop: () => undefined };
  const [id, words] = watch;
  let stopped = false;
  return {
    ended: new Promise((resolve) => {
      void words.then((end) => {
        if (end !== null && !stopped) resolve(endOf(...end));
      });
    }),
    stop: () => {
      stopped = true;
      native().unwatchExit(id);
    },
  };
}

function begin(pid: number, startTicks: string) {
  try {
    return native().watchExit(pid, Number(startTicks), !childrenOfNode().includes(pid));
  } catch (error) {
    if (systemCause(error)?.code === 'ESRCH') return undefined;
    throw kernelError(error, 'keep', `Cannot watch process ${pid}`, { ENOSYS: 'It needs Linux 5.4 (pidfd_open)' });
  }
}

function endOf(how: 0 | 1 | 2, status: number, core: boolean): ProcessEnd {
  if (how === 0) return { how: 'exited', status };
  return how === 1 ? { how: 'killed', signal: signalName(status), core } : UNKNOWN;
}

/** `SIGKILL`; real-time signals have numbers only. */
function signalName(signo: number): string {
  return SIGNALS.find(([, number]) => number === signo)?.[0] ?? `SIG${signo}`;
}

/**
 * From now on, what our descendants leave behind becomes our child instead of init's (PR_SET_CHILD_SUBREAPER, prctl(2)):
 * every HAProxy that Berth starts, because it forks and its first process exits. Every such process is to be reaped:
 * by {@link watchExit}, or by {@link reapStrangers}.
 */
export function becomeSubreaper(): void {
  try {
    native().becomeSubreaper();
  } catch (error) {
    throw kernelError(error, 'start', 'Cannot adopt the processes that HAProxy leaves behind');
  }
}

/**
 * Reaps the dead that came to us and that nobody waits for: HAProxy's processes between, workers of a master that died.
 * Watched processes and Node's own children are left alone. Cheap where there is none: one system call.
 * @returns how many
 */
export function reapStrangers(): number {
  return native().reapOthers(Int32Array.from(childrenOfNode()));
}
