/** Private network namespaces for tests. They need root (CAP_SYS_ADMIN); without, a suite is skipped with its reason. */
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { describe, test } from 'vitest';

const run = promisify(execFile);

export interface Namespace {
  /** For setns(2): /proc/PID/ns/net of the process that keeps it. */
  readonly path: string;
  /** Run a command inside to its end; its standard output. Rejects where it fails. */
  exec(command: string, ...args: string[]): Promise<string>;
  /** Start a command inside, pipes on all three; it is killed with the namespace. */
  spawn(command: string, ...args: string[]): ChildProcess;
  /** Write a sysctl of the namespace. */
  sysctl(name: string, value: string): Promise<void>;
  /** Ends everything that was started inside. */
  remove(): Promise<void>;
}

/** A new namespace with `lo` up. It ends by itself with this process. */
export async function makeNamespace(): Promise<Namespace> {
  const keeper = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up && echo ready && exec cat']);
  await once(keeper.stdout, 'data');
  const path = `/proc/${keeper.pid ?? 0}/ns/net`;
  const children: ChildProcess[] = [];
  const enter = (command: string, args: string[]) => [`--net=${path}`, '--', command, ...args];
  return {
    path,
    exec: async (command, ...args) => (await run('nsenter', enter(command, args), { maxBuffer: 1 << 28 })).stdout,
    spawn: (command, ...args) => {
      const child = spawn('nsenter', enter(command, args));
      children.push(child);
      return child;
    },
    sysctl: async (name, value) => {
      await run('nsenter', enter('sysctl', ['-qw', `${name}=${value}`]));
    },
    remove: async () => {
      for (const child of [...children, keeper]) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
    },
  };
}

function whyNot(): string | undefined {
  if (process.geteuid?.() !== 0) return 'it needs root';
  const tried = spawnSync('unshare', ['--net', 'true'], { encoding: 'utf8' });
  return tried.status === 0 ? undefined : `network namespaces cannot be made: ${tried.stderr.trim()}`;
}

/** A suite that needs network namespaces: skipped with its reason where there are none, failed under BERTH_MUST_RUN=1. */
export function describeInNamespaces(name: string, suite: () => void): void {
  const reason = whyNot();
  if (reason === undefined) {
    describe(name, suite);
  } else if (process.env['BERTH_MUST_RUN'] === '1') {
    test(name, () => {
      throw new Error(`must run, but ${reason}`);
    });
  } else {
    console.warn(`skipped: ${name}: ${reason}`);
    describe.skip(name, suite);
  }
}
