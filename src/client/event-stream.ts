/** Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), as far as the agent sends them. */

import { BerthError } from '../errors.js';

/** The report of a reload of 60000 listeners is a tenth of it. */
const LONGEST_EVENT = 64 * 1024 * 1024;

export interface ServerEvent {
  readonly event: string;
  /** Parsed from JSON. */
  readonly data: unknown;
}

/** Events of a stream of bytes; comments, the agent's heartbeat, are passed over. */
export async function* eventsOf(stream: AsyncIterable<unknown>): AsyncGenerator<ServerEvent> {
  const decoder = new TextDecoder();
  let pieces: string[] = [];
  let length = 0;
  for await (const chunk of stream) {
    const text = decoder.decode(chunk as Uint8Array, { stream: true });
    const ends = text.includes('\n\n') || (text.startsWith('\n') && pieces.at(-1)?.endsWith('\n') === true);
    if (text !== '') pieces.push(text);
    length += text.length;
    if (length > LONGEST_EVENT && !ends) throw foreign(`an event of more than ${LONGEST_EVENT} characters`);
    // Joined only where an event ends: a long one comes in hundreds of pieces.
    if (!ends) continue;
    const blocks = pieces.join('').split('\n\n');
    pieces = [blocks.pop() ?? ''];
    length = pieces[0]?.length ?? 0;
    for (const block of blocks) {
      const event = eventOf(block);
      if (event !== undefined) yield event;
    }
  }
}

function eventOf(block: string): ServerEvent | undefined {
  let event = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    if (line.startsWith('event: ')) event = line.slice('event: '.length);
    if (line.startsWith('data: ')) data.push(line.slice('data: '.length));
  }
  return data.length === 0 ? undefined : { event, data: parsed(data.join('\n')) };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw foreign('an event that is not JSON', error);
  }
}

function foreign(what: string, cause?: unknown): BerthError {
  const message = `What answers is not Berth's agent: it sent ${what}`;
  return new BerthError('BERTH_AGENT', message, { step: 'agent', cause });
}
