/** HAProxy's command line interface on a unix socket: one connection, one command, the whole answer. */
import { connect } from 'node:net';
import { BerthError, systemCause } from '../errors.js';

const ANSWER_LIMIT = 64 << 20;

export interface AskOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** The answer is also complete at an empty line: the masters of 2.2 and 3.2 may keep the connection open after it. */
  readonly untilEmptyLine?: boolean;
  /** A longer answer is an error; 64 MiB where not given. */
  readonly mostBytes?: number;
}

/**
 * Send one command to a stats or master socket and return what comes back until HAProxy closes. The writing side stays
 * open: HAProxy gives up an answer whose asker has half-closed.
 * @throws BERTH_USAGE where the text would be more than one command; BERTH_HAPROXY_SOCKET where nobody answers there.
 */
export function ask(path: string, command: string, options: AskOptions): Promise<string> {
  if (/[;\n\r\0]/.test(command) || command.trim() === '') {
    return Promise.reject(
      new BerthError(
        'BERTH_USAGE',
        `"${command}" is not one HAProxy command: it must not be empty or hold ; or a line end`,
        {
          step: 'ask',
        },
      ),
    );
  }
  const { mostBytes = ANSWER_LIMIT } = options;
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const socket = connect({ path });
    const settle = (act: () => void) => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', onAbort);
      socket.destroy();
      act();
    };

    const fail = (why: string, cause?: unknown) => settle(() => reject(socketError(path, why, cause)));
    const finish = () => settle(() => resolve(Buffer.concat(chunks).toString()));
    const onAbort = () =>
      settle(() => reject(new BerthError('BERTH_INTERRUPTED', `Interrupted while asking ${path}`, { step: 'ask' })));
    const timer = setTimeout(
      () => settle(() => reject(silent(path, `did not answer "${command}" within ${options.timeoutMs} ms`))),
      options.timeoutMs,
    );
    options.signal?.addEventListener('abort', onAbort);
    if (options.signal?.aborted) {
      onAbort();
      return;
    }
    socket.on('connect', () => socket.write(`${command}\n`));
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      size += chunk.length;
      if (size > mostBytes) fail(`answered with more than ${mostBytes} bytes: it is not HAProxy's`);
      else if (options.untilEmptyLine && endsWithEmptyLine(chunks)) finish();
    });
    socket.on('end', finish);
    socket.on('error', (error) => fail(describe(error), error));
  });
}

function endsWithEmptyLine(chunks: readonly Buffer[]): boolean {
  return Buffer.concat(chunks.slice(-2)).subarray(-2).toString() === '\n\n';
}

function describe(error: Error): string {
  const code = systemCause(error)?.code;
  if (code === 'ENOENT') return 'does not exist';
  if (code === 'ECONNREFUSED') return 'has no listener any more: whoever made it is gone';
  if (code === 'EACCES') return 'may not be opened';
  return `failed with ${code ?? error.message}`;
}

export function socketError(path: string, why: string, cause?: unknown): BerthError {
  return new BerthError('BERTH_HAPROXY_SOCKET', `The socket ${path} ${why}`, { step: 'ask', cause });
}

/** Somebody accepts there and says nothing: a hung HAProxy, one that just re-executes itself, or another program. */
export function silent(path: string, why: string): BerthError {
  return new BerthError('BERTH_HAPROXY_SOCKET', `The socket ${path} ${why}`, {
    step: 'ask',
    details: { silent: true },
  });
}

/** Who answers on a stats socket. Where two processes share one, it is either of them. */
export interface StatsIdentity {
  readonly pid: number;
  readonly version: string;
}

/** @throws BERTH_HAPROXY_SOCKET where the socket's owner is not HAProxy. */
export async function statsIdentity(path: string, timeoutMs: number): Promise<StatsIdentity> {
  const answer = await ask(path, 'show info', { timeoutMs, mostBytes: 1 << 20 });
  const fields = new Map(
    answer.split('\n').flatMap((line): [string, string][] => {
      const colon = line.indexOf(': ');
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 2).trim()]];
    }),
  );
  const pid = Number(fields.get('Pid'));
  const version = fields.get('Version');
  if (
    !/^ha-?proxy$/i.test(fields.get('Name') ?? '') ||
    !Number.isSafeInteger(pid) ||
    pid <= 0 ||
    version === undefined
  ) {
    throw socketError(
      path,
      `is not HAProxy's: to "show info" it answered "${answer.slice(0, 80).replaceAll(/\s+/g, ' ')}"`,
    );
  }
  return { pid, version };
}
