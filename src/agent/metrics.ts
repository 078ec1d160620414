/**
 * Metrics in Prometheus' format. What happens is counted as it happens; what is, is read from memory when somebody asks:
 * at rest this costs nothing. Labels are bounded: instances, outcomes, causes and phases, never listeners or files.
 */
import { Counter, Histogram, Registry } from 'prom-client';
import type { ReloadReport } from '../reload/reports.js';
import type { Agent, AgentEvent } from './contract.js';
import { describeState } from './metrics-state.js';

export interface Metrics {
  /** The whole page; ask with {@link contentType}. */
  text(): Promise<string>;
  readonly contentType: string;
  /** No event counts any more. */
  stop(): void;
  /** What docs/metrics.md lists. */
  readonly registry: Registry;
}

export interface OwnProcess {
  /** Open descriptors of this process; undefined where that cannot be told. */
  openFiles(): Promise<number | undefined>;
}

/** From 1 ms, a plan of nothing new, to a check of thousands of certificates. */
const SECONDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

export function startMetrics(agent: Agent, own?: OwnProcess): Metrics {
  const registry = new Registry();
  const record = countEvents(registry, [...agent.instances.keys()]);
  describeState(registry, agent, own);
  const stop = agent.subscribe(record);
  return { text: () => registry.metrics(), contentType: registry.contentType, stop, registry };
}

const OUTCOMES = ['served', 'served-in-part', 'instead', 'unchanged', 'failed'] as const;

/** Everything that grows with what happens. */
function countEvents(registry: Registry, instances: readonly string[]): (event: AgentEvent) => void {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Counter({ name, help, labelNames, registers });
  const histogram = <L extends string>(name: string, help: string, ...labelNames: L[]) =>
    new Histogram({ name, help, labelNames, buckets: SECONDS, registers });

  const reloads = counter(
    'berth_reloads_total',
    'Reloads by outcome: served, served-in-part, instead (an older generation was served), unchanged, failed',
    'instance',
    'outcome',
  );
  // A rate needs a first value: the first failure must be seen as a step from 0.
  for (const instance of instances) for (const outcome of OUTCOMES) reloads.inc({ instance, outcome }, 0);
  const errors = counter('berth_reload_errors_total', 'Failed reloads by error code', 'instance', 'code');
  const durations = histogram('berth_reload_seconds', 'Reloads that went through or failed, start to end', 'instance');
  const phases = histogram('berth_reload_phase_seconds', 'Phases of reloads', 'instance', 'phase');
  const conflicts = counter(
    'berth_conflicts_total',
    'Listeners whose port was held, by cause (verdict) and resolution (what the ladder did)',
    'instance',
    'cause',
    'resolution',
  );
  const deaths = counter('berth_haproxy_deaths_total', 'Ends of the serving HAProxy', 'instance', 'deliberate');
  const restarts = counter(
    'berth_haproxy_restarts_total',
    'Restarts of a HAProxy that died, by outcome: served, failed',
    'instance',
    'outcome',
  );
  const revivals = histogram('berth_haproxy_restart_seconds', 'From the death of HAProxy to its listeners', 'instance');
  const repaired = counter('berth_listeners_repaired_total', 'Listeners that had vanished and serve again', 'instance');
  const freed = counter('berth_quarantine_freed_total', 'Quarantined listeners that went live', 'instance');
  const warned = counter('berth_old_processes_warned_total', 'Warnings about old HAProxy processes', 'instance');
  const ended = counter('berth_old_processes_ended_total', 'Old HAProxy processes ended by policy', 'instance');
  const strays = counter('berth_strays_found_total', 'HAProxy processes that no generation knows', 'instance');
  const recoveries = counter('berth_recoveries_total', 'Unfinished transactions of an earlier run', 'instance');
  const settings = counter('berth_settings_read_total', 'Settings read anew, by outcome: taken, refused', 'outcome');
  const warnings = counter('berth_warnings_total', 'Warnings of the agent, those of reloads included', 'instance');

  return (event) => {
    const { instance } = event;
    switch (event.type) {
      case 'reload-progress': {
        const progress = event.event;
        if (progress.type === 'phase' && progress.ms !== undefined)
          phases.observe({ instance, phase: progress.name }, progress.ms / 1000);
        if (progress.type === 'warning') warnings.inc({ instance });
        break;
      }
      case 'reload-ended':
        reloads.inc({ instance, outcome: outcomeOf(event.report) });
        durations.observe({ instance }, event.ms / 1000);
        for (const { cause, resolution } of conflictsOf(event.report)) conflicts.inc({ instance, cause, resolution });
        break;
      case 'reload-unchanged':
        reloads.inc({ instance, outcome: 'unchanged' });
        break;
      case 'reload-failed':
        reloads.inc({ instance, outcome: 'failed' });
        errors.inc({ instance, code: codeOf(event.error) });
        durations.observe({ instance }, event.ms / 1000);
        break;
      case 'haproxy-died':
        deaths.inc({ instance, deliberate: String(event.deliberate) });
        break;
      case 'haproxy-restarted':
        restarts.inc({ instance, outcome: 'served' });
        revivals.observe({ instance }, event.report.ms / 1000);
        break;
      case 'restart-failed':
        restarts.inc({ instance, outcome: 'failed' });
        break;
      case 'listeners-repaired':
        repaired.inc({ instance }, event.names.length);
        break;
      case 'quarantine-freed':
        freed.inc({ instance }, event.names.length);
        break;
      case 'old-process-warned':
        warned.inc({ instance });
        break;
      case 'old-process-ended':
        ended.inc({ instance });
        break;
      case 'stray-found':
        strays.inc({ instance });
        break;
      case 'recovered':
        recoveries.inc({ instance });
        break;
      case 'settings-read':
        settings.inc({ outcome: 'taken' });
        break;
      case 'settings-refused':
        settings.inc({ outcome: 'refused' });
        break;
      case 'warning':
        warnings.inc({ instance });
        break;
      // Seen in the state, or in the event that ends what these begin.
      case 'source-changed':
      case 'reload-begun':
      case 'haproxy-stopped':
      case 'reservations-reasserted':
        break;
    }
  };
}

function outcomeOf(report: ReloadReport): (typeof OUTCOMES)[number] {
  return report.insteadOf === undefined ? report.outcome : 'instead';
}

/** What was merely free is no conflict. */
function conflictsOf(report: ReloadReport): { cause: string; resolution: string }[] {
  return [
    ...report.secured
      .filter(({ action }) => action !== 'guard')
      .map(({ cause, action }) => ({ cause, resolution: action })),
    ...report.quarantined.map(({ verdict }) => ({ cause: verdict.kind, resolution: 'quarantine' })),
  ];
}

/** Of the one table of errors.ts, so the label is bounded. */
function codeOf(error: Readonly<Record<string, unknown>>): string {
  return typeof error['code'] === 'string' ? error['code'] : 'BERTH_INTERNAL';
}
