/** Who asks, and what they may: told by SO_PEERCRED (unix(7)), never by anything that the request says. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { ConfigurationOptions } from '../../berth.js';
import { BerthError } from '../../errors.js';
import type { Instance } from '../contract.js';

/** Credentials of the process at the other end of a unix socket, as of its connect(2). */
export interface Peer {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups. */
  readonly groups: readonly number[];
}

/**
 * `owner`: root, or whom the agent runs as; may all. `member` of the group: may act, on what is configured.
 * `reader`: may look. `loopback`: came over TCP, where nobody can be told apart; may look. `stranger`: may nothing.
 */
export type Role = 'owner' | 'member' | 'reader' | 'loopback' | 'stranger';

export interface Caller {
  readonly role: Role;
  readonly peer?: Peer;
}

/** What a route asks of its caller. */
export type Need = 'read' | 'act';

/** @param group gid of the setting `agent.group`; undefined where this host has no such group */
export function roleOf(peer: Peer, group: number | undefined, readers: 'group' | 'all', own: number): Role {
  if (peer.uid === 0 || peer.uid === own) return 'owner';
  if (group !== undefined && (peer.gid === group || peer.groups.includes(group))) return 'member';
  return readers === 'all' ? 'reader' : 'stranger';
}

/** @throws BERTH_PERMISSION */
export function permit({ role }: Caller, need: Need, what: string): void {
  if (role === 'owner' || role === 'member' || (need === 'read' && role !== 'stranger')) return;
  throw new BerthError('BERTH_PERMISSION', `${what} is for root and for members of the agent's group`, {
    step: 'access',
    advice:
      role === 'loopback' ? "Ask over the agent's unix socket" : 'Ask as root, or join the group (setting agent.group)',
  });
}

/** @throws BERTH_PERMISSION */
export function ownerOnly({ role }: Caller, what: string): void {
  if (role === 'owner') return;
  throw new BerthError('BERTH_PERMISSION', `${what} is for root only`, { step: 'access', advice: 'Ask as root' });
}

export function nameOf({ role, peer }: Caller): string {
  return peer ? `uid ${peer.uid} (pid ${peer.pid})` : role;
}

/**
 * The targets that a caller named, as the library takes them. Bare endpoints and port lists are anyone's. A path is read,
 * and run through `haproxy -c`, with the agent's privileges: any path is the owner's alone; others get the instance's sources.
 * @throws BERTH_PERMISSION, BERTH_USAGE
 */
export function permittedTargets(
  caller: Caller,
  { settings }: Instance,
  targets: readonly string[] | undefined,
  { workingDirectory }: { readonly workingDirectory?: string | undefined },
): { readonly targets: readonly string[]; readonly options: ConfigurationOptions } {
  if (targets === undefined) {
    const [first] = settings.sources;
    if (first === undefined) throw usage('No target was named, and this instance has no sources');
    if (caller.role === 'loopback') throw refused(first);
    return { targets: settings.sources, options: {} };
  }
  const paths = targets.filter((target) => !/^(tcp|udp):|^[\d,-]+$/.test(target));
  const [path] = paths;
  if (path === undefined) return { targets, options: {} };
  const base = workingDirectory ?? settings.haproxy.workingDirectory;
  const relative = paths.find((path) => !path.startsWith('/'));
  if (relative !== undefined && base === undefined) {
    throw usage(`${relative} is not an absolute path, and no workingDirectory was given`);
  }
  if (caller.role === 'owner') return { targets, options: workingDirectory === undefined ? {} : { workingDirectory } };
  const configured = new Set(settings.sources);
  const absolute = targets.map((target) => (paths.includes(target) ? resolve(base ?? '/', target) : target));
  const foreign = absolute.find((target) => target.startsWith('/') && !configured.has(target));
  if (foreign !== undefined || caller.role === 'loopback') throw refused(foreign ?? path);
  // HAProxy resolves certificates against its working directory: that of the settings, not of the caller.
  return { targets: absolute, options: {} };
}

function refused(path: string): BerthError {
  return new BerthError('BERTH_PERMISSION', `${path} is not a source of this instance; only root may name any path`, {
    step: 'access',
    advice: 'Leave the sources out, or ask as root',
  });
}

function usage(message: string): BerthError {
  return new BerthError('BERTH_USAGE', message, { step: 'request' });
}

/** gid of a group of /etc/group, or the number itself; undefined where there is none. */
export function groupId(name: string, file = '/etc/group'): number | undefined {
  if (/^\d+$/.test(name)) return Number(name);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
  const row = text.split('\n').find((line) => line.startsWith(`${name}:`));
  const gid = row?.split(':')[2] ?? '';
  return /^\d{1,10}$/.test(gid) ? Number(gid) : undefined;
}
