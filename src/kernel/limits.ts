/** What a process may do: its effective capabilities and its descriptor limit (proc(5), capabilities(7)). */
import { readFile } from 'node:fs/promises';

/** Bits of CapEff (linux/capability.h) that Berth has a use for. */
const CAPABILITIES = {
  CAP_KILL: 5,
  CAP_NET_BIND_SERVICE: 10,
  CAP_NET_ADMIN: 12,
  CAP_NET_RAW: 13,
  CAP_SYS_PTRACE: 19,
  CAP_SYS_ADMIN: 21,
  CAP_SYS_RESOURCE: 24,
} as const;

/** Effective capabilities of this process, of those that Berth has a use for. */
export async function capabilities(): Promise<ReadonlySet<string>> {
  const status = await readFile('/proc/self/status', 'utf8');
  const mask = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`);
  return new Set(Object.entries(CAPABILITIES).flatMap(([name, bit]) => ((mask >> BigInt(bit)) & 1n ? [name] : [])));
}

/** RLIMIT_NOFILE of a process (`Infinity` where unlimited); undefined where it is gone or may not be read. */
export async function descriptorLimit(
  pid: number,
): Promise<{ readonly soft: number; readonly hard: number } | undefined> {
  const limits = await readFile(`/proc/${pid}/limits`, 'utf8').catch(() => undefined);
  const found = /^Max open files\s+(\w+)\s+(\w+)/m.exec(limits ?? '');
  if (found === null) return undefined;
  const [soft = 0, hard = 0] = found.slice(1).map((word) => (word === 'unlimited' ? Infinity : Number(word)));
  return { soft, hard };
}
