/** docs/openapi.json, made of the route table: what is checked is what is described. A test holds the file to it, and
 * writes it anew under `vitest -u` (`npm run schema`). */
import { z } from 'zod';
import { settingsSchema } from '../../settings/schema.js';
import type { Need } from './access.js';
import { eventsQuery } from './requests.js';
import type { Route } from './route.js';
import { ROUTES } from './routes.js';

type Json = Readonly<Record<string, unknown>>;

const NEEDS: Readonly<Record<Need, string>> = {
  read: 'May be asked by root and the group of the agent, and by everybody where the settings say `agent.readers: all`.',
  act: 'May be asked by root and the group of the agent.',
};

const INSTANCE = {
  name: 'instance',
  in: 'query',
  description: "Name of the instance; absent: the agent's only one, or `default`",
  schema: { type: 'string' },
};

/**
 * OpenAPI 3.1.
 * @param reports JSON schemas of the types in src/client/answers.ts, by name, with `#/definitions/NAME` references
 */
export function openapiDocument(reports: Json, version: string): Json {
  const settings = schemaOf(settingsSchema);
  const definitions: Json = {
    ...reports,
    SettingsReport: {
      type: 'object',
      properties: { instance: { type: 'string' }, settings },
      required: ['instance', 'settings'],
    },
  };
  const names = new Map(Object.keys(definitions).map((name) => [name, name.replace(/[^\w.-]+/g, '_')]));
  const paths: Record<string, Record<string, unknown>> = {};
  const put = (path: string, method: string, operation: Json) => ((paths[path] ??= {})[method] = operation);
  for (const route of ROUTES) put(route.path, route.method.toLowerCase(), operationOf(route));
  put('/v1/events', 'get', {
    operationId: 'events',
    summary: 'Everything that happens, as server-sent events: `event` is the type, `data` an AgentEvent.',
    description: NEEDS.read,
    parameters: [INSTANCE, ...parametersOf(eventsQuery)],
    responses: { 200: { description: 'Events, until the client leaves', content: stream('AgentEvent') }, ...failure() },
  });
  put('/v1/openapi.json', 'get', plain('openapi', 'This document.', 'application/json'));
  put('/metrics', 'get', plain('metrics', 'Metrics in the text format of Prometheus.', 'text/plain'));
  for (const [path, id, summary] of [
    ['/healthz', 'live', 'Does the agent work: every instance was reconciled in time.'],
    ['/readyz', 'ready', 'Does every instance that is not stopped on purpose serve all its listeners.'],
  ] as const) {
    put(path, 'get', {
      operationId: id,
      summary,
      responses: { 200: answer('Yes', 'HealthReport'), 503: answer('No', 'HealthReport'), ...failure() },
    });
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Berth agent',
      version,
      description:
        'HTTP over the unix socket of `berth agent`; read-only on a loopback port where `agent.tcp` names one.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: 'http://localhost', description: 'Over the unix socket /run/berth/berth.sock' }],
    paths,
    components: {
      schemas: Object.fromEntries(
        Object.entries(definitions).map(([name, schema]) => [names.get(name) ?? name, renamed(schema, names)]),
      ),
    },
  };
}

function operationOf({ method, path, needs, summary, query, body, of, answer: name, kind }: Route): Json {
  const key = {
    name: 'Idempotency-Key',
    in: 'header',
    description: 'The same key with the same body within ten minutes gets the first answer; with another body, 422',
    schema: { type: 'string', minLength: 1, maxLength: 200 },
  };
  const progress =
    'With `Accept: text/event-stream`: `event: progress` (ReloadEvent), then `event: result` or `event: error`';
  return {
    operationId: path.slice('/v1/'.length).replaceAll(/[/-](\w)/g, (_, letter: string) => letter.toUpperCase()),
    summary,
    description: NEEDS[needs],
    parameters: [...(of === 'instance' ? [INSTANCE] : []), ...parametersOf(query), ...(kind === 'run' ? [key] : [])],
    ...(method !== 'GET' && body
      ? { requestBody: { required: required(body), content: { 'application/json': { schema: schemaOf(body) } } } }
      : {}),
    responses: {
      200:
        kind === 'run'
          ? { description: progress, content: { ...json(name), ...stream('ReloadEvent') } }
          : answer('Done', name),
      ...failure(),
    },
  };
}

function parametersOf(query: z.ZodObject): Json[] {
  const { properties = {}, required: needed = [] } = schemaOf(query) as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, { description, ...schema }]) => ({
    name,
    in: 'query',
    ...(description === undefined ? {} : { description }),
    ...(needed.includes(name) ? { required: true } : {}),
    schema,
  }));
}

function schemaOf(schema: z.ZodObject): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input' }) as Record<string, unknown>;
  return rest;
}

/** An absent body is an empty one. */
function required(body: z.ZodObject): boolean {
  return !body.safeParse({}).success;
}

function plain(operationId: string, summary: string, type: string): Json {
  return { operationId, summary, responses: { 200: { description: 'It', content: { [type]: {} } }, ...failure() } };
}

function answer(description: string, name: string): Json {
  return { description, content: json(name) };
}

function failure(): Json {
  return { default: answer('A BerthError; its code decides the status, as docs/errors.md lists', 'ErrorAnswer') };
}

function json(name: string): Json {
  return { 'application/json': { schema: { $ref: `#/components/schemas/${name}` } } };
}

/** `data` of each event. */
function stream(name: string): Json {
  return { 'text/event-stream': { schema: { $ref: `#/components/schemas/${name}` } } };
}

/** The same schema with its references where an OpenAPI document has them. */
function renamed(schema: unknown, names: ReadonlyMap<string, string>): unknown {
  if (Array.isArray(schema)) return schema.map((item) => renamed(item, names));
  if (typeof schema !== 'object' || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]: [string, unknown]) => {
      if (key !== '$ref' || typeof value !== 'string') return [key, renamed(value, names)];
      const name = decodeURIComponent(value.replace('#/definitions/', ''));
      return [key, `#/components/schemas/${names.get(name) ?? name}`];
    }),
  );
}
