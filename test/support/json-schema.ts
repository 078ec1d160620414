/** The published JSON schema, held strictly: the file lets fields be added, a test may not overlook one. */
import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';

export const publishedSchema = JSON.parse(
  readFileSync(new URL('../../docs/schema.json', import.meta.url), 'utf8'),
) as object;

const ajv = new Ajv({ strict: false, allErrors: true }).addSchema(closed(publishedSchema) as object, 'berth');

/** What is wrong with an answer of `berth --json`; empty where nothing is. */
export function schemaErrors(answer: object): readonly string[] {
  // By the definition that is meant: of a union a validator can only say that none fits.
  const kind = 'error' in answer ? 'ErrorEnvelope' : `ResultEnvelope<"${'verb' in answer ? String(answer.verb) : ''}">`;
  const validate = ajv.getSchema(`berth#/definitions/${encodeURIComponent(kind)}`);
  if (!validate) return [`the schema does not define ${kind}`];
  if (validate(answer) && ajv.validate('berth', answer)) return [];
  return (validate.errors ?? ajv.errors ?? []).map(
    (error) => `${error.instancePath} ${error.message ?? ''} ${JSON.stringify(error.params)}`,
  );
}

/** The same schema with no room for unknown properties. */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== 'object' || schema === null) return schema;
  const inner = Object.fromEntries(
    Object.entries(schema).map(([key, value]: [string, unknown]) => [key, closed(value)]),
  );
  return 'properties' in inner && !('additionalProperties' in inner)
    ? { ...inner, additionalProperties: false }
    : inner;
}
