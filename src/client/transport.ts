/** HTTP over the agent's unix socket: one request, one connection. */
import { request, type IncomingMessage, type RequestOptions } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError, ERROR_TABLE, toBerthError, type ErrorCode } from '../errors.js';
import { eventsOf, type ServerEvent } from './event-stream.js';

export interface Exchange {
  readonly method: 'GET' | 'POST' | 'PUT';
  /** With its query. */
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Longest silence of the agent. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** The answer's body. @throws BerthError: the agent's own, or why there is no answer */
export async function ask(socket: string, exchange: Exchange): Promise<unknown> {
  return reading(socket, exchange, async () => {
    const response = await send(socket, exchange);
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    const body = parse(Buffer.concat(chunks).toString('utf8'), response.statusCode);
    if ((response.statusCode ?? 500) >= 400) throw errorOf(body, response.statusCode);
    return body;
  });
}

/** The events of a stream (text/event-stream) until the agent ends it. @throws as {@link ask} */
export async function* stream(socket: string, exchange: Exchange): AsyncGenerator<ServerEvent> {
  const headers = { ...exchange.headers, accept: 'text/event-stream' };
  const response = await reading(socket, exchange, () => send(socket, { ...exchange, headers }));
  try {
    if (response.headers['content-type']?.startsWith('text/event-stream') !== true) {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      throw errorOf(parse(Buffer.concat(chunks).toString('utf8'), response.statusCode), response.statusCode);
    }
    yield* eventsOf(response);
  } catch (error) {
    throw explained(error, socket, exchange);
  } finally {
    response.destroy();
  }
}

/** A BerthError of the agent's, with its own code, step, advice and system call. */
export function errorOf(body: unknown, status = 500): BerthError {
  const { code, step, message, advice, details, cause } = (body ?? {}) as Record<string, unknown>;
  if (typeof code !== 'string' || !Object.hasOwn(ERROR_TABLE, code) || typeof message !== 'string') {
    return new BerthError('BERTH_AGENT', `The agent answered with status ${status} and no error of Berth's`, {
      step: 'agent',
    });
  }
  return new BerthError(code as ErrorCode, message, {
    step: typeof step === 'string' ? step : 'agent',
    ...(typeof advice === 'string' ? { advice } : {}),
    ...(isRecord(details) ? { details } : {}),
    ...(isRecord(cause) ? { cause: Object.assign(new Error(message), cause) } : {}),
  });
}

/** Between two tries to be the next whom the agent accepts. */
const RETRY_MS = 20;

/** A caller that may not block is sent away where the backlog is full (connect(2), EAGAIN); the others wait for their turn. */
async function send(socket: string, exchange: Exchange): Promise<IncomingMessage> {
  const until = performance.now() + exchange.timeoutMs;
  for (;;) {
    try {
      return await sendOnce(socket, exchange);
    } catch (error) {
      const { code, syscall } = error as NodeJS.ErrnoException;
      if (code !== 'EAGAIN' || syscall !== 'connect') throw error;
      if (performance.now() >= until) throw silent(socket, exchange.timeoutMs);
      await sleep(RETRY_MS, undefined, exchange.signal && { signal: exchange.signal });
    }
  }
}

function sendOnce(
  socket: string,
  { method, path, body, headers, timeoutMs, signal }: Exchange,
): Promise<IncomingMessage> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const options: RequestOptions = {
    socketPath: socket,
    method,
    path,
    agent: false,
    timeout: timeoutMs,
    headers: {
      host: 'localhost',
      accept: 'application/json',
      ...headers,
      ...(text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    },
    ...(signal ? { signal } : {}),
  };
  return new Promise((resolve, reject) => {
    const sent = request(options, resolve);
    sent.on('error', reject);
    sent.on('timeout', () => sent.destroy(silent(socket, timeoutMs)));
    sent.end(text);
  });
}

function silent(socket: string, timeoutMs: number): BerthError {
  return new BerthError('BERTH_TIMEOUT', `The agent at ${socket} was silent for ${timeoutMs} ms`, {
    step: 'agent',
    advice: 'What it was asked for may go on; berth status --no-agent looks without it',
  });
}

async function reading<T>(socket: string, exchange: Exchange, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw explained(error, socket, exchange);
  }
}

function explained(error: unknown, socket: string, { signal, method, path }: Exchange): BerthError {
  if (error instanceof BerthError) return error;
  if (signal?.aborted) {
    const going = method === 'GET' ? '' : '; the agent goes on with what it was asked for';
    return new BerthError('BERTH_INTERRUPTED', `Stopped waiting for the agent${going}`, {
      step: 'agent',
      cause: error,
      advice: 'berth status says how it ended',
    });
  }
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined) return toBerthError(error, 'agent');
  return new BerthError('BERTH_AGENT', `The agent at ${socket} broke off ${method} ${path.split('?')[0]}: ${message}`, {
    step: 'agent',
    cause: error,
  });
}

function parse(text: string, status: number | undefined): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return (status ?? 500) >= 400 ? undefined : text;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
