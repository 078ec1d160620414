/** Who is at the other end of a unix socket, with the groups that it is in. */
import { readFileSync } from 'node:fs';
import { peerCredentials, type PeerCredentials } from './system.js';

/**
 * SO_PEERCRED (unix(7)) is of the moment of connect(2), and knows one group only; the others are those of the process as
 * it is now (proc_pid_status(5)). Where that process has gone, or its pid belongs to another user already, there are none.
 */
export function peerWithGroups(descriptor: number): PeerCredentials & { readonly groups: readonly number[] } {
  const peer = peerCredentials(descriptor);
  return { ...peer, groups: groupsOf(peer) };
}

function groupsOf({ pid, uid }: PeerCredentials): number[] {
  let status: string;
  try {
    status = readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return [];
  }
  // Real, effective, saved, file system: all of them, so that a set-user-ID program that runs for this user does not count.
  const uids = /^Uid:\s*(.*)$/m.exec(status)?.[1]?.split(/\s+/).map(Number) ?? [];
  if (uids.length !== 4 || uids.some((one) => one !== uid)) return [];
  const groups = /^Groups:\s*(.*)$/m.exec(status)?.[1]?.trim() ?? '';
  return groups === '' ? [] : groups.split(/\s+/).map(Number);
}
