/**
 * Facts about processes from /proc (proc(5)), and signals that cannot hit another process. They are read synchronously: the
 * kernel answers in microseconds, the way through libuv's pool takes ten times that. Not so the command line: it stands in
 * the process' own memory, and who reads it waits for whoever has that locked.
 */
import { readFileSync, readlinkSync, statSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { systemCause } from '../errors.js';
import type { ProcessInfo } from '../reload/env.js';
import { native, type NamespaceId } from './addon.js';
import { kernelError } from './errors.js';

/** USER_HZ: what /proc counts time in, 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

interface Stat {
  readonly comm: string;
  readonly ppid: number;
  readonly startTicks: string;
}

/** @returns undefined where the process is gone. A process that has exited and is not yet reaped is gone, too. */
export async function processInfo(pid: number): Promise<ProcessInfo | undefined> {
  const facts = readStat(pid);
  if (facts === undefined) return undefined;
  const at = `/proc/${pid}`;
  const argv = await readFile(`${at}/cmdline`, 'utf8').catch((error: unknown) => {
    throwUnlessAbsent(`${at}/cmdline`, error);
  });
  const status = text(`${at}/status`);
  const [cwd, exe, netns] = [link(`${at}/cwd`), link(`${at}/exe`), link(`${at}/ns/net`)];
  const [unit, openFiles] = [unitOf(pid), await countFiles(`${at}/fd`)];
  // The pid may have become another process's between the first file and the last.
  if (readStat(pid)?.startTicks !== facts.startTicks) return undefined;
  const resident = /^VmRSS:\s*(\d+) kB/m.exec(status ?? '')?.[1];
  return {
    pid,
    ...facts,
    startedAt: new Date(bootTime() * 1000 + (Number(facts.startTicks) * 1000) / TICKS_PER_SECOND).toISOString(),
    // Real, effective, saved, file system: the effective one is what the kernel asks about.
    uid: Number(/^Uid:\s*\d+\s+(\d+)/m.exec(status ?? '')?.[1] ?? 0),
    argv: !argv ? [] : argv.replace(/\0$/, '').split('\0'),
    ...(cwd === undefined ? {} : { cwd }),
    ...(exe === undefined ? {} : { exe }),
    // Nothing where it may not be read: PTRACE_MODE_READ_FSCREDS, ptrace(2).
    netns: /\d+/.exec(netns ?? '')?.[0] ?? '',
    ...(unit === undefined ? {} : { unit }),
    ...(openFiles === undefined ? {} : { openFiles }),
    ...(resident === undefined ? {} : { residentBytes: Number(resident) * 1024 }),
  };
}

/** Processes of one comm in one network namespace (its inode); '': those whose namespace may not be read. */
export async function processesNamed(id: NamespaceId, comm: string, netns: string): Promise<ProcessInfo[]> {
  const pids = await native()
    .processesNamed(id, comm)
    .catch((error: unknown) => {
      throw kernelError(error, 'read', 'Cannot list the processes');
    });
  const infos = await Promise.all([...pids].map((pid) => processInfo(pid)));
  return infos.filter((info) => info?.netns === netns) as ProcessInfo[];
}

/** Command name, parent and start time of a process: what tells it from another with the same pid. */
export function readStat(pid: number): Stat | undefined {
  const line = text(`/proc/${pid}/stat`);
  return line === undefined ? undefined : parseStat(line);
}

/** The name stands in parentheses and may hold spaces and parentheses itself: the fields after it count from the last one. */
export function parseStat(line: string): Stat | undefined {
  const open = line.indexOf('(');
  const close = line.lastIndexOf(')');
  const fields = line.slice(close + 2).split(' ');
  const [state, ppid, startTicks] = [fields[0], fields[1], fields[19]];
  if (open < 0 || close < open || state === 'Z' || state === 'X') return undefined;
  if (!/^\d{1,10}$/.test(ppid ?? '') || startTicks === undefined || !/^\d+$/.test(startTicks)) return undefined;
  return { comm: line.slice(open + 1, close), ppid: Number(ppid), startTicks };
}

/**
 * Sends a signal by pidfd, and only to the process that started at these ticks.
 * @returns false where it is gone.
 * @throws BERTH_PERMISSION, BERTH_KERNEL
 */
export function signalProcess(pid: number, startTicks: string, signo: number): boolean {
  try {
    return native().signalProcess(pid, Number(startTicks), signo);
  } catch (error) {
    // In the message itself: a failure to retire the old HAProxy is told as a warning, which has no advice.
    const need = systemCause(error)?.code === 'EPERM' ? ' of another user (CAP_KILL)' : '';
    throw kernelError(error, 'hand-over', `Cannot send signal ${signo} to process ${pid}${need}`);
  }
}

/** Inode of the socket that a process has at this descriptor; undefined where it has none there. One readlink(2). */
export function socketAt(pid: number, fd: number): number | undefined {
  try {
    const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
    return inode === undefined ? undefined : Number(inode);
  } catch {
    return undefined;
  }
}

/** systemd unit or container of a process, from its cgroup; undefined where the path tells none. */
export function unitOf(pid: number): string | undefined {
  const lines = text(`/proc/${pid}/cgroup`);
  return lines === undefined ? undefined : parseCgroup(lines);
}

export function parseCgroup(lines: string): string | undefined {
  // `hierarchy:controllers:path`; 0 is cgroup v2, name=systemd is what carries units in v1.
  const paths = lines.split('\n').map((line) => /^(\d+):([^:]*):(.*)$/.exec(line));
  const line = paths.find((match) => match?.[2] === 'name=systemd') ?? paths.find((match) => match?.[1] === '0');
  const path = line?.[3] ?? '';
  const container = /([0-9a-f]{12})[0-9a-f]{52}/.exec(path)?.[1];
  if (container !== undefined) return `container ${container}`;
  return path.split('/').findLast((part) => /\.(service|scope)$/.test(part));
}

let booted: number | undefined;

/** Seconds since the epoch at boot. */
function bootTime(): number {
  booted ??= Number(/^btime (\d+)/m.exec(text('/proc/stat') ?? '')?.[1] ?? 0);
  return booted;
}

async function countFiles(path: string): Promise<number | undefined> {
  try {
    // The directory's size is the number of open files from Linux 6.2 on, 0 before: a list of a hundred thousand takes time.
    const { size } = statSync(path);
    return size > 0 ? size : (await readdir(path)).length;
  } catch {
    return undefined;
  }
}

/** A file of a process that may be gone, or whose facts may not be ours to read, at any moment. */
function text(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throwUnlessAbsent(path, error);
    return undefined;
  }
}

function link(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    throwUnlessAbsent(path, error);
    return undefined;
  }
}

const ABSENT = new Set(['ENOENT', 'ESRCH', 'ENOTDIR', 'EACCES', 'EPERM']);

/** Whoever has no descriptor or no memory left must not take a living HAProxy for a dead one, and start another. */
function throwUnlessAbsent(path: string, error: unknown): void {
  if (!ABSENT.has(systemCause(error)?.code ?? '')) throw kernelError(error, 'read', `Cannot read ${path}`);
}
