/** The published JSON schema of the settings file: docs/settings.schema.json. */
import { z } from 'zod';
import { INSTANCE_NAME, instanceShape } from './instances.js';
import { settingsSchema } from './schema.js';

/** JSON Schema (2020-12) of the settings file, `instances` included. */
export function settingsJsonSchema(): Record<string, unknown> {
  const { properties, ...file } = schemaOf(settingsSchema);
  const { $schema: _, ...instance } = schemaOf(z.strictObject(instanceShape));
  return {
    ...file,
    title: 'Settings of Berth',
    properties: {
      ...(properties as object),
      instances: {
        type: 'object',
        description: 'Several HAProxies on one host, by name; the top level holds the defaults of all',
        minProperties: 1,
        propertyNames: { pattern: INSTANCE_NAME.source },
        additionalProperties: { anyOf: [{ $ref: '#/$defs/instance' }, { type: 'null' }] },
      },
    },
    $defs: { instance: { ...instance, description: 'Every setting but those of the agent' } },
  };
}

/** Nothing is required in a settings file, not even the groups that {@link settingsSchema} wants to find. */
function schemaOf(schema: z.ZodObject): Record<string, unknown> {
  return z.toJSONSchema(schema, {
    io: 'input',
    override: ({ jsonSchema }) => {
      delete jsonSchema.required;
    },
  });
}
