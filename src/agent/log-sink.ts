/**
 * Where the log's lines go. A reader that has gone, a full disk and a reader that is stuck cost lines and never the
 * agent: writes run in libuv's pool, and what waits is bounded. pino's own destination would sleep and try for ever at
 * the end of the process where the disk is full (sonic-boom 4.2, flushSync). A reader that is stuck to the very end keeps
 * the finished process until the service manager kills it: Node joins its pool.
 */
import { write } from 'node:fs';

export interface Sink {
  /** Whole lines, newline included. */
  write(lines: string): void;
  /** Resolves when all is written or lost, or after `patienceMs`. */
  close(patienceMs?: number): Promise<void>;
}

const MOST_WAITING = 1 << 20;
const BUSY_PAUSE_MS = 100;

/**
 * @param fd stays the caller's
 * @param lost makes the line that says how many were lost, once lines go out again
 */
export function openSink(fd: number, lost: (lines: number) => string): Sink {
  let waiting: string[] = [];
  let size = 0;
  let missing = 0;
  /** The last write ended within a line. */
  let torn = false;
  let busy = false;
  let idle: (() => void)[] = [];

  const next = () => {
    busy = waiting.length > 0;
    if (!busy) {
      for (const done of idle) done();
      idle = [];
      return;
    }
    const told = missing;
    const gone = told > 0 ? lost(told) : '';
    const lines = waiting.length;
    send(Buffer.from(`${torn ? '\n' : ''}${gone}${waiting.join('')}`), lines, told);
    waiting = [];
    size = 0;
  };
  const send = (chunk: Buffer, lines: number, told: number) => {
    write(fd, chunk, (error, written) => {
      if (error?.code === 'EAGAIN') {
        setTimeout(() => send(chunk, lines, told), BUSY_PAUSE_MS).unref();
      } else if (error) {
        // Not at once again: the next line tries, when there may be room.
        missing += lines + waiting.length;
        waiting = [];
        size = 0;
        next();
      } else if (written < chunk.length) {
        torn = chunk[written - 1] !== NEWLINE;
        send(chunk.subarray(written), lines, told);
      } else {
        torn = false;
        missing -= told;
        next();
      }
    });
  };
  return {
    write: (lines) => {
      if (size + lines.length > MOST_WAITING) {
        missing += 1;
        return;
      }
      waiting.push(lines);
      size += lines.length;
      if (!busy) next();
    },
    close: (patienceMs = 1000) =>
      new Promise((resolve) => {
        if (!busy) {
          resolve();
          return;
        }
        const timer = setTimeout(resolve, patienceMs);
        idle.push(() => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
}

const NEWLINE = 10;
