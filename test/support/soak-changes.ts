/** Random changes of a configuration, the same for the same seed. */
import fc from 'fast-check';
import { HOST, PEER } from './incident.js';

/** Port → revision: a listener that is changed gets another name, maxconn and server. */
export type Listeners = ReadonlyMap<number, number>;

/** What stands on the port of a new listener; only `listener` is in the way for good. */
export type ConflictKind = 'haproxy' | 'stranger' | 'time-wait' | 'listener';

export interface Conflict {
  readonly kind: ConflictKind;
  readonly port: number;
}

export interface Change {
  readonly add: number;
  readonly change: number;
  /** How many listeners there are in the end, beyond the usual number. */
  readonly more: number;
  readonly conflict: ConflictKind;
  /** Which ones, where there is a choice: 0..1. */
  readonly dice: readonly number[];
}

/** Several, so that none of them has all the TIME_WAITs that a port may have. */
export const BACKENDS = Array.from({ length: 8 }, (_, at) => 9000 + at);
/** Outside of the ephemeral range, for as many as there is room; and in it. */
const QUIET = 10_001;
const [FIRST, LAST] = [32_768, 60_999];
/** Part of the listeners that lies in the ephemeral range. */
const EXPOSED = 0.1;

const change: fc.Arbitrary<Change> = fc.record({
  add: fc.integer({ min: 1, max: 5 }),
  change: fc.integer({ min: 0, max: 5 }),
  more: fc.integer({ min: -10, max: 10 }),
  conflict: fc.oneof(
    ...(
      [
        [6, 'haproxy'],
        [2, 'time-wait'],
        [1, 'stranger'],
        [1, 'listener'],
      ] as const
    ).map(([weight, kind]) => ({
      weight,
      arbitrary: fc.constant<ConflictKind>(kind),
    })),
  ),
  dice: fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 40, maxLength: 40 }),
});

export function randomChanges(count: number, seed: number): readonly Change[] {
  return fc.sample(fc.noBias(change), { numRuns: count, seed });
}

/** So many listeners to begin with, a tenth of them in the ephemeral range. */
export function firstListeners(count: number): Listeners {
  const exposed = Math.round(count * EXPOSED);
  const ports = Array.from({ length: count }, (_, at) => (at < exposed ? FIRST + 7 * at : QUIET + at - exposed));
  return new Map(ports.map((port) => [port, 0]));
}

/** The next configuration: new listeners (the first of them where the conflict is), others gone, others changed. */
export function changed(
  now: Listeners,
  count: number,
  { add, change, more, dice }: Change,
  conflict?: Conflict,
): Listeners {
  const next = new Map(now);
  let thrown = 0;
  const throwDie = (below: number) => Math.floor((dice[thrown++ % dice.length] ?? 0) * below);
  const ports = [...now.keys()];
  const some = () => ports[throwDie(ports.length)] ?? 0;
  for (let left = change; left > 0; left--) {
    const port = some();
    next.set(port, (now.get(port) ?? 0) + 1);
  }
  for (let left = now.size + add - (count + more); left > 0; left--) next.delete(some());
  const added = conflict ? [conflict.port] : [];
  while (added.length < add) added.push(FIRST + throwDie(LAST - FIRST + 1));
  for (const port of added) if (!now.has(port)) next.set(port, 0);
  return next;
}

export function configurationOf(listeners: Listeners, maxconn: number, global: readonly string[] = []): string {
  const sections = [...listeners].map(
    ([port, revision]) =>
      `listen lb-${port}-${revision}\n  bind ${HOST}:${port}\n  maxconn ${1000 + revision}\n` +
      `  server s ${PEER}:${BACKENDS[(port + revision) % BACKENDS.length] ?? 0}\n`,
  );
  return `global
${[`maxconn ${maxconn}`, ...global].map((line) => `  ${line}\n`).join('')}defaults
  mode tcp
  timeout connect 10s
  timeout client 60s
  timeout server 60s
${sections.join('')}`;
}
