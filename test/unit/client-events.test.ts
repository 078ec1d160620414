/** What the client makes of a stream that no agent of Berth's sends. */
import { expect, it } from 'vitest';
import { eventsOf } from '../../src/client/event-stream.js';

async function all(...chunks: string[]): Promise<unknown[]> {
  const events: unknown[] = [];
  async function* stream() {
    yield* await Promise.resolve(chunks.map((chunk) => Buffer.from(chunk)));
  }
  for await (const event of eventsOf(stream())) events.push(event);
  return events;
}

it('an event in pieces, and one of several lines', async () => {
  expect(await all(':\n', '\nevent: a\nda', 'ta: {"b":\ndata: 1}\n', '\nrest')).toEqual([
    { event: 'a', data: { b: 1 } },
  ]);
});

it('what is no JSON is refused by name, and not taken for a defect of ours', async () => {
  await expect(all('data: {"a"\n\n')).rejects.toMatchObject({ code: 'BERTH_AGENT' });
});

it('an event without an end is given up', async () => {
  await expect(all(...Array.from({ length: 70 }, () => 'x'.repeat(1 << 20)))).rejects.toMatchObject({
    code: 'BERTH_AGENT',
  });
});
