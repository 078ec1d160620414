/** The control API: HTTP on a unix socket, and read-only on a loopback TCP port where the settings name one. */
import { createServer, type Server as HttpServer } from 'node:http';
import type { Socket } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { BerthError, systemCause } from '../../errors.js';
import type { Settings } from '../../settings.js';
import type { Agent } from '../contract.js';
import { groupId, roleOf, type Caller, type Peer } from './access.js';
import { application, unreadable, type Parts } from './app.js';
import { EventStreams } from './event-stream.js';
import { Jobs } from './jobs.js';
import { Connections, MAX_CONNECTIONS, Pipelines, Turns } from './limits.js';
import { listenOn } from './socket.js';

export type { Peer } from './access.js';
export type { Answered } from './app.js';

export interface ServerOptions extends Pick<Parts, 'metrics' | 'onAnswer'> {
  readonly settings: Settings['agent'];
  /** Credentials behind an accepted unix socket, by its descriptor; asked once, when it is accepted. */
  readonly peerOf: (descriptor: number) => Peer;
  readonly warn: (text: string) => void;
  /** Between two signs of life on a stream. Default: 5 s. */
  readonly heartbeatMs?: number;
}

export interface Server {
  /** Port of the TCP listener, where there is one. */
  readonly tcpPort?: number;
  /** Ends every stream, lets the requests of this moment finish, and removes the socket. */
  close(): Promise<void>;
}

/** A head is a few lines. */
const HEADERS_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 5000;
/** What a request that runs when the agent ends may still take. */
const GRACE_MS = 1000;
const CALLER = Symbol('caller');
/** No request comes without a caller. */
const NOBODY: Caller = { role: 'stranger' };

type Known = Socket & { [CALLER]?: Caller };

/** @throws BERTH_LOCKED, BERTH_STATE_DIR (see {@link listenOn}), BERTH_SETTINGS where the TCP port cannot be had */
export async function startServer(agent: Agent, options: ServerOptions): Promise<Server> {
  const { settings, peerOf, warn } = options;
  const group = groupId(settings.group);
  if (group === undefined)
    warn(`There is no group ${settings.group} (setting agent.group): only root may use ${settings.socket}`);
  const streams = new EventStreams(options.heartbeatMs);
  const app = application({
    agent,
    callerOf: (socket) => (socket as Known)[CALLER] ?? NOBODY,
    jobs: new Jobs(),
    turns: new Turns(),
    streams,
    maxBodyBytes: settings.maxBodyBytes,
    ...(options.metrics ? { metrics: options.metrics } : {}),
    ...(options.onAnswer ? { onAnswer: options.onAnswer } : {}),
  });
  const handle = getRequestListener(app.fetch, {
    hostname: 'localhost',
    overrideGlobalObjects: false,
    errorHandler: unreadable,
  });
  const connections = new Connections();
  const pipelines = new Pipelines();
  const open = (callerOf: (socket: Socket) => Caller): HttpServer => {
    const server = httpServer(settings.requestTimeoutMs, (request, response) => {
      if (pipelines.take(request, response)) void handle(request, response);
    });
    server.prependListener('connection', (socket: Known) => {
      const caller = callerOf(socket);
      socket[CALLER] = caller;
      if (!connections.take(socket, caller)) socket.destroy();
    });
    return server;
  };

  const own = process.geteuid?.() ?? 0;
  const unix = open((socket) => {
    try {
      const peer = peerOf(descriptorOf(socket));
      return { role: roleOf(peer, group, settings.readers, own), peer };
    } catch {
      // It has gone again, or cannot be told: nobody we know.
      return { role: 'stranger' };
    }
  });
  const remove = await listenOn(unix, { path: settings.socket, group, readers: settings.readers, warn });
  let tcp: HttpServer | undefined;
  try {
    if (settings.tcp !== undefined) {
      tcp = open(() => ({ role: 'loopback' }));
      await listenTcp(tcp, settings.tcp);
    }
  } catch (error) {
    remove();
    await closed(unix);
    throw error;
  }
  const address = tcp?.address();
  return {
    ...(typeof address === 'object' && address !== null ? { tcpPort: address.port } : {}),
    close: async () => {
      remove();
      const ending = Promise.all([closed(unix), ...(tcp ? [closed(tcp)] : [])]);
      streams.endAll();
      await ending;
    },
  };
}

/** Clocks against clients that say nothing, or a letter a second. */
function httpServer(requestTimeoutMs: number, listener: Parameters<typeof createServer>[1]): HttpServer {
  const headersTimeout = Math.min(HEADERS_TIMEOUT_MS, requestTimeoutMs);
  const server = createServer(
    {
      headersTimeout,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: Math.max(50, Math.min(1000, headersTimeout / 4)),
    },
    listener,
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (socket.destroyed || !socket.writable) return;
    const status = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 }[error.code ?? ''] ?? 400;
    const text = { 400: 'Bad Request', 408: 'Request Timeout', 431: 'Request Header Fields Too Large' }[status] ?? '';
    const body = new BerthError('BERTH_USAGE', `Not an HTTP request that can be answered: ${text}`, {
      step: 'request',
    });
    const json = JSON.stringify(body);
    socket.end(
      `HTTP/1.1 ${status} ${text}\r\ncontent-type: application/json\r\n` +
        `content-length: ${Buffer.byteLength(json)}\r\nconnection: close\r\n\r\n${json}`,
    );
  });
  return server;
}

/** Node gives no other way to the descriptor of an accepted connection. */
function descriptorOf(socket: Socket): number {
  return (socket as Socket & { _handle: { fd: number } })._handle.fd;
}

function listenTcp(server: HttpServer, address: string): Promise<void> {
  const [, host, port] = /^\[?(.*?)\]?:(\d+)$/.exec(address) ?? [];
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new BerthError(
          'BERTH_SETTINGS',
          `Cannot listen on ${address} (setting agent.tcp): ${systemCause(error)?.code ?? error.message}`,
          {
            step: 'listen',
            cause: error,
          },
        ),
      ),
    );
    server.listen({ host, port: Number(port) }, resolve);
  });
}

async function closed(server: HttpServer): Promise<void> {
  const timer = setTimeout(() => server.closeAllConnections(), GRACE_MS);
  await new Promise((resolve) => {
    server.close(resolve);
    server.closeIdleConnections();
  });
  clearTimeout(timer);
}
