/** The routes as a Hono application: who asks, may they, what exactly, and one answer in one shape. */
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Hono, type Context } from 'hono';
import { BerthError, toBerthError } from '../../errors.js';
import type { Agent, AgentEvent, Instance } from '../contract.js';
import { permit, type Caller } from './access.js';
import type { EventStreams } from './event-stream.js';
import { answerOf, errorAnswer, type Answer, type Job, type Jobs } from './jobs.js';
import type { Turns } from './limits.js';
import { check, parseJson, parseQuery, readBody } from './parse.js';
import { eventsQuery } from './requests.js';
import type { Call, Route } from './route.js';
import { ROUTES } from './routes.js';

export interface Parts {
  readonly agent: Agent;
  readonly callerOf: (socket: Socket) => Caller;
  readonly jobs: Jobs;
  readonly turns: Turns;
  readonly streams: EventStreams;
  readonly maxBodyBytes: number;
  /** Prometheus' text, with its content type. */
  readonly metrics?: () => Promise<{ readonly contentType: string; readonly text: string }>;
  /** Called with every answer. */
  readonly onAnswer?: (answered: Answered) => void;
}

/** One answer, for the log and the metrics. */
export interface Answered {
  readonly method: string;
  /** Of the route table, or `other`. */
  readonly route: string;
  readonly status: number;
  readonly ms: number;
  readonly caller: Caller;
}

interface Env {
  readonly Bindings: { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse };
}
type Ctx = Context<Env>;

export function application(parts: Parts): Hono<Env> {
  const app = new Hono<Env>();
  const allowed = new Map<string, string[]>();
  const on = (method: Route['method'], path: string, handle: (context: Ctx, caller: Caller) => Promise<Response>) => {
    allowed.set(path, [...(allowed.get(path) ?? []), method]);
    app.on(method, path, (context) => answered(parts, context, path, handle));
  };
  for (const route of ROUTES) on(route.method, route.path, (context, caller) => serve(parts, route, context, caller));
  on('GET', '/v1/events', (context) => Promise.resolve(events(parts, context)));
  on('GET', '/v1/openapi.json', () => Promise.resolve(json({ status: 200, body: openapiText() })));
  on('GET', '/healthz', () => Promise.resolve(health(parts.agent, 'live')));
  on('GET', '/readyz', () => Promise.resolve(health(parts.agent, 'ready')));
  if (parts.metrics) {
    const { metrics } = parts;
    on('GET', '/metrics', async () => {
      const { contentType, text } = await metrics();
      return new Response(text, { headers: { 'content-type': contentType } });
    });
  }
  for (const [path, methods] of allowed) {
    app.all(path, (context) =>
      answered(parts, context, path, () => {
        const message = `${context.req.method.slice(0, 20)} is not a method of ${path}`;
        const error = new BerthError('BERTH_API_METHOD', message, { step: 'request' });
        return Promise.resolve(json(errorAnswer(error), { allow: methods.join(', ') }));
      }),
    );
  }
  app.notFound((context) =>
    answered(parts, context, 'other', () => {
      const message = `There is no ${context.req.path.slice(0, 100)}`;
      return Promise.reject(new BerthError('BERTH_API_PATH', message, { step: 'request' }));
    }),
  );
  return app;
}

/** Every answer goes through here: a thrown error becomes one, and the log gets a line. */
async function answered(
  { callerOf, onAnswer }: Parts,
  context: Ctx,
  route: string,
  handle: (context: Ctx, caller: Caller) => Promise<Response>,
): Promise<Response> {
  const begun = performance.now();
  const { incoming } = context.env;
  const caller = callerOf(incoming.socket);
  let response: Response;
  try {
    permit(caller, 'read', 'The API');
    if (caller.role === 'loopback') refuseForeignHost(incoming.headers.host);
    response = await handle(context, caller);
  } catch (error) {
    response = json(errorAnswer(error));
  }
  const ms = performance.now() - begun;
  onAnswer?.({ method: context.req.method, route, status: response.status, ms, caller });
  return response;
}

async function serve(parts: Parts, route: Route, context: Ctx, caller: Caller): Promise<Response> {
  const { agent } = parts;
  permit(caller, route.needs, `${route.method} ${route.path}`);
  if (caller.role === 'loopback' && route.method !== 'GET' && !route.readOnly) {
    const message = `${route.method} ${route.path} is not offered over TCP`;
    throw new BerthError('BERTH_PERMISSION', message, { step: 'access', advice: "Ask over the agent's unix socket" });
  }
  const search = new URL(context.req.url).searchParams;
  const wanted = search.get('instance') ?? undefined;
  search.delete('instance');
  const query = parseQuery(route.query, search);
  const text = route.body ? await readBody(context.req.raw, parts.maxBodyBytes) : '';
  const type = context.req.header('content-type') ?? null;
  const body = route.body && check(route.body, parseJson(text, type), 'body');
  // Routes of the agent as a whole never look at it.
  const instance = route.of === 'instance' ? instanceOf(agent, wanted) : (undefined as unknown as Instance);
  const call = (observer: Call['observer']): Call => ({ agent, instance, caller, query, body, observer });
  if (route.kind !== 'run') {
    const { incoming } = context.env;
    const work = () => answerOf(() => route.run(call(() => undefined)));
    return json(await parts.turns.take(caller, () => incoming.socket.destroyed, work, { status: 503, body: '' }));
  }
  const key = idempotencyKey(context.req.header('idempotency-key'), caller);
  const demand = `${route.path}\n${instance.name}\n${text}`;
  const job = parts.jobs.run(key, demand, (observer) => route.run(call(observer)));
  if (context.req.header('accept')?.includes('text/event-stream') !== true) return json(await job.answer);
  return progress(parts.streams, job);
}

/** `event: progress` while it runs, then one `event: result` or `event: error`. */
function progress(streams: EventStreams, job: Job): Response {
  return streams.open((writer) => {
    const stop = job.watch((event) => writer.send('progress', JSON.stringify(event)));
    void job.answer.then(({ status, body }) => {
      writer.send(status < 400 ? 'result' : 'error', body);
      writer.end();
    });
    return stop;
  });
}

function events({ agent, streams }: Parts, context: Ctx): Response {
  const search = new URL(context.req.url).searchParams;
  const only = search.get('instance') ?? undefined;
  if (only !== undefined) instanceOf(agent, only);
  search.delete('instance');
  const { type } = parseQuery(eventsQuery, search) as { type?: string[] };
  const wanted = (event: AgentEvent) =>
    (only === undefined || event.instance === only || event.instance === '') &&
    (type === undefined || type.includes(event.type));
  return streams.open((writer) =>
    agent.subscribe((event) => {
      if (wanted(event)) writer.send(event.type, JSON.stringify(event));
    }),
  );
}

/** The named one; without a name the only one, or `default`. @throws BERTH_INSTANCE_UNKNOWN, BERTH_USAGE */
function instanceOf({ instances }: Agent, name: string | undefined): Instance {
  const names = [...instances.keys()].join(', ') || 'none';
  if (name !== undefined) {
    const found = instances.get(name);
    if (found) return found;
    const message = `There is no instance ${name.slice(0, 60)}; the agent has ${names}`;
    throw new BerthError('BERTH_INSTANCE_UNKNOWN', message, { step: 'request' });
  }
  const [only] = instances.values();
  const found = instances.size === 1 ? only : instances.get('default');
  if (found) return found;
  throw new BerthError('BERTH_USAGE', `Say which instance: ?instance=NAME, one of ${names}`, { step: 'request' });
}

/** Of this caller alone: another uid cannot fetch, or block, its answers. */
function idempotencyKey(key: string | undefined, { peer }: Caller): string | undefined {
  if (key === undefined) return undefined;
  if (!/^[\x21-\x7e]{1,200}$/.test(key)) {
    throw new BerthError('BERTH_USAGE', 'Idempotency-Key must be 1 to 200 printable characters', { step: 'request' });
  }
  return `${peer?.uid ?? ''} ${key}`;
}

/** DNS rebinding: a page of a foreign name that resolves to 127.0.0.1 must not read. @throws BERTH_PERMISSION */
function refuseForeignHost(host: string | undefined): void {
  if (/^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i.test(host ?? '')) return;
  throw new BerthError('BERTH_PERMISSION', 'The Host header does not name this host by its loopback address', {
    step: 'access',
    advice: 'Ask 127.0.0.1, [::1] or localhost',
  });
}

function health(agent: Agent, what: 'live' | 'ready'): Response {
  const report = agent.health();
  return json({ status: report[what] ? 200 : 503, body: JSON.stringify(report) });
}

function json({ status, body }: Answer, headers: Readonly<Record<string, string>> = {}): Response {
  const fixed = {
    'content-type': 'application/json',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  };
  // What is left of a body that was too large is not worth reading.
  const close = status === 413 ? { connection: 'close' } : {};
  return new Response(body, { status, headers: { ...fixed, ...close, ...headers } });
}

let openapi: string | undefined;
function openapiText(): string {
  // From wherever this file stands: scripts/bundle.mjs moves it.
  return (openapi ??= readFileSync(new URL('docs/openapi.json', import.meta.resolve('berthd/package.json')), 'utf8'));
}

/** What Node and its adapter refuse before there is a route. */
export function unreadable(error: unknown): Response {
  const reason = error instanceof Error && error.name === 'RequestError' ? error.message : undefined;
  const known =
    reason === undefined ? toBerthError(error, 'request') : new BerthError('BERTH_USAGE', reason, { step: 'request' });
  return json(errorAnswer(known));
}
