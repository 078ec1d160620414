/** docs/openapi.json is what the routes and the types say; `npx vitest run test/unit/api-openapi.test.ts --update` writes it. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { format, resolveConfig } from 'prettier';
import { createGenerator } from 'ts-json-schema-generator';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openapiDocument } from '../../src/agent/server/openapi.js';
import { ROUTES } from '../../src/agent/server/routes.js';
import { openApi, type Api } from '../support/api.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const file = `${root}docs/openapi.json`;

interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly schema: object }[];
  readonly requestBody?: { readonly content: Record<string, { readonly schema: object }> };
  readonly responses: Record<string, { readonly content: Record<string, { readonly schema?: object }> }>;
}
interface Document {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { readonly schemas: Record<string, object> };
}

describe('docs/openapi.json', () => {
  it('is what the route table and the types say', async () => {
    const generator = createGenerator({
      path: `${root}src/client/answers.ts`,
      tsconfig: `${root}tsconfig.json`,
      type: 'Reports',
      skipTypeCheck: true,
      additionalProperties: true,
    });
    const { Reports: _, ...definitions } = generator.createSchema('Reports').definitions ?? {};
    const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { version: string };
    const text = JSON.stringify(openapiDocument(definitions, version));
    const formatted = await format(text, { ...(await resolveConfig(file)), parser: 'json' });
    await expect(formatted).toMatchFileSnapshot(file);
  });

  const read = () => JSON.parse(readFileSync(file, 'utf8')) as Document;
  const operations = () =>
    Object.entries(read().paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
    );

  it('has every route, and an operation id of its own for each', () => {
    const all = operations();
    for (const { method, path } of ROUTES) expect(read().paths[path]?.[method.toLowerCase()], path).toBeDefined();
    expect(new Set(all.map(({ operation }) => operation.operationId)).size).toBe(all.length);
    for (const { operation } of all) expect(operation.operationId).toMatch(/^[a-z][A-Za-z]*$/);
  });

  it('refers to nothing that is not there, by names that OpenAPI allows', () => {
    const { components } = read();
    const references = [...readFileSync(file, 'utf8').matchAll(/"\$ref": "([^"]+)"/g)].map((match) => match[1]);
    expect(references.length).toBeGreaterThan(50);
    for (const reference of references) {
      const name = (reference ?? '').replace('#/components/schemas/', '');
      expect(Object.hasOwn(components.schemas, name), reference).toBe(true);
    }
    for (const name of Object.keys(components.schemas)) expect(name).toMatch(/^[\w.-]+$/);
  });

  it('describes what each route answers, fails with and takes', async () => {
    const ajv = validator(read());
    const bodies: Record<string, object> = {
      '/v1/preflight': { targets: ['tcp:10.0.0.1:443'] },
      '/v1/reserve': { targets: ['58824'] },
      '/v1/log-level': { level: 'debug' },
    };
    for (const { path, method, operation } of operations()) {
      if (path === '/v1/events' || path === '/v1/openapi.json' || path === '/metrics') continue;
      const body = method === 'get' ? undefined : (bodies[path] ?? {});
      if (body) expect(ajv.errors(operation.requestBody?.content['application/json']?.schema, body), path).toEqual([]);
      const answer = await api.ask(method.toUpperCase(), path === '/v1/diff' ? `${path}?from=1&to=2` : path, body);
      const described = operation.responses[answer.status]?.content['application/json']?.schema;
      expect(ajv.errors(described, answer.body), `${method} ${path}`).toEqual([]);
      const failed = await api.ask(method.toUpperCase(), `${path}?nonsense=1`, body);
      if (path.startsWith('/v1/')) {
        expect(failed.status).toBe(400);
        expect(ajv.errors({ $ref: '#/components/schemas/ErrorAnswer' }, failed.body)).toEqual([]);
      }
    }
  });

  it('is served by the agent itself', async () => {
    expect((await api.ask('GET', '/v1/openapi.json')).body).toEqual(read());
  });

  let api: Api;
  beforeAll(async () => {
    api = await openApi();
  });
  afterAll(() => api.close());
});

/** Strict: no property that the document does not name. */
function validator(document: Document) {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  ajv.addSchema(closed({ $id: 'openapi', components: document.components }) as object);
  return {
    errors: (schema: object | undefined, value: unknown): unknown => {
      if (schema === undefined) return ['not described'];
      const absolute = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"openapi#/')) as object;
      const validate = ajv.compile(absolute);
      return validate(value) ? [] : validate.errors;
    },
  };
}

function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== 'object' || schema === null) return schema;
  const inner = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, closed(value)]));
  const open = 'properties' in inner && !('additionalProperties' in inner) && inner['type'] === 'object';
  return open ? { ...inner, additionalProperties: false } : inner;
}
