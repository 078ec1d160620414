/** From bytes to a checked value, or to an error that names what is wrong. */
import { z } from 'zod';
import { BerthError } from '../../errors.js';
import { nearest } from '../../settings/nearest.js';

/** Deeper than any request of the API; a parser's work per level is not the caller's to choose. */
const MAX_DEPTH = 32;

/** @throws BERTH_API_TOO_LARGE as soon as there is more than `limit`, before it is read */
export async function readBody(request: Request, limit: number): Promise<string> {
  const tooLarge = () =>
    new BerthError('BERTH_API_TOO_LARGE', `The body is larger than ${limit} bytes`, { step: 'request' });
  if (Number(request.headers.get('content-length') ?? 0) > limit) throw tooLarge();
  const reader = request.body?.getReader() as ReadableStreamDefaultReader<Uint8Array> | undefined;
  if (reader === undefined) return '';
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.byteLength;
    if (size > limit) throw tooLarge();
    chunks.push(value);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch (error) {
    throw usage('The body is not UTF-8', error);
  }
}

/** An empty body is an empty object. @throws BERTH_USAGE */
export function parseJson(text: string, contentType: string | null): unknown {
  if (text.trim() === '') return {};
  // A browser asks before it sends this type to a foreign host, and gets no leave: no page can post to the TCP listener.
  if (!/^application\/json\s*(;|$)/i.test(contentType ?? '')) throw usage('The body must be application/json');
  if (depth(text) > MAX_DEPTH) throw usage(`The body is nested more than ${MAX_DEPTH} deep`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw usage(`The body is not JSON: ${(error as Error).message}`, error);
  }
}

function depth(text: string): number {
  let now = 0;
  let deepest = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (quoted) {
      if (character === '\\') i++;
      else if (character === '"') quoted = false;
    } else if (character === '"') quoted = true;
    else if (character === '[' || character === '{') deepest = Math.max(deepest, ++now);
    else if (character === ']' || character === '}') now--;
  }
  return deepest;
}

/** Names of a query with their values; what the schema takes as a list may be repeated. @throws BERTH_USAGE */
export function parseQuery(schema: z.ZodObject, query: URLSearchParams): unknown {
  const values = new Map<string, string | string[]>();
  for (const key of new Set(query.keys())) {
    const all = query.getAll(key);
    const shape = schema.shape as Readonly<Record<string, z.ZodType>>;
    const list = Object.hasOwn(shape, key) && shape[key]?.safeParse([]).success === true;
    if (!list && all.length > 1) throw usage(`The query has ${shown(key)} more than once`);
    values.set(key, list ? all : all.join());
  }
  return check(schema, Object.fromEntries(values), 'query');
}

/** @throws BERTH_USAGE with the first thing that is wrong; an unknown key with the nearest known one */
export function check<T extends z.ZodObject>(schema: T, value: unknown, where: 'query' | 'body'): z.output<T> {
  // JSON.parse makes `__proto__` a key like any other; an unknown one, but not for every library that copies it.
  const own =
    typeof value === 'object' && value !== null && Object.hasOwn(value, '__proto__') ? '__proto__' : undefined;
  const parsed = own === undefined ? schema.safeParse(value) : undefined;
  if (parsed?.success) return parsed.data;
  const issues = parsed?.error.issues ?? [];
  // A key that is missing is often one that is spelled wrongly.
  const strange = issues.find((one) => one.code === 'unrecognized_keys');
  const issue = strange ?? issues[0];
  const unknown = own ?? strange?.keys[0];
  if (unknown === undefined) {
    const at = issue?.path.join('.') ?? '';
    throw usage(`${at === '' ? `The ${where}` : `${where} ${shown(at)}`}: ${issue?.message ?? 'is wrong'}`);
  }
  const known = keysAt(schema, issue?.path ?? []);
  const near = nearest(unknown, known);
  const hint = near === undefined ? `known: ${known.join(', ') || 'none'}` : `did you mean ${near}?`;
  throw usage(`The ${where} has no ${shown([...(issue?.path ?? []), unknown].join('.'))}; ${hint}`);
}

/** The keys that are known at a place within a schema. */
function keysAt(schema: unknown, [key, ...rest]: readonly PropertyKey[]): string[] {
  if (schema instanceof z.ZodOptional) return keysAt(schema.unwrap(), key === undefined ? [] : [key, ...rest]);
  if (!(schema instanceof z.ZodObject)) return [];
  const shape = schema.shape as Readonly<Record<PropertyKey, unknown>>;
  return key === undefined ? Object.keys(shape) : keysAt(shape[key], rest);
}

function shown(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function usage(message: string, cause?: unknown): BerthError {
  return new BerthError('BERTH_USAGE', message, {
    step: 'request',
    advice: 'GET /v1/openapi.json describes every request',
    ...(cause === undefined ? {} : { cause }),
  });
}
