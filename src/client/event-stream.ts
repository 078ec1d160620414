/** Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), as far as the agent sends them. */

export interface ServerEvent {
  readonly event: string;
  /** Parsed from JSON. */
  readonly data: unknown;
}

/** Events of a stream of bytes; comments, the agent's heartbeat, are passed over. */
export async function* eventsOf(stream: AsyncIterable<unknown>): AsyncGenerator<ServerEvent> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    rest += decoder.decode(chunk as Uint8Array, { stream: true });
    const blocks = rest.split('\n\n');
    rest = blocks.pop() ?? '';
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
  return data.length === 0 ? undefined : { event, data: JSON.parse(data.join('\n')) };
}
