/** What is, as gauges: read from the agent's memory at the moment of the scrape. */
import { setImmediate } from 'node:timers/promises';
import { Counter, Gauge, type Registry } from 'prom-client';
import { count, parsePorts } from '../model/ports.js';
import type { Agent, Instance, InstanceState } from './contract.js';
import type { OwnProcess } from './metrics.js';

const PHASES = ['starting', 'idle', 'working', 'stopped', 'failed'] as const satisfies InstanceState['phase'][];

interface Sample {
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
}

/** Adds the gauges to the registry. */
export function describeState(registry: Registry, agent: Agent, own?: OwnProcess): void {
  /** Made anew at each scrape: an instance that is gone leaves nothing behind. */
  const gauge = (name: string, help: string, labelNames: string[], read: () => Iterable<Sample>) =>
    new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset();
        for (const { labels = {}, value } of read()) this.set(labels, value);
      },
    });
  const perInstance = (
    name: string,
    help: string,
    read: (state: InstanceState, instance: Instance) => number | undefined,
  ) => gauge(name, help, ['instance'], () => instancesOf(agent, (one) => value(read(one.state, one))));

  gauge('berth_build_info', 'Always 1; version of Berth and of Node.js', ['version', 'node'], () => [
    { labels: { version: agent.version, node: process.versions.node }, value: 1 },
  ]);
  gauge('berth_start_time_seconds', 'Start of the agent, Unix time', [], () => value(seconds(agent.startedAt)));
  gauge('berth_live', '1 where no instance is stale', [], () => value(Number(agent.health().live)));
  gauge('berth_ready', '1 where every instance serves all its listeners', [], () =>
    value(Number(agent.health().ready)),
  );
  gauge('berth_instance_phase', '1 for the phase that the instance is in', ['instance', 'phase'], () =>
    instancesOf(agent, ({ state }) =>
      PHASES.map((phase) => ({ labels: { phase }, value: Number(phase === state.phase) })),
    ),
  );
  perInstance('berth_problems', 'Reasons why this instance needs a person', ({ problems }) => problems.length);
  perInstance(
    'berth_last_good_generation',
    'Number of the generation that serves: the last that was proven in the kernel',
    ({ generation }) => generation,
  );
  perInstance('berth_last_reload_timestamp_seconds', 'End of the last reload, Unix time', ({ lastReload }) =>
    seconds(lastReload?.at),
  );
  perInstance('berth_last_reload_ok', '1 where what was last asked for is served', ({ lastReload }) =>
    lastReload === undefined ? undefined : Number(lastReload.outcome !== 'failed'),
  );
  perInstance(
    'berth_last_reconciliation_timestamp_seconds',
    'End of the last comparison with the kernel, Unix time',
    ({ reconciledAt }) => seconds(reconciledAt),
  );
  gauge('berth_listeners', 'Listeners by state: served, missing, quarantined', ['instance', 'state'], () =>
    instancesOf(agent, ({ state: { listeners } }) =>
      Object.entries(listeners).map(([state, count]) => ({ labels: { state }, value: count })),
    ),
  );
  describeReservations(registry, agent, gauge, perInstance);
  describeProcesses(gauge, perInstance, agent);
  perInstance('berth_keeper_enabled', '1 where the listeners survive HAProxy', ({ keeper }) => Number(keeper.enabled));
  perInstance('berth_keeper_sockets', 'Listening sockets that the keeper holds', ({ keeper }) => keeper.held);
  describeSelf(registry, gauge, own);
}

type DefineGauge = (name: string, help: string, labels: string[], read: () => Iterable<Sample>) => void;
type DefinePerInstance = (name: string, help: string, read: (state: InstanceState) => number | undefined) => void;

function describeReservations(registry: Registry, agent: Agent, gauge: DefineGauge, perInstance: DefinePerInstance) {
  gauge('berth_reserved_ports', 'Reserved ports by owner: ours, foreign', ['instance', 'owner'], () =>
    instancesOf(agent, ({ state: { reservations } }) =>
      (['ours', 'foreign'] as const).map((owner) => ({
        labels: { owner },
        value: count(parsePorts(reservations[owner])),
      })),
    ),
  );
  perInstance(
    'berth_ephemeral_range_reserved_ratio',
    'Reserved share of net.ipv4.ip_local_port_range, 0 to 1',
    ({ reservations }) => reservations.share,
  );
  const help = 'Times that reservations which somebody had overwritten were put back';
  total(registry, 'berth_reservations_reasserted_total', help, ['instance'], () =>
    instancesOf(agent, ({ state: { reservations } }) => value(reservations.reasserted)),
  );
}

function describeProcesses(gauge: DefineGauge, perInstance: DefinePerInstance, agent: Agent): void {
  gauge('berth_old_processes', 'HAProxy processes besides the serving one: draining, stray', ['instance', 'role'], () =>
    instancesOf(agent, ({ state: { oldProcesses } }) =>
      ['draining', 'stray'].map((role) => ({
        labels: { role },
        value: oldProcesses.filter((process) => process.role === role).length,
      })),
    ),
  );
  const sum = (numbers: (number | undefined)[]) => numbers.reduce<number>((total, one) => total + (one ?? 0), 0);
  perInstance('berth_old_process_connections', 'Connections that old HAProxy processes still have', (state) =>
    sum(state.oldProcesses.map(({ connections }) => connections)),
  );
  perInstance('berth_old_process_resident_bytes', 'Memory of old HAProxy processes', (state) =>
    sum(state.oldProcesses.map(({ residentBytes }) => residentBytes)),
  );
  perInstance('berth_old_process_oldest_seconds', 'How long the oldest one has drained; 0: there is none', (state) =>
    Math.max(0, ...state.oldProcesses.map(({ since, startedAt }) => Date.now() / 1000 - seconds(since ?? startedAt))),
  );
}

/** The agent itself: what costs nothing to know, instead of prom-client's default set with its timers. */
function describeSelf(registry: Registry, gauge: DefineGauge, own?: OwnProcess): void {
  gauge('berth_process_resident_bytes', 'Resident memory of the agent', [], () => value(process.memoryUsage.rss()));
  total(registry, 'berth_process_cpu_seconds_total', 'Processor time of the agent, user and system', [], () => {
    const { user, system } = process.cpuUsage();
    return value((user + system) / 1e6);
  });
  new Gauge({
    name: 'berth_process_open_files',
    help: 'Open descriptors of the agent',
    registers: [registry],
    async collect() {
      const open = await own?.openFiles().catch(() => undefined);
      if (open === undefined) this.remove();
      else this.set(open);
    },
  });
  new Gauge({
    name: 'berth_event_loop_lag_seconds',
    help: 'How late the event loop was to answer this scrape',
    registers: [registry],
    async collect() {
      const begin = performance.now();
      await setImmediate();
      this.set((performance.now() - begin) / 1000);
    },
  });
}

/** A counter that somebody else counts. */
function total(registry: Registry, name: string, help: string, labelNames: string[], read: () => Iterable<Sample>) {
  new Counter({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      this.reset();
      for (const { labels = {}, value } of read()) this.inc(labels, value);
    },
  });
}

function instancesOf(agent: Agent, read: (instance: Instance) => Iterable<Sample>): Sample[] {
  return [...agent.instances.values()].flatMap((one) =>
    [...read(one)].map(({ labels, value }) => ({ labels: { instance: one.name, ...labels }, value })),
  );
}

function value(number: number | undefined): Sample[] {
  return number === undefined || Number.isNaN(number) ? [] : [{ value: number }];
}

/** Unix time of an ISO time. */
function seconds(iso: string): number;
function seconds(iso: string | undefined): number | undefined;
function seconds(iso: string | undefined): number | undefined {
  return iso === undefined ? undefined : Date.parse(iso) / 1000;
}
