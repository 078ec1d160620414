/**
 * The one table of what the API has. Routing, access, checks and docs/openapi.json are made from it, so that none of them
 * can say something else than the others.
 */
import type { Answers } from '../../client/answers.js';
import { nameOf, ownerOnly, permittedTargets, type Caller } from './access.js';
import { endpointLimit } from './limits.js';
import * as ask from './requests.js';
import { change, get, type Call, type Route } from './route.js';

const reason = (caller: Caller) => `asked by ${nameOf(caller)}`;

function instances({ agent }: Pick<Call, 'agent'>): Promise<Answers['InstancesReport']> {
  const { version, startedAt } = agent;
  return Promise.resolve({
    version,
    pid: process.pid,
    startedAt,
    instances: [...agent.instances.values()].map(({ name, settings, state }) => ({
      name,
      stateDir: settings.stateDir,
      sources: settings.sources,
      ...optional('pidFile', settings.haproxy.pidFile),
      ...optional('workingDirectory', settings.haproxy.workingDirectory),
      state,
    })),
  });
}

function optional<K extends string, V>(key: K, value: V | undefined): { readonly [k in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [k in K]: V });
}

export const ROUTES: readonly Route[] = [
  change(
    '/v1/preflight',
    'Can each listener be bound, why not, who holds it, what to do. Changes nothing.',
    'PreflightReport',
    ask.preflightBody,
    ({ instance, caller, body }) => {
      endpointLimit(body.targets, caller);
      const { targets, options } = permittedTargets(caller, instance, body.targets, body);
      return instance.berth.preflight(targets, options);
    },
    { needs: 'read', readOnly: true },
  ),
  change(
    '/v1/plan',
    'What a reload would do. Changes nothing.',
    'PlanReport',
    ask.planBody,
    ({ instance, caller, body }) => {
      const { targets, options } = permittedTargets(caller, instance, body.targets, body);
      return instance.berth.plan(targets, options);
    },
    { needs: 'read' },
  ),
  change(
    '/v1/reload',
    'From a configuration to served listeners; where it cannot go live, the one before goes on serving.',
    'ReloadAnswer',
    ask.reloadBody,
    ({ instance, caller, body, observer }) => {
      const { sources, workingDirectory, ifChanged, policy } = body;
      const permitted = sources && permittedTargets(caller, instance, sources, { workingDirectory });
      return instance.reload({
        reason: reason(caller),
        observer,
        ...(permitted ? { sources: permitted.targets, ...permitted.options } : {}),
        ...optional('ifChanged', ifChanged),
        ...optional('policy', policy),
      });
    },
    { kind: 'run' },
  ),
  change(
    '/v1/rollback',
    'A reload of an older generation.',
    'ReloadReport',
    ask.rollbackBody,
    ({ instance, caller, body, observer }) =>
      instance.rollback(body.generation, { reason: reason(caller), observer, ...optional('policy', body.policy) }),
    { kind: 'run' },
  ),
  change(
    '/v1/stop',
    'Stop HAProxy on purpose: its listeners are refused at once, and it is not started again before the next reload.',
    'StopReport',
    ask.stopBody,
    ({ instance, body }) => instance.stop(optional('hard', body.hard)),
    { kind: 'run' },
  ),
  change(
    '/v1/reserve',
    'Reserve ports in the kernel (net.ipv4.ip_local_reserved_ports).',
    'ReserveReport',
    ask.reserveBody,
    ({ instance, caller, body }) => {
      endpointLimit(body.targets, caller);
      const { targets, options } = permittedTargets(caller, instance, body.targets, body);
      return instance.reserve(targets, options);
    },
  ),
  change('/v1/release', 'Release reservations of ours.', 'ReserveReport', ask.releaseBody, ({ instance, body }) =>
    instance.release(body.ports),
  ),
  change(
    '/v1/reconcile',
    'Compare everything with the kernel now, and heal what differs.',
    'InstanceState',
    ask.emptyBody,
    async ({ instance }) => {
      await instance.reconcile();
      return instance.state;
    },
  ),
  get(
    '/v1/status',
    'Is every listener of the serving generation in LISTEN, and owned by the running HAProxy.',
    'StatusReport',
    ask.noQuery,
    async ({ agent, instance }) => {
      const { name, state } = instance;
      const { version, startedAt } = agent;
      const { phase, problems, doing } = state;
      const report = await instance.berth.status();
      return {
        ...report,
        agent: { version, pid: process.pid, startedAt, instance: name, phase, ...optional('doing', doing), problems },
      };
    },
  ),
  get(
    '/v1/listeners',
    'The listeners of the serving generation, in pages.',
    'ListenersReport',
    ask.listenersQuery,
    ({ instance, query }) =>
      instance.berth.listeners({
        limit: query.limit ?? instance.settings.batchSize,
        ...optional('after', query.after),
      }),
  ),
  get(
    '/v1/conflicts',
    'Listeners that cannot be served as things are, with the holder of each port.',
    'ConflictsReport',
    ask.noQuery,
    ({ instance }) => instance.berth.conflicts(),
  ),
  get(
    '/v1/processes',
    'Every HAProxy process: serving, draining, stray.',
    'ProcessesReport',
    ask.noQuery,
    ({ instance }) => instance.berth.processes(),
  ),
  get(
    '/v1/reservations',
    'The ephemeral range and what is reserved of it: ours, foreign, lost.',
    'ReservationsReport',
    ask.noQuery,
    ({ instance }) => instance.berth.reservations(),
  ),
  get('/v1/history', 'The generations kept.', 'HistoryReport', ask.noQuery, ({ instance }) => instance.berth.history()),
  // Configurations may hold passwords.
  get(
    '/v1/diff',
    'What differs between two generations, files and listeners.',
    'DiffReport',
    ask.diffQuery,
    ({ instance, query }) => instance.berth.diff(query.from, query.to),
    {
      needs: 'act',
    },
  ),
  get('/v1/doctor', 'The health of this host.', 'DoctorReport', ask.doctorQuery, ({ instance, caller, query }) => {
    if (query.source === undefined) return instance.berth.doctor();
    const { targets, options } = permittedTargets(caller, instance, query.source, query);
    return instance.berth.doctor(targets, options);
  }),
  get('/v1/settings', 'The settings in effect.', 'SettingsReport', ask.noQuery, ({ instance: { name, settings } }) =>
    Promise.resolve({ instance: name, settings }),
  ),
  get(
    '/v1/instances',
    'The agent, and the instances in its care with the state of each.',
    'InstancesReport',
    ask.noQuery,
    instances,
    { of: 'agent' },
  ),
  get(
    '/v1/health',
    'Does the agent work, and does every instance serve its listeners.',
    'HealthReport',
    ask.noQuery,
    ({ agent }) => Promise.resolve(agent.health()),
    {
      of: 'agent',
    },
  ),
  change(
    '/v1/settings/reload',
    'Read the settings anew, as on SIGHUP; where they are refused, the old ones stay.',
    'InstancesReport',
    ask.emptyBody,
    async (call) => {
      await call.agent.reloadSettings();
      return instances(call);
    },
    { of: 'agent' },
  ),
  change(
    '/v1/hand-over',
    "For the agent that takes this one's place: where the listening sockets can be fetched. For root only.",
    'HandOverReport',
    ask.emptyBody,
    async ({ agent, caller }) => {
      ownerOnly(caller, 'The hand-over');
      return { pid: process.pid, instances: await agent.handOver() };
    },
    { of: 'agent' },
  ),
  change(
    '/v1/log-level',
    'Set the least level of the log.',
    'LogLevelReport',
    ask.logLevelBody,
    ({ agent, body }) => {
      agent.setLogLevel(body.level);
      return Promise.resolve({ level: agent.logLevel });
    },
    { of: 'agent', method: 'PUT' },
  ),
];
