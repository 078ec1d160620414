/** One call of the drop-in: its words and settings put together with Berth and the agent. */
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { openBerth } from '../berth.js';
import { BerthError, toBerthError } from '../errors.js';
import { writePidFile } from '../reload/commit.js';
import { loadInstances, type Settings, type SettingsSources } from '../settings.js';
import { parseCommandLine, type HAProxyCall } from './command-line.js';
import { CANNOT_START, runDropIn, type DropInBerth, type DropInDeps } from './drop-in.js';

export interface DropInProcess {
  readonly cwd: string;
  readonly environment: NodeJS.ProcessEnv;
  /** One line for standard error. */
  readonly say: (line: string) => void;
  /** Ends what is running; what was not yet handed over is undone. */
  readonly signal: AbortSignal;
}

/** As long as the reload of some thousand listeners that another Berth is at may take; where `lockWaitMs` is not set. */
const LOCK_WAIT_MS = 30_000;

/**
 * @param words `--haproxy REAL [--old PID] [--lbagent-conf PATH] -- …`, as bin/berth-haproxy gives them; `--old`: the first
 *   process of `-sf` that is a living HAProxy
 * @returns the exit status
 */
export async function runCall(words: readonly string[], host: DropInProcess): Promise<number> {
  try {
    const { haproxy, old, lbagentConf, call } = readWords(words, host.cwd);
    if (!call) return CANNOT_START;
    const { environment } = host;
    const conf = lbagentConf === undefined ? {} : { lbagent: { conf: lbagentConf } };
    const { instance, settings } = instanceFor(call, { environment, flags: conf });
    const flags = { ...conf, ...flagsOf(call, settings, haproxy) };
    return await runDropIn(call, depsOf(host, { instance, settings, flags, old }));
  } catch (thrown) {
    const error = toBerthError(thrown, 'drop-in');
    host.say(error.message);
    host.say(`${error.advice} (${error.code}); the real haproxy does it`);
    return CANNOT_START;
  }
}

function readWords(words: readonly string[], cwd: string) {
  const { values, positionals } = parseArgs({
    args: [...words],
    options: { haproxy: { type: 'string' }, old: { type: 'string' }, 'lbagent-conf': { type: 'string' } },
    allowPositionals: true,
  });
  const { haproxy, old, 'lbagent-conf': lbagentConf } = values;
  if (haproxy === undefined) {
    throw new BerthError('BERTH_USAGE', 'This is called by bin/berth-haproxy only', { step: 'arguments' });
  }
  return {
    haproxy,
    lbagentConf,
    old: old === undefined ? undefined : Number(old),
    call: parseCommandLine(positionals, cwd),
  };
}

interface InstanceSettings {
  readonly instance: string;
  readonly settings: Settings;
}

/** Of several instances the one with the call's pid file; one alone needs to name none. */
function instanceFor({ pidFile }: HAProxyCall, sources: SettingsSources): InstanceSettings {
  const instances = [...loadInstances(sources)].map(([instance, settings]) => ({ instance, settings }));
  const named = instances.find(
    ({ settings: { haproxy } }) => haproxy.pidFile !== undefined && same(haproxy.pidFile, pidFile),
  );
  const found = named ?? (instances.length === 1 ? instances[0] : undefined);
  if (found) return found;
  const names = instances.map(({ instance }) => instance).join(', ');
  throw new BerthError('BERTH_SETTINGS', `None of the instances (${names}) has the pid file ${pidFile}`, {
    step: 'settings',
    advice: 'Set haproxy.pidFile, or lbagent.conf, in the section of that HAProxy',
  });
}

function same(one: string, other: string): boolean {
  return one === other || real(one) === real(other);
}

/** Of a file that need not be there. */
function real(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch {
    return path;
  }
}

/** What the call itself says goes before all settings. */
function flagsOf(call: HAProxyCall, { haproxy, lockWaitMs }: Settings, binary: string): Record<string, unknown> {
  return {
    haproxy: {
      binary: isDropIn(haproxy.binary) ? binary : haproxy.binary,
      pidFile: call.pidFile,
      workingDirectory: call.workingDirectory,
      extraArguments: [...haproxy.extraArguments, ...call.extraArguments],
    },
    lockWaitMs: lockWaitMs === 0 ? LOCK_WAIT_MS : lockWaitMs,
  };
}

/** `haproxy` in PATH may be this drop-in, and lbagent's own `haproxy_bin` is. */
function isDropIn(binary: string): boolean {
  if (binary === 'haproxy' || basename(binary) === 'berth-haproxy') return true;
  try {
    return basename(realpathSync(binary)) === 'berth-haproxy';
  } catch {
    return false;
  }
}

function depsOf(
  { signal, environment, say }: DropInProcess,
  {
    instance,
    settings,
    flags,
    old,
  }: InstanceSettings & { readonly flags: Record<string, unknown>; readonly old: number | undefined },
): DropInDeps {
  return {
    say,
    strict: settings.lbagent.strict,
    connectAgent: async (observer) => {
      const { socket } = settings.agent;
      if (!existsSync(socket)) return undefined;
      const { pidFile } = flags['haproxy'] as { pidFile: string };
      const { connectAgent } = await import('../client/client.js');
      return connectAgent({ socket, pidFile, observer, signal });
    },
    openBerth: (observer) => openBerth({ settings: flags, instance, environment, signal, observer, stale: 'none' }),
    adopt: (call, berth) => adopt(call, berth, old),
  };
}

/**
 * lbagent names the HAProxy that it wants replaced, and its pid file has been lost: that process is the one all the same.
 * Where the pid file names one that lives, that file is right: the agent has reloaded since lbagent read it.
 */
async function adopt({ pidFile }: HAProxyCall, berth: DropInBerth, old: number | undefined): Promise<void> {
  if (old === undefined || pidIn(pidFile) === old || (await berth.status()).running) return;
  writePidFile(pidFile, old);
}

function pidIn(path: string): number | undefined {
  try {
    return Number(readFileSync(path, 'utf8').trim());
  } catch {
    return undefined;
  }
}
