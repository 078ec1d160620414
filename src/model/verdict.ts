import type { InetEndpoint } from './endpoint.js';
import type { SocketOwner, SocketRow } from './socket.js';

/** A socket in the way, and who holds it. */
export interface Holder {
  readonly socket: SocketRow;
  readonly owners: readonly SocketOwner[];
  /** The owner is a HAProxy that no longer listens (soft-stopped and draining), since when (ISO time) where known. */
  readonly draining?: { readonly since?: string };
}

/** Why an endpoint can or can't be bound; `kind` decides what may be done about it. */
export type Verdict =
  /** Nobody has it: a strict bind succeeded. */
  | { readonly kind: 'free' }
  /** HAProxy's own options bind beside what is there (for example a TIME_WAIT that carries SO_REUSEADDR, or our own guard). */
  | { readonly kind: 'harmless'; readonly holders: readonly Holder[] }
  /** Served by the HAProxy that is being reloaded. */
  | { readonly kind: 'ours'; readonly holders: readonly Holder[] }
  /**
   * Connected, not listening sockets with a living owner: a TCP port can be shared (SO_REUSEADDR on the holder's socket).
   * Many connections can share one local port, so sockets without an owner (TIME_WAIT, orphans) may stand among them.
   */
  | { readonly kind: 'shareable'; readonly holders: readonly Holder[] }
  /** TIME_WAIT or an orphan: goes by itself within `expiresMs` (the longest of the holders'), or may be destroyed at no harm. */
  | { readonly kind: 'expiring'; readonly holders: readonly Holder[]; readonly expiresMs?: number }
  /** Another listener (or an exclusive bound socket): only its owner can give it up. `stale` is a HAProxy that is not the one being reloaded. */
  | { readonly kind: 'taken'; readonly holders: readonly Holder[]; readonly stale: boolean }
  /** No permission (privileged port, SELinux, …). */
  | { readonly kind: 'forbidden'; readonly errno: string; readonly need: string }
  /** The address is not on this host (and neither ip_nonlocal_bind nor `transparent` lets it be bound). */
  | { readonly kind: 'not-local'; readonly nonlocalBind: boolean }
  /** Device or namespace does not exist, or no descriptor is left, or a system call failed unexpectedly. */
  | { readonly kind: 'unusable'; readonly errno: string; readonly syscall: string; readonly why: string }
  /**
   * Busy, and nobody is named: no table shows the socket (reset and never closed by its owner, bound before kernel 6.8, come and
   * gone), or its owner can't be seen from here (another pid namespace, no permission).
   */
  | { readonly kind: 'busy'; readonly holders: readonly Holder[] }
  /** Only HAProxy can tell (host name, inherited descriptor). */
  | { readonly kind: 'unknown'; readonly why: string };

export interface ProbeVerdict {
  readonly endpoint: InetEndpoint;
  readonly verdict: Verdict;
}
