/** What one caller may cost the others. */
import type { Socket } from 'node:net';
import { BerthError } from '../../errors.js';
import type { Caller } from './access.js';

/** Connections at once, over all. */
export const MAX_CONNECTIONS = 1024;
/** Of those, kept for root: whoever has many uids (subuid(5)) cannot take them all. */
const KEPT_FOR_OWNER = 128;
/** Connections at once of one uid that is not root's; of the TCP listener together. */
export const MAX_CONNECTIONS_EACH = 128;
/** Bare endpoints in one request: all ports of one address, for those who may act. */
const MAX_ENDPOINTS = 65_536;
const MAX_ENDPOINTS_READERS = 4096;

/** A range is one word and up to 65535 test binds. @throws BERTH_API_TOO_LARGE */
export function endpointLimit(targets: readonly string[], { role }: Caller): void {
  const limit = role === 'owner' || role === 'member' ? MAX_ENDPOINTS : MAX_ENDPOINTS_READERS;
  let count = 0;
  for (const target of targets) {
    const [, first, last] = /^(?:tcp|udp):.*:(\d+)-(\d+)$/.exec(target) ?? [];
    count += first === undefined ? 1 : Math.max(1, Number(last) - Number(first) + 1);
  }
  if (count <= limit) return;
  throw new BerthError('BERTH_API_TOO_LARGE', `${count} endpoints are asked for, and at most ${limit} are answered`, {
    step: 'request',
    advice: 'Ask in parts',
    details: { endpoints: count, limit },
  });
}

/** Counts the connections of each caller, so that one that holds a thousand idle ones leaves room for the others. */
export class Connections {
  readonly #count = new Map<string, number>();
  #all = 0;

  /** False where this caller, or all but the owner together, have enough of them. */
  take(socket: Socket, { role, peer }: Caller): boolean {
    if (role === 'owner') return true;
    const key = peer ? `uid ${peer.uid}` : role;
    const count = this.#count.get(key) ?? 0;
    if (count >= MAX_CONNECTIONS_EACH || this.#all >= MAX_CONNECTIONS - KEPT_FOR_OWNER) return false;
    this.#count.set(key, count + 1);
    this.#all += 1;
    socket.once('close', () => {
      this.#all -= 1;
      const left = (this.#count.get(key) ?? 1) - 1;
      if (left === 0) this.#count.delete(key);
      else this.#count.set(key, left);
    });
    return true;
  }
}
