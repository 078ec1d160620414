/** Where a verb finds its Berth: in the agent that has this state directory in its care, else in this process. */
import { existsSync } from 'node:fs';
import type { Berth, BerthOptions } from '../berth.js';
import type { AgentClient } from '../client/client.js';
import { changedSettings, explainSettings, loadAgentSettings, loadSettings, policySchema } from '../settings.js';

export interface OpenHow {
  /** False: `--no-agent`. */
  readonly agent: boolean;
  /** One line for standard error. */
  readonly say: (line: string) => void;
}

/** A Berth that the agent works for; Ctrl-C ends the waiting there, not the work. */
export interface AgentBerth extends Berth {
  readonly agent: AgentClient['agent'];
}

export async function openBerthOrAgent(options: BerthOptions, how: OpenHow): Promise<Berth> {
  const here = async () => (await import('../berth.js')).openBerth(options);
  return (how.agent ? await reachAgent(options, how, here) : undefined) ?? here();
}

async function reachAgent(
  options: BerthOptions,
  { say }: OpenHow,
  here: () => Promise<Berth>,
): Promise<Berth | undefined> {
  const { settingsFile: file, environment = process.env, settings: flags = {}, instance, observer, signal } = options;
  const sources = { file, environment, flags, instance };
  const { socket } = loadAgentSettings(sources);
  // The usual case on a host without an agent: nothing of the client is loaded.
  if (!existsSync(socket)) return undefined;
  const settings = loadSettings(sources);
  const { connectAgent } = await import('../client/client.js');
  const { stateDir } = settings;
  const client = await connectAgent({ socket, stateDir, ...(observer && { observer }), ...(signal && { signal }) });
  if (client === undefined) return undefined;
  const differing = new Set(changedSettings(await client.settings(), settings));
  const { policy, foreign } = sorted(
    explainSettings(sources).filter(({ key, origin }) => origin === 'option' && differing.has(key)),
  );
  if (foreign.length > 0) {
    say(`berth: an agent has ${stateDir} in its care, with another ${foreign.join(', ')}; working in this process`);
    return undefined;
  }
  return policy === undefined ? client : withPolicy(client, policy, here);
}

/** The agent queues its work, and how it is reached is not its work's business. */
const BESIDE = /^(stateDir|lockWaitMs|agent\..*)$/;

/** Options that the agent takes for one reload, and those that only this process can follow. */
function sorted(given: readonly { readonly key: string; readonly value: unknown }[]) {
  const policy: Record<string, unknown> = {};
  const foreign: string[] = [];
  for (const { key, value } of given) {
    if (BESIDE.test(key)) continue;
    const path = key.split('.');
    const alone = path.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value);
    if (policySchema.safeParse(alone).success) put(policy, path, value);
    else foreign.push(key);
  }
  return { policy: Object.keys(policy).length > 0 ? policy : undefined, foreign };
}

function put(tree: Record<string, unknown>, [name = '', ...rest]: readonly string[], value: unknown): void {
  if (rest.length === 0) tree[name] = value;
  else put((tree[name] ??= {}) as Record<string, unknown>, rest, value);
}

/** The agent reloads under these settings; what only asks, or only reserves, is answered under them in this process. */
function withPolicy(
  client: AgentClient,
  policy: Readonly<Record<string, unknown>>,
  open: () => Promise<Berth>,
): AgentBerth {
  let opened: Promise<Berth> | undefined;
  const here = () => (opened ??= open());
  return {
    agent: client.agent,
    preflight: async (targets, options) => (await here()).preflight(targets, options),
    plan: async (sources, options) => (await here()).plan(sources, options),
    reserve: async (targets, options) => (await here()).reserve(targets, options),
    reload: (sources, { workingDirectory } = {}) =>
      client.reload(sources, { policy, ...(workingDirectory === undefined ? {} : { workingDirectory }) }),
    rollback: (generation) => client.rollback(generation, { policy }),
    stop: (options) => client.stop(options),
    release: (ports) => client.release(ports),
    reservations: () => client.reservations(),
    history: () => client.history(),
    diff: (from, to) => client.diff(from, to),
    status: () => client.status(),
    listeners: (page) => client.listeners(page),
    conflicts: () => client.conflicts(),
    processes: () => client.processes(),
    doctor: (sources, options) => client.doctor(sources, options),
    close: async () => (await opened)?.close(),
  };
}
