/** An agent in this process, for one HAProxy in a lab's network namespace. */
import { startAgent, type RunningAgent } from '../../src/agent/agent.js';
import type { AgentEvent, Instance } from '../../src/agent/contract.js';
import { openLog } from '../../src/agent/log.js';
import type { Lab } from './haproxy.js';

export interface TestAgent extends RunningAgent {
  /** The only instance. */
  readonly instance: Instance;
  readonly events: readonly AgentEvent[];
  /** Lines of the log. */
  readonly lines: readonly string[];
  readonly types: () => readonly AgentEvent['type'][];
}

/** @param settings over the state directory, namespace, pid file and sockets, which are the lab's */
export async function agentIn(
  lab: Lab,
  binary: string,
  settings: Readonly<Record<string, unknown>> = {},
  settingsFile?: string,
): Promise<TestAgent> {
  const events: AgentEvent[] = [];
  const lines: string[] = [];
  const { haproxy = {}, agent = {}, ...more } = settings as Record<string, Record<string, unknown> | undefined>;
  const running = await startAgent({
    ...(settingsFile === undefined ? {} : { settingsFile }),
    flags: {
      stateDir: lab.path('state'),
      netns: lab.netns,
      haproxy: { binary, pidFile: lab.path('haproxy.pid'), ...haproxy },
      agent: { socket: lab.path('agent.sock'), ...agent },
      ...more,
    },
    environment: { PATH: process.env['PATH'] },
    version: '0.0.0',
    log: openLog({
      level: 'debug',
      destination: {
        write: (line) => {
          lines.push(line);
          const { event, instance, ...rest } = JSON.parse(line) as { event?: AgentEvent['type']; instance?: string };
          if (event !== undefined) events.push({ type: event, instance, ...rest } as unknown as AgentEvent);
        },
      },
    }),
  });
  const [instance] = running.agent.instances.values();
  if (!instance) throw new Error('the agent has no instance');
  return { ...running, instance, events, lines, types: () => events.map(({ type }) => type) };
}
