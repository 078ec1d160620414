/**
 * Requests of any kind to the control API, whoever asks: an answer in one of its shapes, never a 500, and the agent is asked
 * for nothing that the caller may not ask for. BERTH_TRUST_REQUESTS sets the number.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import type { Caller, Role } from '../../src/agent/server/access.js';
import { application } from '../../src/agent/server/app.js';
import { EventStreams } from '../../src/agent/server/event-stream.js';
import { Jobs } from '../../src/agent/server/jobs.js';
import { ROUTES } from '../../src/agent/server/routes.js';
import { Turns } from '../../src/agent/server/limits.js';
import { ERROR_TABLE } from '../../src/errors.js';
import { FakeAgent, OTHER, SOURCE } from '../support/api.js';
import { amount, recordFigure, SEED } from '../support/figures.js';
import { mutationsOf } from '../support/mutate.js';

const CASES = amount('requests', { short: 1500, full: 30_000 });
const ROLES: readonly Role[] = ['owner', 'member', 'reader', 'loopback', 'stranger'];

const BODIES = [
  ...[{}, { targets: ['tcp:10.0.0.1:80', SOURCE], workingDirectory: '/' }, { sources: [SOURCE], ifChanged: true }],
  ...[
    { generation: 7, policy: { conflicts: { share: true } } },
    { hard: true },
    { ports: '80,90-91' },
    { level: 'debug' },
  ],
].map((body) => JSON.stringify(body));
const TOKENS = [
  ...[
    '\0',
    '"',
    '\\',
    '{',
    '}',
    '[',
    ']',
    ':',
    ',',
    '%00',
    '%',
    '%2e%2e/',
    '../',
    '?',
    '&',
    '=',
    '#',
    '\n',
    '\xff',
    ';',
  ],
  ...['__proto__', '"__proto__":{"polluted":1},', 'constructor', 'instance=', 'instance=a&instance=b', 'null', '1e999'],
  ...['/v1/', '//', '\ud800', 'limit=-1', 'from=1', 'type=warning', '['.repeat(3000), 'a'.repeat(9000), '\u202e', '-1'],
];
const QUERIES = ['', '?instance=default', '?from=1&to=2', '?limit=10&after=x', '?type=warning&type=x', '?source=/a'];
const TYPES = ['application/json', 'application/json; charset=utf-8', 'text/plain', '', 'application/json\u00e9'];

const text = (samples: readonly string[]) =>
  fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...samples) },
    {
      weight: 2,
      arbitrary: mutationsOf(fc.constantFrom(...samples.map((one) => Buffer.from(one))), TOKENS).map((b) =>
        b.toString('latin1'),
      ),
    },
  );

const request = fc.record({
  role: fc.constantFrom(...ROLES),
  method: fc.constantFrom('GET', 'POST', 'PUT', 'POST', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH', 'PROPFIND'),
  path: text([...ROUTES.map(({ path }) => path), '/healthz', '/readyz', '/v1/openapi.json', '/v1/events', '/']),
  query: text(QUERIES),
  body: fc.option(text(BODIES)),
  type: fc.constantFrom(...TYPES),
  host: fc.constantFrom('localhost', '127.0.0.1:9', 'evil.example', ''),
  key: fc.option(text(['key-1', 'x'.repeat(200)])),
  accept: fc.constantFrom('application/json', 'text/event-stream', '*/*'),
});
type Ask = typeof request extends fc.Arbitrary<infer T> ? T : never;

/** undefined: Node would have refused it before there is a request. */
function requestOf(one: Ask): Request | undefined {
  try {
    const headers = new Headers({ 'content-type': one.type, host: one.host, accept: one.accept });
    if (one.key !== null) headers.set('idempotency-key', one.key);
    const body = one.body !== null && one.method !== 'GET' && one.method !== 'HEAD' ? one.body : undefined;
    return new Request(`http://localhost${one.path.startsWith('/') ? '' : '/'}${one.path}${one.query}`, {
      ...{ method: one.method, headers },
      ...(body === undefined ? {} : { body }),
    });
  } catch {
    return undefined;
  }
}

const NOTHING: unknown = {};

/** What only some may ask for. */
const ACTS = new Set(['reload', 'rollback', 'reserve', 'release', 'stop', 'reconcile', 'handOver', 'reloadSettings']);

describe('the control API', () => {
  const statuses = new Map<number, number>();
  let failures = 0;

  afterAll(() => {
    const cases = [...statuses.values()].reduce((sum, one) => sum + one, 0);
    recordFigure({
      part: 'fuzz',
      name: 'control API',
      promise: 'No request breaks the agent or moves it to what its sender may not do.',
      figure: `${cases} requests, ${statuses.get(500) ?? 0} answered with 500, ${failures} failures (seed ${SEED})`,
      kept: failures === 0 && cases > 0,
      haproxy: [],
      table: {
        title: 'Answers of the control API to damaged requests',
        columns: ['status', 'answers'],
        rows: [...statuses].sort(([a], [b]) => a - b).map((row) => row.map(String)),
      },
    });
  });

  it('answers everything', { timeout: 60_000 + CASES * 50 }, async () => {
    const agent = new FakeAgent();
    const streams = new EventStreams(60_000);
    let caller: Caller = { role: 'owner' };
    const app = application({
      agent,
      callerOf: () => caller,
      jobs: new Jobs(),
      turns: new Turns(),
      streams,
      maxBodyBytes: 65_536,
    });
    const property = fc.asyncProperty(request, async (one) => {
      const asked = requestOf(one);
      if (asked === undefined) return;
      caller = { role: one.role, ...(one.role === 'loopback' ? {} : { peer: OTHER }) };
      agent.asked.length = 0;
      const incoming: unknown = { socket: {}, headers: { host: one.host } };
      const bindings = { incoming: incoming as IncomingMessage, outgoing: NOTHING as ServerResponse };
      const response = await app.fetch(asked, bindings);
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
      const stream = response.headers.get('content-type') === 'text/event-stream';
      if (stream) streams.endAll();
      const answer = await response.text();
      expect(response.status === 503 || response.status < 500, answer).toBe(true);
      expect(answer.length).toBeLessThan(1 << 20);
      if (one.method === 'HEAD') {
        expect(answer).toBe('');
      } else if (response.status >= 400 && response.status !== 503) {
        const { code, message } = JSON.parse(answer) as { code: string; message: string };
        expect(Object.keys(ERROR_TABLE)).toContain(code);
        expect(message.length).toBeLessThan(2000);
      } else if (!stream) {
        JSON.parse(answer);
      }
      const acted = agent.asked.filter(([what]) => ACTS.has(what));
      if (one.role !== 'owner' && one.role !== 'member') expect(acted).toEqual([]);
      if (one.role === 'stranger') expect(agent.asked).toEqual([]);
      expect(Object.keys(Object.prototype)).toEqual([]);
    });
    try {
      await fc.assert(property, { numRuns: CASES, seed: SEED });
    } catch (error) {
      failures++;
      throw error;
    }
  });
});
