/** A process in a namespace that holds sockets as it is told; see holder.mjs. */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Namespace } from './netns.js';

export interface Holder {
  readonly pid: number;
  /** Resolves when the process has ended with all of its threads: only then are its sockets closed. */
  readonly exited: Promise<unknown>;
  /** Echoes what it is sent. libuv sets SO_REUSEADDR on it. */
  listen(host: string, port?: number): Promise<{ id: number; port: number }>;
  /** Listen no more. */
  close(id: number): Promise<unknown>;
  /** `halfOpen`: stays open on this side when the other side closes. */
  connect(host: string, port: number, options?: { halfOpen?: boolean }): Promise<{ id: number; port: number }>;
  echo(id: number, text: string): Promise<{ text: string }>;
  /** Closes first, so that the TIME_WAIT is on this side. */
  end(id: number): Promise<unknown>;
  /** Closes at once, whatever the other side does. */
  drop(id: number): Promise<unknown>;
  /** Local ports of `count` connections, reset at once. */
  storm(host: string, port: number, count: number): Promise<{ ports: number[] }>;
  udp(host: string, port?: number): Promise<{ id: number; port: number }>;
  received(id: number): Promise<{ count: number }>;
}

export async function startHolder(netns: Pick<Namespace, 'spawn'>): Promise<Holder> {
  const child = netns.spawn(process.execPath, fileURLToPath(new URL('./holder.mjs', import.meta.url)));
  child.stderr?.pipe(process.stderr);
  if (!child.stdout || !child.stdin) throw new Error('no pipes');
  const { stdin } = child;
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async <T>(request: object): Promise<T> => {
    stdin.write(`${JSON.stringify(request)}\n`);
    const line: IteratorResult<string, unknown> = await answers.next();
    const answer = JSON.parse(String(line.value)) as T & { error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  };
  return Promise.resolve({
    // nsenter execs: the pid is the holder's own.
    pid: child.pid ?? 0,
    exited: once(child, 'exit'),
    listen: (host, port = 0) => ask({ do: 'listen', host, port }),
    close: (id) => ask({ do: 'close', id }),
    connect: (host, port, options = {}) => ask({ do: 'connect', host, port, ...options }),
    echo: (id, text) => ask({ do: 'echo', id, text }),
    end: (id) => ask({ do: 'end', id }),
    drop: (id) => ask({ do: 'drop', id }),
    storm: (host, port, count) => ask({ do: 'storm', host, port, count }),
    udp: (host, port = 0) => ask({ do: 'udp', host, port }),
    received: (id) => ask({ do: 'received', id }),
  });
}
