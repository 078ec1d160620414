/**
 * What the journal can say. One transaction is one reload: `begin` opens it; `finished`, `aborted` or `recovered` ends it.
 * A step that changes something outside the state directory has a record before it (`…ing`) and one after it.
 *
 * | kind | written | what a recovery may conclude |
 * | --- | --- | --- |
 * | begin | first of all | nothing but the state directory was touched |
 * | staged | the generation is complete on disk | |
 * | checked | `haproxy -c` accepts it | |
 * | reserving / reserved | before / after ports are added to ip_local_reserved_ports | these ports may be / are reserved by us |
 * | securing / secured | before / after a holder's socket is shared or destroyed, or a guard bound | guards died with Berth; the new listener has nobody to serve it |
 * | handing-over | before HAProxy is started or its master reloaded | a new process may exist: `pidFile` names it |
 * | started | the new process is up | it may serve beside the old one |
 * | published | `current` points to the new generation | a HAProxy started from `current` gets the new one |
 * | verified | the kernel shows every listener served by it | going forward is safe |
 * | committing / committed | before / after the user's pid file is the new process' | forward: the old one only needs to be retired |
 * | retiring | before the old process is told to finish | it may not have been told yet |
 * | released | reservations that are no longer needed are gone | |
 * | finished | the end | |
 * | aborting / aborted | before / after everything is undone | undo again what may not be undone yet |
 * | recovered | a later run brought it to an end | |
 */
import { z } from 'zod';

const pid = z.int().positive();
const startTicks = z.string().regex(/^\d+$/);
const generation = z.int().positive();
const target = z.object({ pid, startTicks });

const shapes = [
  z.object({
    kind: z.literal('begin'),
    transaction: z.string().min(1),
    /** The generation that is to serve. */
    generation,
    /** The generation that serves now; absent at the first start. */
    previous: generation.optional(),
    /** The HAProxy that serves now; absent at the first start. */
    old: target.optional(),
    mode: z.enum(['standalone', 'master-worker']).optional(),
  }),
  z.object({ kind: z.literal('staged') }),
  z.object({ kind: z.literal('checked') }),
  /** Kernel list form of the ports that are added. */
  z.object({ kind: z.literal('reserving'), ports: z.string() }),
  z.object({ kind: z.literal('reserved') }),
  z.object({
    kind: z.literal('securing'),
    endpoint: z.string(),
    action: z.string(),
    /** The holder, where there is one. */
    owner: z.object({ pid, comm: z.string() }).optional(),
  }),
  z.object({ kind: z.literal('secured'), endpoint: z.string() }),
  z.object({ kind: z.literal('handing-over'), handoff: z.string().optional(), pidFile: z.string().optional() }),
  z.object({ kind: z.literal('started'), ...target.shape }),
  z.object({ kind: z.literal('published') }),
  z.object({ kind: z.literal('verified') }),
  z.object({ kind: z.literal('committing'), pidFile: z.string().optional() }),
  z.object({ kind: z.literal('committed') }),
  z.object({ kind: z.literal('retiring'), ...target.shape }),
  /** Kernel list form of the ports that were taken out. */
  z.object({ kind: z.literal('released'), ports: z.string() }),
  z.object({ kind: z.literal('finished') }),
  z.object({ kind: z.literal('aborting'), reason: z.string() }),
  z.object({ kind: z.literal('aborted') }),
  z.object({ kind: z.literal('recovered'), outcome: z.enum(['forward', 'back']), detail: z.string() }),
] as const;

const recordSchema = z.discriminatedUnion('kind', shapes);
const stampSchema = z.object({
  /** Position in the journal since it was last compacted, from 1. */
  n: z.int().positive(),
  /** ISO time. */
  time: z.iso.datetime(),
});

/** A record as it is given to the journal. */
export type JournalEntry = z.infer<typeof recordSchema>;
/** A record as it is read back: with its number and time. */
export type JournalRecord = JournalEntry & z.infer<typeof stampSchema>;
export type RecordKind = JournalEntry['kind'];
export type BeginEntry = Extract<JournalEntry, { kind: 'begin' }>;

/** Every kind, in the order of the table. */
export const RECORD_KINDS: readonly RecordKind[] = shapes.map((shape) => shape.shape.kind.value);

const ENDS: ReadonlySet<RecordKind> = new Set(['finished', 'aborted', 'recovered']);

/** True for the records that end a transaction. */
export function endsTransaction(kind: RecordKind): boolean {
  return ENDS.has(kind);
}

/** The record that parsed JSON holds; undefined where it is none. Unknown keys are dropped. */
export function asRecord(value: unknown): JournalRecord | undefined {
  const stamp = stampSchema.safeParse(value);
  const entry = recordSchema.safeParse(value);
  return stamp.success && entry.success ? { ...stamp.data, ...entry.data } : undefined;
}
