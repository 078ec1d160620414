/** Processes without parent: they come to whoever is their subreaper, as a daemonised HAProxy does. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { readStat } from '../../src/kernel/process.js';

export interface Orphan {
  readonly pid: number;
  readonly startTicks: string;
  /** Lets it go on to its end. */
  go(): void;
}

/** A shell whose parent has exited; it waits for {@link Orphan.go} and then runs `body`. */
export async function orphan(body: string): Promise<Orphan> {
  const parent = spawn('sh', ['-c', `(read go; ${body}) <&3 & echo $!`], {
    stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
    // A sanitizer would turn a segmentation fault into an exit.
    env: { ...process.env, LD_PRELOAD: undefined },
  });
  const exited = once(parent, 'exit');
  const [line] = (await once(parent.stdout!, 'data')) as [Buffer];
  await exited;
  const pid = Number(line);
  const stat = readStat(pid);
  if (stat === undefined) throw new Error(`${pid} has gone`);
  const gate = parent.stdio[3] as Writable;
  return {
    pid,
    startTicks: stat.startTicks,
    go: () => {
      gate.end('\n');
    },
  };
}

/** Blocks until the process is dead and not yet reaped; Node, blocked as well, reaps none of its own meanwhile. */
export function waitForZombie(pid: number): void {
  const clock = new Int32Array(new SharedArrayBuffer(4));
  while (!/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) Atomics.wait(clock, 0, 0, 1);
}
