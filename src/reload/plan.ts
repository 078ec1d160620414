/** The plan of a reload: data, complete before anything is touched. Pure. */
import { BerthError } from '../errors.js';
import { bindConflicts, duplicateBinds } from '../model/conflicts.js';
import type { Bind, Listeners } from '../model/bind.js';
import { endpointKey, formatEndpoint, isWildcard } from '../model/endpoint.js';
import type { Action, BindConflict, Plan, SecureStep, ServedSocket } from '../model/plan.js';
import type { Verdict } from '../model/verdict.js';
import type { Settings } from '../settings.js';
import { verdictSentence } from './describe.js';
import type { HAProxyBuild } from './env.js';
import { rungsFor } from './ladder.js';
import { match } from './match.js';
import { isExposed, planReservation } from './reservation.js';
import type { Reservations } from './reserve.js';

export { isServable, rungsFor } from './ladder.js';
export { match, type Match } from './match.js';
export { isExposed, listenerPorts } from './reservation.js';

export interface PlanInput {
  readonly listeners: Listeners;
  readonly served: readonly ServedSocket[];
  /** endpointKey → verdict, for each bind of {@link match}'s `open` that is probed. */
  readonly verdicts: ReadonlyMap<string, Verdict>;
  readonly reservations: Reservations;
  readonly settings: Pick<Settings, 'conflicts' | 'reserve' | 'stateDir'>;
  readonly build: Pick<HAProxyBuild, 'major' | 'minor'>;
  readonly mode: 'standalone' | 'master-worker';
  /** Binds of the configuration that an earlier attempt left out: their ports stay reserved for the next reload. */
  readonly leftOut?: readonly Bind[];
  /** Lines that `harden: source` adds. */
  readonly harden?: Plan['harden'];
  readonly now?: Date;
}

/**
 * Keep what is served, secure what is new, close what is gone, and reserve.
 * @throws BERTH_RESERVE_LIMIT, BERTH_NO_DESCRIPTORS (then no verdict is worth anything), BERTH_INTERNAL for a missing verdict
 */
export function makePlan(input: PlanInput): Plan {
  const { listeners, verdicts, reservations, settings, build } = input;
  const { keep, open, close } = match(input);
  const reserve = planReservation([...listeners.binds, ...(input.leftOut ?? [])], reservations, settings.reserve);
  const steps = open.map((bind) => secureStep(bind, verdictOf(bind, verdicts), input));
  return {
    keep,
    open: steps.filter((step) => !isHopeless(step)),
    close: close.filter(({ endpoint }) => !isBerths(endpoint, settings.stateDir) && !isSender(endpoint, reservations)),
    quarantine: steps.filter(isHopeless),
    unknown: listeners.unknown,
    reserve,
    conflicts: bindConflicts(listeners.binds, build.major),
    harden: input.harden ?? [],
    warnings: [
      ...listeners.warnings.map(({ file, line, message }) => `${file}:${line}: ${message}`),
      ...duplicateBinds(listeners.binds).map(duplicateWarning),
    ],
  };
}

/** Binds of one configuration that HAProxy would refuse, as the error that names both. */
export function conflictError(conflicts: readonly BindConflict[]): BerthError {
  const [first] = conflicts;
  const more = conflicts.length > 1 ? ` (and ${conflicts.length - 1} more such pairs)` : '';
  const text = first === undefined ? 'Two binds exclude each other' : `${nameBoth(first)}: ${first.reason}${more}`;
  return new BerthError('BERTH_CONFIG_CONFLICT', text, { step: 'plan', details: { conflicts } });
}

function secureStep(bind: Bind, verdict: Verdict, input: PlanInput): SecureStep {
  const { settings, reservations, now } = input;
  const rungs = rungsOf(bind, verdict, settings.conflicts);
  const facts = { ...reservations, rungs, settings, ...(now === undefined ? {} : { now }) };
  return { bind, verdict, rungs, reason: verdictSentence(bind.endpoint, verdict, facts) };
}

function rungsOf(bind: Bind, verdict: Verdict, settings: Settings['conflicts']): readonly Action[] {
  // HAProxy makes a unix socket under a name of its own and renames it over the path: no guard is needed.
  if (bind.endpoint.kind === 'unix' && verdict.kind === 'free') return [];
  // With SO_REUSEADDR alone it can't be bound beside a listener, our own old process' included, whatever the test bind said.
  const isTcp = bind.endpoint.kind === 'inet' && bind.endpoint.transport === 'tcp';
  if (verdict.kind === 'ours' && !bind.reusePort && isTcp) return [settings.onUnsolved];
  return rungsFor(verdict, settings);
}

function verdictOf({ endpoint }: Bind, verdicts: ReadonlyMap<string, Verdict>): Verdict {
  const verdict = verdicts.get(endpointKey(endpoint));
  if (endpoint.kind === 'unix') return verdict ?? { kind: 'free' };
  if (verdict === undefined) {
    throw new BerthError('BERTH_INTERNAL', `${formatEndpoint(endpoint)} was not probed`, { step: 'plan' });
  }
  if (verdict.kind === 'unusable' && (verdict.errno === 'EMFILE' || verdict.errno === 'ENFILE')) {
    throw new BerthError('BERTH_NO_DESCRIPTORS', `${formatEndpoint(endpoint)} could not be tried: ${verdict.why}`, {
      step: 'probe',
      cause: Object.assign(new Error(verdict.errno), { code: verdict.errno, syscall: verdict.syscall }),
    });
  }
  return verdict;
}

function isHopeless({ rungs }: SecureStep): boolean {
  return rungs[0] === 'quarantine' || rungs[0] === 'abort';
}

/** Sockets that Berth had HAProxy open for itself (the private stats socket of a generation). */
function isBerths(endpoint: ServedSocket['endpoint'], stateDir: string): boolean {
  return endpoint.kind === 'unix' && endpoint.path.startsWith(`${stateDir}/`);
}

/** HAProxy's own socket for log lines: UDP has no LISTEN, but a wildcard with a port that the kernel gave out is no bind's. */
function isSender(endpoint: ServedSocket['endpoint'], { ephemeral, reserved }: Reservations): boolean {
  if (endpoint.kind === 'unix' || endpoint.transport === 'tcp' || !isWildcard(endpoint)) return false;
  return isExposed(endpoint.port, ephemeral, reserved);
}

function duplicateWarning(conflict: BindConflict): string {
  return `${nameBoth(conflict)}: ${conflict.reason}`;
}

function nameBoth({ first, second }: BindConflict): string {
  const at = ({ place }: Bind) => `${place.file}:${place.line}`;
  const name = formatEndpoint(first.endpoint);
  if (first === second) return `${name} (${at(first)})`;
  return `${name} (${at(first)}) and ${formatEndpoint(second.endpoint)} (${at(second)})`;
}
