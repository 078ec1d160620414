/** Bytes damaged as disks, editors and enemies do it, for fast-check. */
import fc from 'fast-check';

/** @param tokens what is put in somewhere, one character a byte */
function mutation(tokens: readonly string[]) {
  return fc.oneof(
    fc.record({ how: fc.constant('flip' as const), at: fc.nat(), bit: fc.nat({ max: 7 }) }),
    fc.record({ how: fc.constant('byte' as const), at: fc.nat(), value: fc.nat({ max: 255 }) }),
    {
      weight: 2,
      arbitrary: fc.record({ how: fc.constant('insert' as const), at: fc.nat(), token: fc.constantFrom(...tokens) }),
    },
    fc.record({ how: fc.constant('delete' as const), at: fc.nat(), length: fc.integer({ min: 1, max: 40 }) }),
    fc.record({ how: fc.constant('duplicate' as const), at: fc.nat(), length: fc.integer({ min: 1, max: 60 }) }),
    fc.record({ how: fc.constant('cut' as const), at: fc.nat() }),
  );
}
type Mutation = ReturnType<typeof mutation> extends fc.Arbitrary<infer T> ? T : never;

function changed(bytes: Buffer, at: number, change: Mutation): Buffer {
  const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)];
  const set = (value: number) => Buffer.concat([head, Buffer.from([value]), tail.subarray(1)]);
  switch (change.how) {
    case 'flip':
      return set((tail[0] ?? 0) ^ (1 << change.bit));
    case 'byte':
      return set(change.value);
    case 'insert':
      return Buffer.concat([head, Buffer.from(change.token, 'latin1'), tail]);
    case 'delete':
      return Buffer.concat([head, tail.subarray(change.length)]);
    case 'duplicate':
      return Buffer.concat([head, tail.subarray(0, change.length), tail]);
    case 'cut':
      return Buffer.concat([head, Buffer.from(change.at % 3 === 0 ? '' : '\n')]);
  }
}

/**
 * One to four changes.
 * @param behind three of four fall behind the last of these
 */
export function mutationsOf(
  bytes: fc.Arbitrary<Buffer>,
  tokens: readonly string[],
  behind?: string,
): fc.Arbitrary<Buffer> {
  return fc
    .tuple(bytes, fc.array(mutation(tokens), { minLength: 1, maxLength: 4, size: 'small' }))
    .map(([start, changes]) =>
      changes.reduce((now, change) => {
        const from = behind === undefined || change.at % 4 === 0 ? 0 : now.lastIndexOf(behind) + 1;
        return changed(now, from + (change.at % (now.length + 1 - from)), change);
      }, start),
    );
}
