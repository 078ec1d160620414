/** What may be asked: the schemas that check every request and from which docs/openapi.json is made. */
import { z } from 'zod';
import { policySchema } from '../../settings/policy.js';
import { settingsSchema } from '../../settings/schema.js';

const text = z
  .string()
  .min(1)
  .max(4096)
  .regex(/^[^\0]*$/, 'must not hold a NUL');
const path = text.regex(/^\//, 'must be an absolute path');
const generation = z.int().min(1);
/** Numbers of a query, which are text there. */
const number = z
  .string()
  .regex(/^\d{1,15}$/, 'must be a whole number')
  .transform(Number);

const targets = z.array(text).max(65_536);
const workingDirectory = path.describe("HAProxy's -C: where relative paths start from").optional();

export const preflightBody = z.strictObject({
  targets: targets
    .min(1)
    .describe('Bare endpoints (`tcp:10.0.0.1:443`, `udp:[::1]:53`, `tcp:10.0.0.1:8000-8010`), or configuration paths'),
  workingDirectory,
});

export const planBody = z.strictObject({
  targets: targets.min(1).optional().describe("Configuration paths; absent: the instance's own sources"),
  workingDirectory,
});

const policy = policySchema.optional().describe('Settings for this reload alone: the ladder, the reservation');

export const reloadBody = z.strictObject({
  sources: targets.min(1).optional().describe("Absent: the instance's own sources; others are root's to name"),
  workingDirectory,
  ifChanged: z.boolean().optional().describe('Do nothing where these very files have gone live already'),
  policy,
});

export const rollbackBody = z.strictObject({
  generation: generation.optional().describe('Absent: the last good one before the serving one'),
  policy,
});

export const stopBody = z.strictObject({
  hard: z.boolean().optional().describe('End connections too, instead of waiting for them'),
});

export const reserveBody = z.strictObject({
  targets: targets.min(1).describe('Port lists (`58824,59000-59010`), bare endpoints, or configuration paths'),
  workingDirectory,
});

export const releaseBody = z.strictObject({
  ports: z
    .string()
    .max(65_536)
    .regex(/^\d+(-\d+)?(,\d+(-\d+)?)*$/, 'must be a list of ports, 58824,59000-59010')
    .optional()
    .describe('Absent: everything of ours'),
});

export const logLevelBody = z.strictObject({ level: settingsSchema.shape.agent.shape.logLevel.unwrap() });
export const emptyBody = z.strictObject({});

export const noQuery = z.strictObject({});
export const diffQuery = z.strictObject({ from: number, to: number });
export const listenersQuery = z.strictObject({
  after: text.optional().describe('Name of the last listener of the page before'),
  limit: number.pipe(z.int().min(1).max(65_536)).optional().describe('Default: the setting batchSize'),
});
export const doctorQuery = z.strictObject({
  source: targets.optional().describe('A configuration to examine as well; may be repeated'),
  workingDirectory,
});
export const eventsQuery = z.strictObject({
  type: targets.optional().describe('Only events of this type; may be repeated'),
});
