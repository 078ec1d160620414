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
  /** Connected, not listening sockets with a living owner: the port can be shared (SO_REUSEADDR on the holder's socket). */
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
  /** Busy, and the kernel's tables name nobody (a socket in a table that may not be read, or one that came and went). */
  | { readonly kind: 'busy'; readonly holders: readonly Holder[] }
  /** Only HAProxy can tell (host name, inherited descriptor). */
  | { readonly kind: 'unknown'; readonly why: string };

export interface ProbeVerdict {
  readonly endpoint: InetEndpoint;
  readonly verdict: Verdict;
}
