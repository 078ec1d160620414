/**
 * Whoever answers where Berth asks a HAProxy for its listening sockets: wrong numbers, other descriptors, silence, a drip,
 * no end. BERTH_TRUST_SEED repeats a run.
 */
import fc from 'fast-check';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { BerthError } from '../../src/errors.js';
import { openKernel } from '../../src/kernel/kernel.js';
import { describeListeners } from '../../src/kernel/store.js';
import { amount, recordFigure, SEED } from '../support/figures.js';
import { repository } from '../support/haproxy.js';
import { describeInNamespaces, makeNamespace } from '../support/netns.js';

const HOSTILE_LIMIT_MS = 120;
const openFiles = () => readdirSync('/proc/self/fd').length;

/** Of hostile-peer.py. */
type Step = Readonly<Record<string, unknown>>;
interface Plan {
  readonly announced: number;
  readonly steps: readonly Step[];
  /** As HAProxy does it: it must be believed. */
  readonly honest: boolean;
}

const KINDS = 'listen listen6 bound fresh udp connected unix netlink file directory pipe event'.split(' ');
const kind = fc.constantFrom(...KINDS);

function number(value: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value | 0);
  return bytes.toString('hex');
}

/** What the asker takes for the number: the first four bytes, whatever they were meant for. */
function firstNumber(steps: readonly Step[]): number {
  const said = steps.map(({ hex = '', endless = '' }) => String(hex) + String(endless).repeat(4)).join('');
  return said.length < 8 ? NaN : Buffer.from(said, 'hex').readInt32LE();
}

/** Namespace and interface of each descriptor, as one byte of length and the name, and four zero bytes. */
function names(count: number): string {
  return Buffer.concat(
    Array.from({ length: count }, (_, at) => Buffer.from(at % 3 ? '\0\0\0\0\0\0' : '\0\x02lo\0\0\0\0')),
  ).toString('hex');
}

const honest = fc.array(fc.array(kind, { minLength: 1, maxLength: 5 }), { maxLength: 4 }).map((messages): Plan => {
  const announced = messages.flat().length;
  const handed = messages.flatMap((kinds) => [{ hex: names(kinds.length), kinds }, { read: true }]);
  return { announced, honest: true, steps: [{ read: true }, { hex: number(announced), kinds: [] }, ...handed] };
});

const bytes = fc.uint8Array({ maxLength: 40 }).map((data) => Buffer.from(data).toString('hex'));
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ hex: bytes.map((hex) => hex || '00'), kinds: fc.array(kind, { maxLength: 4 }) }),
  },
  { weight: 1, arbitrary: fc.record({ hex: fc.constant('00'), kinds: fc.constant(Array<string>(253).fill('fresh')) }) },
  { weight: 1, arbitrary: fc.record({ hex: bytes, every: fc.integer({ min: 0, max: 20 }) }) },
  { weight: 1, arbitrary: fc.constant({ read: true }) },
);
const ending: fc.Arbitrary<Step> = fc.oneof(
  fc.constantFrom({ silence: true }, { reset: true }, { read: true }),
  fc.record({ endless: bytes.map((hex) => hex || '61') }),
);
const hostile = fc
  .record({
    announced: fc.oneof(
      fc.integer({ min: 0, max: 8 }),
      fc.constantFrom(252, 253, 300, 1 << 20, (1 << 20) + 1, 2 ** 31 - 1, -1, 0x6e6b6e55),
    ),
    whole: fc.boolean(),
    before: fc.array(step, { maxLength: 1 }),
    steps: fc.array(step, { maxLength: 5 }),
    ending,
  })
  .map(({ announced, whole, before, steps, ending: last }): Plan => {
    const first = { hex: number(announced).slice(0, whole ? 8 : 4), kinds: [] };
    const all: Step[] = [...before, first, ...steps, last];
    return { announced: firstNumber(all), honest: false, steps: all };
  });

describeInNamespaces('a peer that hands over sockets', () => {
  test('all that it announces, or an error that says where; no descriptor stays', async () => {
    const netns = await makeNamespace();
    const kernel = await openKernel({ netns: netns.path });
    const directory = mkdtempSync(join(tmpdir(), 'berth-peers-'));
    const path = join(directory, 'stats');
    const peer = netns.spawn(join(repository, 'test/support/hostile-peer.py'), path);
    const answers = createInterface({ input: peer.stdout! })[Symbol.asyncIterator]();
    await answers.next();
    const count = { whole: 0, refused: 0 };
    const before = openFiles();

    async function meet(plan: Plan): Promise<void> {
      peer.stdin!.write(`${JSON.stringify(plan.steps)}\n`);
      const got = await kernel.getsocks(path, plan.honest ? 10_000 : HOSTILE_LIMIT_MS).catch((error: unknown) => error);
      if (Array.isArray(got)) {
        count.whole += 1;
        expect(got).toHaveLength(plan.announced);
        describeListeners(got as number[]);
        kernel.close(got as number[]);
      } else {
        count.refused += 1;
        expect(got).toBeInstanceOf(BerthError);
        const error = got as BerthError;
        expect(error.code).toMatch(/^BERTH_(HAPROXY_SOCKET|TIMEOUT)$/);
        expect(error.advice).not.toBe('');
        expect(error.message).toContain(path);
        expect(error.system?.code).toMatch(/^(EPROTO|ECONNRESET|EPIPE|ETIMEDOUT|EMFILE)$/);
        expect(plan.honest).toBe(false);
      }
      await answers.next();
      expect(openFiles()).toBe(before);
    }

    const plan = fc.oneof({ weight: 1, arbitrary: honest }, { weight: 4, arbitrary: hostile });
    const numRuns = amount('getsocks_peers', { short: 60, full: 800 });
    const outcome = await fc.check(fc.asyncProperty(plan, meet), { numRuns, seed: SEED, endOnFailure: true });
    peer.kill('SIGKILL');
    await once(peer, 'exit');
    await kernel.closeNamespace();
    await netns.remove();
    rmSync(directory, { recursive: true, force: true });
    recordFigure({
      part: 'fuzz',
      name: 'peers that hand over sockets',
      promise:
        'Whoever answers where HAProxy should hand over its sockets: Berth takes all that was announced or none, and keeps no descriptor.',
      figure: `${outcome.numRuns} peers: ${count.whole} taken whole, ${count.refused} refused, ${outcome.failed ? 1 : 0} failures`,
      kept: !outcome.failed,
      haproxy: [],
    });
    if (outcome.failed) throw new Error(await fc.asyncDefaultReportMessage(outcome), { cause: outcome.errorInstance });
    expect(Math.min(count.whole, count.refused)).toBeGreaterThan(0);
  }, 300_000);
});
