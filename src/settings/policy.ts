/** The settings that one reload may have differently, over the API: how ports are won, and for how long. */
import { z } from 'zod';
import { settingsSchema, type Settings } from './schema.js';

type Optional<T> = {
  readonly [K in keyof T]?: T[K] extends readonly unknown[] ? T[K] : T[K] extends object ? Optional<T[K]> : T[K];
};

/** Nested as in the settings file; what is absent stays as the instance has it. */
export type Policy = Optional<
  Pick<Settings, 'conflicts' | 'harden' | 'dataPreserveN' | 'timeouts'> & {
    reserve: Pick<Settings['reserve'], 'enabled' | 'maxShare'>;
  }
>;

const { conflicts, harden, reserve, dataPreserveN, timeouts } = settingsSchema.shape;

/** Unknown keys are refused; nothing has a default. */
export const policySchema = withoutDefaults(
  z.strictObject({
    conflicts,
    harden,
    reserve: reserve.pick({ enabled: true, maxShare: true }),
    dataPreserveN,
    timeouts,
  }),
) as unknown as z.ZodType<Policy, Policy>;

/** The settings for one reload. The policy is as {@link policySchema} returned it. */
export function withPolicy(settings: Settings, policy: Policy): Settings {
  return merged(settings, policy) as Settings;
}

function withoutDefaults(schema: z.ZodObject): z.ZodObject {
  const shape = Object.entries(schema.shape).map(([key, field]) => {
    const inner: unknown =
      field instanceof z.ZodObject ? withoutDefaults(field) : field instanceof z.ZodDefault ? field.unwrap() : field;
    const optional = (inner as z.ZodType).optional();
    const { description } = field as z.ZodType;
    return [key, description === undefined ? optional : optional.describe(description)] as const;
  });
  return z.strictObject(Object.fromEntries(shape));
}

function merged(below: unknown, above: unknown): unknown {
  if (above === undefined) return below;
  if (typeof above !== 'object' || above === null || Array.isArray(above)) return above;
  const result = { ...(below as Record<string, unknown>) };
  for (const [key, value] of Object.entries(above)) result[key] = merged(result[key], value);
  return result;
}
