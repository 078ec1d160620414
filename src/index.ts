/**
 * The public API of Berth, and nothing else.
 *
 * ```ts
 * import { preflight, openBerth } from 'berthd';
 * ```
 */
import { openBerth } from './berth.js';
import type { BerthOptions, ConfigurationOptions } from './berth.js';
import type { PreflightReport } from './reload/reports.js';

export { advise } from './advise/advise.js';
export type { AdviceReport, Chance, Measured } from './advise/advise.js';
export type { Exhaustion } from './advise/dry.js';
export type { GivenInputs, Inputs } from './advise/inputs.js';
export type { AdviceLine } from './advise/lines.js';
export { measureHost } from './measure.js';
export type { MeasuredHost } from './measure.js';
export { openBerth };
export { connectAgent } from './client/client.js';
export type { AgentClient, AgentOptions, AgentReloadOptions, RollbackOptions } from './client/client.js';
export type { InstanceReport, InstancesReport, ReloadAnswer, SettingsReport } from './client/answers.js';
export type { AgentEvent, HealthReport, InstanceState, Unchanged } from './agent/contract.js';
export type { Berth, BerthOptions, ConfigurationOptions } from './berth.js';
export { BerthError, ERROR_TABLE } from './errors.js';
export type { ErrorCode, ErrorKind, SystemCause } from './errors.js';
export type { Bind, SourcePlace, UnknownBind } from './model/bind.js';
export type { Endpoint, InetEndpoint, Transport, UnixEndpoint } from './model/endpoint.js';
export type { Action, BindConflict, KeptBind, Plan, PlannedBind, SecureStep, ServedSocket } from './model/plan.js';
export type { SocketOwner, SocketRow, SocketState } from './model/socket.js';
export type { Holder, Verdict } from './model/verdict.js';
export type * from './reload/reports.js';
export type { Settings } from './settings.js';

/**
 * One preflight on this host: for each listener of these configurations (or for these bare endpoints, `tcp:10.0.0.1:443`)
 * whether it can be bound, why not, who holds it and what to do. Changes nothing. Rejects with a {@link BerthError}.
 */
export async function preflight(
  targets: readonly string[],
  options: BerthOptions & ConfigurationOptions = {},
): Promise<PreflightReport> {
  const berth = await openBerth(options);
  try {
    return await berth.preflight(targets, options);
  } finally {
    await berth.close();
  }
}
