import { formatEndpoint } from '../model/endpoint.js';
import type { SecureStep } from '../model/plan.js';
import type { PortSet } from '../model/ports.js';
import { formatPorts } from '../model/ports.js';
import type { Assessment } from './assess.js';
import type { Reading } from './context.js';
import type { HAProxyBuild } from './env.js';
import type { Generation, ListenerRecord } from './generations.js';
import type { QuarantinedListener, RecoveryReport, ReloadReport, SecuredListener } from './reports.js';
import type { SwitchedOver } from './switch.js';
import { describeVerification } from './verify.js';

/** All that a committed reload knows of itself. */
export interface Outcome extends SwitchedOver {
  readonly secured: readonly SecuredListener[];
  readonly leftOut: readonly SecureStep[];
  readonly build: HAProxyBuild;
  readonly reading: Reading;
  readonly assessment: Assessment;
  readonly generation: Generation;
  readonly recovery: RecoveryReport | undefined;
}

export interface Afterwards {
  readonly repairs: readonly string[];
  readonly warnings: readonly string[];
  readonly released: PortSet;
  readonly phases: ReloadReport['phases'];
}

export function reportOf(outcome: Outcome & Afterwards): ReloadReport {
  const { assessment, generation, switched, leftOut, build, recovery } = outcome;
  const { plan, running, mode } = assessment;
  const { verification } = switched;
  const elsewhere = new Set([...verification.replaced, ...verification.missing]);
  const handedOver = new Set(outcome.expected.flatMap(({ bind, inodes }) => (inodes.length > 0 ? [bind] : [])));
  const odd = verification.replaced.length + verification.extra.length > 0 ? [describeVerification(verification)] : [];
  return {
    outcome: leftOut.length > 0 ? 'served-in-part' : 'served',
    generation: generation.number,
    ...(generation.meta.parent === undefined ? {} : { previous: generation.meta.parent }),
    mode,
    haproxy: { pid: switched.process.pid, ...(running ? { oldPid: running.worker.pid } : {}), version: build.version },
    listeners: {
      served: verification.served,
      kept: plan.keep.length,
      sameSocket: plan.keep.filter(({ bind }) => handedOver.has(bind) && !elsewhere.has(bind)).length,
      opened: plan.open.length,
      closed: plan.close.length,
    },
    secured: outcome.secured,
    quarantined: leftOut.map(quarantined),
    reserved: { added: plan.reserve.add, removed: formatPorts(outcome.released) },
    repairs: [...switched.repairs, ...outcome.repairs],
    ...(recovery ? { recovery } : {}),
    phases: outcome.phases,
    warnings: [...plan.warnings, ...odd, ...outcome.warnings],
  };
}

export function quarantined({ bind, verdict, reason }: SecureStep): QuarantinedListener {
  return { name: formatEndpoint(bind.endpoint), section: bind.section, place: bind.place, verdict, sentence: reason };
}

/** For the history: every listener of the configuration, as text; what was left out says so. */
export function listenerRecords({ listeners }: Reading, leftOut: readonly SecureStep[]): ListenerRecord[] {
  const gone = new Set(leftOut.map(({ bind }) => formatEndpoint(bind.endpoint)));
  return listeners.binds.map(({ endpoint, section, place }) => {
    const name = formatEndpoint(endpoint);
    const { file, line } = place;
    return { endpoint: name, section, file, line, ...(gone.has(name) ? { quarantined: true as const } : {}) };
  });
}
