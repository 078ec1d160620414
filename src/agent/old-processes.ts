/** What is remembered of old HAProxies from one look to the next: since when each is known, and what was told of it. */
import { uptime } from 'node:os';
import { identity } from '../model/process.js';
import type { HostProcess } from '../reload/processes.js';
import { type DrainDecision, KILL_AFTER_MS, type OldProcess } from './drain.js';

/** In milliseconds. */
export interface Clock {
  /** Since 1970, as the notes of who was told to stop have it. */
  readonly wall: () => number;
  /** Since boot, as the kernel counts the starts of processes (CLOCK_BOOTTIME): nobody can set it. */
  readonly boot: () => number;
}

export const SYSTEM_CLOCK: Clock = { wall: () => Date.now(), boot: () => uptime() * 1000 };

/** USER_HZ, the unit of a process' start ticks: 100 on every architecture that Node runs on. */
const MS_PER_TICK = 10;

interface Memory {
  /** How long it had drained when it was first seen. */
  readonly ageMs: number;
  readonly seenAt: number;
  told: boolean;
  /** On the clock since boot. */
  endedAt?: number;
}

/**
 * Ages do not follow the wall clock: that may jump, and a jump must not end anybody's connections. Only the age that a
 * process has at the first look is taken from it, and is at most the time that the process lives.
 */
export class OldProcesses {
  readonly #memory = new Map<string, Memory>();
  readonly #clock: Clock;

  constructor(clock: Clock = SYSTEM_CLOCK) {
    this.#clock = clock;
  }

  /** The draining ones and the strays of a look; what it does not show is forgotten. */
  look(processes: readonly HostProcess[]): OldProcess[] {
    const old = processes.filter(({ role }) => role === 'draining' || role === 'stray');
    const present = new Set(old.map(identity));
    for (const known of this.#memory.keys()) if (!present.has(known)) this.#memory.delete(known);
    return old.map((process) => {
      const memory = this.#memory.get(identity(process)) ?? this.#first(process);
      const ageMs = memory.ageMs + (this.#clock.boot() - memory.seenAt);
      const ending = this.#clock.boot() - (memory.endedAt ?? -Infinity) < 2 * KILL_AFTER_MS;
      return { process, ageMs, told: memory.told, ending };
    });
  }

  /** What was decided is being done: it is not told again, and nothing is ended twice while that takes its time. */
  told({ warn, end, strays }: DrainDecision): void {
    for (const { process } of end) {
      const memory = this.#memory.get(identity(process));
      if (memory) memory.endedAt = this.#clock.boot();
    }
    for (const process of [...warn.map((one) => one.process), ...strays]) {
      const memory = this.#memory.get(identity(process));
      if (memory) memory.told = true;
    }
  }

  #first(process: HostProcess): Memory {
    const drains = process.since === undefined ? 0 : this.#clock.wall() - Date.parse(process.since);
    const lives = this.#clock.boot() - Number(process.startTicks) * MS_PER_TICK;
    const ageMs = Math.max(0, Math.min(drains, lives));
    const memory: Memory = { ageMs, seenAt: this.#clock.boot(), told: false };
    this.#memory.set(identity(process), memory);
    return memory;
  }
}
