/** What the host looks like to Berth: the facts a reload depends on, each with what to do about it. Changes nothing. */
import { toBerthError } from '../errors.js';
import type { Listeners } from '../model/bind.js';
import type { Plan } from '../model/plan.js';
import type { Settings } from '../settings.js';
import { examineNetwork } from './doctor-network.js';
import { examineProcesses } from './doctor-processes.js';
import type { HAProxy, HAProxyBuild, Kernel, RunningHAProxy } from './env.js';
import type { DoctorReport, Finding } from './reports.js';
import { socketsServedBy } from './survey.js';

/** What the examination needs of this process and of others. */
export interface HostFacts {
  /** Effective capabilities of this process: `CAP_NET_ADMIN`, … */
  capabilities(): Promise<ReadonlySet<string>>;
  /** RLIMIT_NOFILE of a process; undefined where it may not be read. */
  descriptorLimit(pid: number): Promise<{ readonly soft: number; readonly hard: number } | undefined>;
}

export interface Examination {
  readonly kernel: Kernel;
  readonly settings: Settings;
  readonly host: HostFacts | undefined;
  readonly listeners: Listeners | undefined;
  /** Lines that `harden: source` would add; undefined where that was not looked into. */
  readonly unsourced: Plan['harden'] | undefined;
  readonly build: HAProxyBuild | undefined;
  readonly running: RunningHAProxy | undefined;
  /** Ports that are or are to be listened on. */
  readonly ports: readonly number[];
  /** Listening sockets that are or are to be open. */
  readonly sockets: number;
}

/**
 * @param listeners of the configuration that is to be served; without it those of the running HAProxy count
 * @throws nothing: what cannot be examined is a finding
 */
export async function examine(
  kernel: Kernel,
  haproxy: HAProxy,
  settings: Settings,
  listeners?: Listeners,
  more: { readonly host?: HostFacts; readonly unsourced?: Plan['harden'] } = {},
): Promise<DoctorReport> {
  const findings: Finding[] = [];
  const attempt = async <T>(id: string, title: string, work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      const { message, advice } = toBerthError(error, 'doctor');
      findings.push({ id, level: 'problem', title, facts: [message], advice });
      return undefined;
    }
  };
  const build = await attempt('haproxy-binary', 'The haproxy binary cannot be used', () => haproxy.build());
  const running = await attempt('haproxy-running', 'The running HAProxy cannot be told', () => haproxy.find());
  const served =
    running === undefined
      ? []
      : await attempt('sockets', 'The listening sockets cannot be read', () => socketsServedBy(kernel, running.worker));
  const endpoints = (listeners?.binds ?? served ?? []).flatMap(({ endpoint }) =>
    endpoint.kind === 'inet' && endpoint.namespace === undefined ? [endpoint] : [],
  );
  const examination: Examination = {
    kernel,
    settings,
    host: more.host,
    listeners,
    unsourced: more.unsourced,
    build,
    running,
    ports: [...new Set(endpoints.map(({ port }) => port))],
    sockets: listeners?.binds.reduce((sum, { sockets }) => sum + sockets, 0) ?? served?.length ?? 0,
  };
  const parts = [...examineProcesses(examination), ...examineNetwork(examination)];
  for (const [id, title, work] of parts) findings.push(...((await attempt(id, title, work)) ?? []));
  return { ok: !findings.some(({ level }) => level === 'problem'), findings };
}

/** One thing to look at: its id, what is wrong where it cannot be looked at, and the look. */
export type Part = readonly [id: string, title: string, work: () => Promise<readonly Finding[]>];
