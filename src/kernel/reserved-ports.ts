/**
 * net.ipv4.ip_local_reserved_ports and ip_local_port_range of one network namespace (kernel ip-sysctl.rst; both hold for
 * TCP and UDP, IPv4 and IPv6). A file below /proc/sys/net is opened on the namespace's thread: which namespace it
 * belongs to is decided by the thread that opens it.
 */
import { BerthError } from '../errors.js';
import { difference, formatPorts, ONE_WRITE, parsePorts, type PortSet } from '../model/ports.js';
import { native, type NamespaceId } from './addon.js';
import { kernelError } from './errors.js';

const RESERVED = '/proc/sys/net/ipv4/ip_local_reserved_ports';
const RANGE = 'net.ipv4.ip_local_port_range';

/** A sysctl below /proc/sys, trimmed: `net.ipv4.ip_nonlocal_bind` (or with slashes); undefined where it does not exist. */
export async function readSysctl(id: NamespaceId, name: string): Promise<string | undefined> {
  const path = name.includes('/') ? name : name.replaceAll('.', '/');
  if (!/^[\w@:.-]+(\/[\w@:.-]+)*$/.test(path) || path.split('/').includes('..')) {
    throw new BerthError('BERTH_USAGE', `"${name}" is not the name of a sysctl`, { step: 'read' });
  }
  try {
    return (await native().readSysctl(id, `/proc/sys/${path}`)).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw kernelError(error, 'read', `Cannot read the sysctl ${name}`);
  }
}

/** connect(2) calls of the namespace that sent a SYN: the counter ActiveOpens of its /proc/net/snmp. */
export async function activeOpens(id: NamespaceId): Promise<number> {
  let text: string;
  try {
    text = await native().readSysctl(id, '/proc/thread-self/net/snmp');
  } catch (error) {
    throw kernelError(error, 'read', 'Cannot read the counters of TCP');
  }
  return parseActiveOpens(text);
}

/** @param text of /proc/net/snmp @throws BERTH_KERNEL */
export function parseActiveOpens(text: string): number {
  const [names = [], values = []] = text
    .split('\n')
    .filter((line) => line.startsWith('Tcp: '))
    .map((line) => line.split(' '));
  const opens = Number(values[names.indexOf('ActiveOpens')]);
  if (!Number.isFinite(opens)) {
    throw new BerthError('BERTH_KERNEL', '/proc/net/snmp does not count ActiveOpens', { step: 'read' });
  }
  return opens;
}

/** Both ends included. */
export async function ephemeralRange(id: NamespaceId): Promise<{ first: number; last: number }> {
  return parsePortRange((await readSysctl(id, RANGE)) ?? '');
}

/** `32768\t60999`. @throws BERTH_KERNEL */
export function parsePortRange(text: string): { first: number; last: number } {
  const [, first, last] = /^(\d{1,5})\s+(\d{1,5})$/.exec(text) ?? [];
  if (Number(first) <= Number(last) && Number(last) <= 65535) return { first: Number(first), last: Number(last) };
  throw new BerthError('BERTH_KERNEL', `${RANGE} reads "${text.slice(0, 80)}", not two ports`, { step: 'read' });
}

export async function reservedPorts(id: NamespaceId): Promise<PortSet> {
  try {
    return parsePorts(await native().readSysctl(id, RESERVED));
  } catch (error) {
    throw kernelError(error, 'reserve', 'Cannot read the reserved ports');
  }
}

/**
 * Replace the list by `ports`, or, where `onlyAdd`, set these in addition. A replacement is one write(2) of at most a
 * page, in which a port of both lists is never free for a moment (several writes would clear the list first); a write at
 * an offset only sets bits.
 * @throws BERTH_PERMISSION; BERTH_KERNEL where a replacement does not fit (coalesce it) or a port is missing afterwards.
 */
export async function writeReservedPorts(id: NamespaceId, ports: PortSet, onlyAdd: boolean): Promise<void> {
  const list = formatPorts(ports);
  if (!onlyAdd && list.length > ONE_WRITE) {
    throw new BerthError(
      'BERTH_KERNEL',
      `A list of reserved ports of ${list.length} bytes cannot replace the present one: the kernel reads ${ONE_WRITE} at once`,
      { step: 'reserve', advice: 'Coalesce the list, or only add to the present one' },
    );
  }
  if (onlyAdd && list === '') return;
  try {
    for (const chunk of onlyAdd ? chunks(list, ONE_WRITE) : [list === '' ? '\n' : list]) {
      await native().writeSysctl(id, RESERVED, chunk, onlyAdd ? 1 : 0);
    }
  } catch (error) {
    throw kernelError(error, 'reserve', 'Cannot write net.ipv4.ip_local_reserved_ports', {
      EACCES: 'It needs root, or CAP_NET_ADMIN in the network namespace',
      EROFS: '/proc/sys is read-only here, as in most containers: reserve on the host, or mount it writable',
    });
  }
  const missing = difference(ports, await reservedPorts(id));
  if (missing.ranges.length > 0) {
    throw new BerthError('BERTH_KERNEL', `The kernel did not reserve ${formatPorts(missing).slice(0, 200)}`, {
      step: 'reserve',
      advice: 'Another program writes net.ipv4.ip_local_reserved_ports at the same time: stop it, then try again',
    });
  }
}

/** The list cut at commas into texts of at most `bytes`. */
function chunks(list: string, bytes: number): string[] {
  const parts: string[] = [];
  let from = 0;
  while (list.length - from > bytes) {
    const comma = list.lastIndexOf(',', from + bytes);
    parts.push(list.slice(from, comma));
    from = comma + 1;
  }
  parts.push(list.slice(from));
  return parts;
}
