/**
 * How connect(2) chooses a local port, step by step as the kernel does it (net/ipv4/inet_hashtables.c, __inet_hash_connect):
 * what the formulas of src/advise are held against where an experiment would take too many hosts. Seeded.
 */
import { randomOf } from './random.js';

export interface WalkOptions {
  readonly seed: number;
  readonly range: { readonly first: number; readonly last: number };
  /** Ports that connections are not given. */
  readonly closed: ReadonlySet<number>;
  readonly destinations: number;
  readonly rate: number;
  readonly lifetime: number;
}

export class PortWalk {
  attempts = 0;
  failed = 0;
  readonly random: () => number;
  readonly #options: WalkOptions;
  readonly #size: number;
  /** Connections on each port of the range, and whether each destination has one there. */
  readonly #held: Uint16Array;
  readonly #taken: Uint8Array[];
  readonly #closed: Uint8Array;
  /** Where the next walk of each destination begins. */
  readonly #offsets: number[];
  /** A binary heap of [ends, destination, port]. */
  readonly #ends: (readonly [number, number, number])[] = [];
  #now = 0;

  constructor(options: WalkOptions) {
    const { first, last } = options.range;
    this.#options = options;
    this.random = randomOf(options.seed);
    this.#size = (last - first + 1) & ~1;
    this.#held = new Uint16Array(this.#size);
    this.#closed = Uint8Array.from({ length: this.#size }, (_, i) => (options.closed.has(first + i) ? 1 : 0));
    this.#taken = Array.from({ length: options.destinations }, () => new Uint8Array(this.#size));
    this.#offsets = Array.from({ length: options.destinations }, () => Math.floor(this.random() * this.#size));
  }

  /** Let so many seconds pass. */
  run(seconds: number): void {
    const end = this.#now + seconds;
    const { rate, lifetime, destinations } = this.#options;
    for (;;) {
      this.#now += -Math.log(1 - this.random()) / rate;
      if (this.#now > end) break;
      this.#expire();
      const destination = Math.floor(this.random() * destinations);
      const port = this.#connect(destination);
      this.attempts++;
      if (port === undefined) this.failed++;
      else this.#push([this.#now - Math.log(1 - this.random()) * lifetime, destination, port]);
    }
    this.#now = end;
    this.#expire();
  }

  isHeld(port: number): boolean {
    const at = port - this.#options.range.first;
    return at >= 0 && at < this.#size && (this.#held[at] ?? 0) > 0;
  }

  /** Ports that at least one connection holds. */
  heldPorts(): number {
    return this.#held.reduce((sum, connections) => sum + (connections > 0 ? 1 : 0), 0);
  }

  #connect(destination: number): number | undefined {
    const taken = this.#taken[destination] as Uint8Array;
    const offset = ((this.#offsets[destination] ?? 0) % this.#size) & ~1;
    for (const parity of [0, 1]) {
      for (let i = 0; i < this.#size; i += 2) {
        const at = (offset + parity + i) % this.#size;
        if (this.#closed[at] === 1 || taken[at] === 1) continue;
        taken[at] = 1;
        this.#held[at] = (this.#held[at] ?? 0) + 1;
        const step = Math.max(i, Math.floor(this.random() * 8) * 2);
        this.#offsets[destination] = (this.#offsets[destination] ?? 0) + step + 2;
        return at;
      }
    }
    return undefined;
  }

  #expire(): void {
    for (let top = this.#ends[0]; top !== undefined && top[0] <= this.#now; top = this.#ends[0]) {
      const [, destination, at] = top;
      (this.#taken[destination] as Uint8Array)[at] = 0;
      this.#held[at] = (this.#held[at] ?? 1) - 1;
      this.#pop();
    }
  }

  #push(entry: readonly [number, number, number]): void {
    const heap = this.#ends;
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if ((heap[parent]?.[0] ?? 0) <= entry[0]) break;
      heap[at] = heap[parent] as readonly [number, number, number];
      at = parent;
    }
    heap[at] = entry;
  }

  #pop(): void {
    const heap = this.#ends;
    const moved = heap.pop();
    if (moved === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && (heap[child + 1]?.[0] ?? 0) < (heap[child]?.[0] ?? 0)) child++;
      if ((heap[child]?.[0] ?? 0) >= moved[0]) break;
      heap[at] = heap[child] as readonly [number, number, number];
      at = child;
    }
    heap[at] = moved;
  }
}
