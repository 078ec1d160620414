/** Server-sent events: a stream that lives as long as its client, or as the server. */

/** What a client that does not read may cost. */
const MAX_BACKLOG_BYTES = 4 * 1024 * 1024;
/** Without a sign of life a proxy, or the client itself, takes the agent for dead. */
export const HEARTBEAT_MS = 5000;

export interface EventWriter {
  /** @param json one line */
  send(event: string, json: string): void;
  end(): void;
}

export class EventStreams {
  readonly #open = new Set<EventWriter>();
  readonly #heartbeatMs: number;

  constructor(heartbeatMs = HEARTBEAT_MS) {
    this.#heartbeatMs = heartbeatMs;
  }

  /** @param begin starts sending; its result is called when the client has gone or the stream has ended */
  open(begin: (writer: EventWriter) => () => void): Response {
    const encoder = new TextEncoder();
    let gone: (() => void) | undefined;
    const stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          const after: (() => void)[] = [];
          let ended = false;
          const write = (text: string) => {
            if (ended) return;
            controller.enqueue(encoder.encode(text));
            if ((controller.desiredSize ?? 0) <= 0) writer.end();
          };
          const writer: EventWriter = {
            send: (event, json) => write(`event: ${event}\ndata: ${json}\n\n`),
            end: () => {
              if (ended) return;
              close();
              controller.close();
            },
          };
          const close = () => {
            ended = true;
            for (const step of after.splice(0)) step();
          };
          const heartbeat = setInterval(() => write(':\n\n'), this.#heartbeatMs);
          this.#open.add(writer);
          after.push(
            () => clearInterval(heartbeat),
            () => void this.#open.delete(writer),
          );
          gone = close;
          write(':\n\n');
          after.push(begin(writer));
          // What came before was too much already.
          if (this.#open.has(writer)) return;
          close();
        },
        cancel: () => gone?.(),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: MAX_BACKLOG_BYTES }),
    );
    // Without this header @hono/node-server waits for the first chunks before it sends anything.
    const headers = {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'transfer-encoding': 'chunked',
    };
    return new Response(stream, { headers });
  }

  endAll(): void {
    for (const writer of [...this.#open]) writer.end();
  }
}
