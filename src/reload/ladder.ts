/** Which rungs of the ladder may be climbed for a verdict. The settings say what is allowed, the verdict what can help. */
import type { Action } from '../model/plan.js';
import { isListener, isOwnerless } from '../model/socket.js';
import type { Holder, Verdict } from '../model/verdict.js';
import type { Settings } from '../settings.js';

export type ConflictSettings = Settings['conflicts'];

/**
 * In the order in which they are climbed; the last one is `quarantine` or `abort` wherever the port is not certain.
 * - *guard*: nobody is in the way of HAProxy's own options, a socket of ours keeps it so;
 * - *share*: SO_REUSEADDR on the connections in the way (TCP), if all of them may be touched;
 * - *destroy*: what nobody owns; with `destroy: all` live connections too;
 * - *wait*: connections end, TIME_WAIT runs out, the sockets of a process that was killed are closed;
 * - nothing at all for `unknown`: HAProxy alone can tell.
 */
export function rungsFor(verdict: Verdict, settings: ConflictSettings): readonly Action[] {
  const end: Action = settings.onUnsolved;
  const wait: readonly Action[] = settings.wait.enabled && settings.wait.deadlineMs > 0 ? ['wait', end] : [end];
  const destroyAll: readonly Action[] = settings.destroy === 'all' ? ['destroy'] : [];
  switch (verdict.kind) {
    case 'free':
    case 'harmless':
      return ['guard'];
    case 'ours':
      return ['guard', end];
    case 'shareable': {
      const { holders } = verdict;
      if (!canShare(holders, settings)) return [...destroyAll, ...wait];
      // Only beside a share: a live connection must never be met by a `destroy` that was meant for the dead ones.
      const dead: readonly Action[] = settings.destroy !== 'off' && holders.some(isDead) ? ['destroy'] : destroyAll;
      return ['share', ...dead, ...wait];
    }
    case 'expiring':
      return settings.destroy === 'off' ? wait : ['destroy', ...wait];
    case 'busy':
      return verdict.holders.length > 0 ? [...destroyAll, ...wait] : wait;
    case 'taken':
      // Nobody has it open: what a HAProxy that was killed a moment ago listened on is just being closed by the kernel.
      return verdict.holders.every(isClosing) ? wait : [end];
    case 'forbidden':
    case 'not-local':
    case 'unusable':
      return [end];
    case 'unknown':
      return [];
  }
}

/** A reload would serve it: certainly for all but `busy`, and for a wait only where the kernel says when it ends. */
export function isServable(verdict: Verdict, settings: ConflictSettings): boolean {
  const rungs = rungsFor(verdict, settings);
  if (verdict.kind === 'unknown') return true;
  if (rungs.includes('guard') || rungs.includes('share') || rungs.includes('destroy')) return true;
  const { enabled, deadlineMs } = settings.wait;
  // The kernel's timers may run 1.1 s late.
  return verdict.kind === 'expiring' && enabled && (verdict.expiresMs ?? Infinity) + 1100 <= deadlineMs;
}

function canShare(holders: readonly Holder[], { share }: ConflictSettings): boolean {
  if (share === 'off') return false;
  return holders.every(
    (holder) =>
      holder.socket.transport === 'tcp' &&
      (isDead(holder) || share === 'all' || holder.owners.some(({ comm }) => comm === 'haproxy')),
  );
}

function isClosing({ socket, owners }: Holder): boolean {
  return isListener(socket) && owners.length === 0;
}

function isDead({ socket }: Holder): boolean {
  return isOwnerless(socket);
}
