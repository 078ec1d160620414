/** What one caller may cost the others. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { BerthError } from '../../errors.js';
import type { Caller } from './access.js';

/** Connections at once, over all. */
export const MAX_CONNECTIONS = 1024;
/** Of those, kept for root: whoever has many uids (subuid(5)) cannot take them all. */
const KEPT_FOR_OWNER = 128;
/** Connections at once of one uid that is not root's; of the TCP listener together. */
export const MAX_CONNECTIONS_EACH = 128;
/** Questions of one caller that are worked on at once; what is asked beyond that waits for its turn. */
const QUESTIONS_AT_ONCE = 8;
/** Requests of one connection that wait for their answers. */
const MAX_PIPELINED = 16;
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
  take(socket: Socket, caller: Caller): boolean {
    if (caller.role === 'owner') return true;
    const key = keyOf(caller);
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

const keyOf = ({ role, peer }: Caller): string => (peer ? `uid ${peer.uid}` : role);

interface Line {
  busy: number;
  readonly waiting: (() => void)[];
}

/** A caller's questions wait for his own, so that a thousand at once of one do not keep the others, or a reload, waiting. */
export class Turns {
  readonly #lines = new Map<string, Line>();

  /** @param gone is there nobody any more to answer; then `work` is not begun, and `otherwise` is the result */
  async take<T>(caller: Caller, gone: () => boolean, work: () => Promise<T>, otherwise: T): Promise<T> {
    if (caller.role === 'owner') return work();
    const key = keyOf(caller);
    const line = this.#lines.get(key) ?? { busy: 0, waiting: [] };
    this.#lines.set(key, line);
    if (line.busy >= QUESTIONS_AT_ONCE) await new Promise<void>((resolve) => line.waiting.push(resolve));
    else line.busy += 1;
    try {
      return gone() ? otherwise : await work();
    } finally {
      const next = line.waiting.shift();
      if (next) next();
      else line.busy -= 1;
      if (line.busy === 0) this.#lines.delete(key);
    }
  }
}

/** Node begins every request that has come, however many wait for their answers. */
export class Pipelines {
  readonly #waiting = new WeakMap<Socket, number>();

  /** False where its connection has too many that wait; the connection is ended then. */
  take({ socket }: IncomingMessage, response: ServerResponse): boolean {
    const waiting = (this.#waiting.get(socket) ?? 0) + 1;
    if (waiting > MAX_PIPELINED) {
      socket.destroy();
      return false;
    }
    this.#waiting.set(socket, waiting);
    response.once('close', () => this.#waiting.set(socket, (this.#waiting.get(socket) ?? 1) - 1));
    return true;
  }
}
