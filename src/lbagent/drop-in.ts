/**
 * What stands in for haproxy under lbagent decides by what lbagent does with its exit status: anything but 0 makes it kill
 * the HAProxy that serves, and start another from nothing. So a configuration that cannot go live is no reason to fail
 * as long as one serves; and where Berth itself is the trouble, the real haproxy gets the call.
 */
import { BerthError, ERROR_TABLE, toBerthError, type ErrorCode } from '../errors.js';
import type { Berth } from '../berth.js';
import type { ReloadEvent, ReloadReport } from '../reload/reports.js';
import type { HAProxyCall } from './command-line.js';

/** The real haproxy is to do it: Berth could not start, or nothing serves and nothing of Berth's can change that. */
export const CANNOT_START = 125;

/** What the drop-in needs of a Berth, in this process or in the agent's. */
export interface DropInBerth extends Pick<Berth, 'status' | 'close'> {
  reload(sources: readonly string[], options: DropInReload): Promise<ReloadReport | AlreadyLive>;
}

export interface DropInReload {
  readonly workingDirectory: string;
  readonly reason: string;
  readonly orLastGood: boolean;
  readonly ifChanged: boolean;
}

/** The agent has brought these very files into service before lbagent asked. */
export interface AlreadyLive {
  readonly outcome: 'unchanged';
  readonly haproxy?: { readonly pid: number };
}

export interface DropInDeps {
  /** The agent's Berth for this HAProxy; undefined where none runs. */
  connectAgent(observer: (event: ReloadEvent) => void): Promise<DropInBerth | undefined>;
  /** One in this process. */
  openBerth(observer: (event: ReloadEvent) => void): Promise<DropInBerth>;
  /** A HAProxy of `-sf` that lives and that the pid file does not name is made the one that it names. */
  adopt(call: HAProxyCall, berth: DropInBerth): Promise<void>;
  /** One line for standard error. */
  readonly say: (line: string) => void;
  /** Setting `lbagent.strict`. */
  readonly strict: boolean;
}

/** What a reload has told on its way. */
interface Seen {
  /** It has got to where something changes outside of the state directory. */
  touched: boolean;
  readonly warnings: string[];
}

/** Berth's own trouble, which the real haproxy may not have. */
const OWN: readonly ErrorCode[] = [
  'BERTH_SETTINGS',
  'BERTH_PERMISSION',
  'BERTH_HAPROXY_MISSING',
  'BERTH_HAPROXY_UNSUITABLE',
  'BERTH_HAPROXY_NOT_FOUND',
  'BERTH_HAPROXY_SOCKET',
  'BERTH_STATE_DIR',
  'BERTH_STATE_WRITE',
  'BERTH_JOURNAL',
  'BERTH_KERNEL',
  'BERTH_NO_DESCRIPTORS',
  'BERTH_ADDON',
  'BERTH_INTERNAL',
];

/** Phases that change nothing outside of the state directory. */
const HARMLESS = ['read', 'plan', 'stage', 'check'];

/** @returns the exit status: 0, {@link CANNOT_START}, or a failure's own (setting `lbagent.strict`, or nothing serves). Never throws. */
export async function runDropIn(call: HAProxyCall, deps: DropInDeps): Promise<number> {
  const seen: Seen = { touched: false, warnings: [] };
  const observer = (event: ReloadEvent) => {
    if (event.type === 'phase') seen.touched ||= !HARMLESS.includes(event.name);
    else if (event.type === 'warning' || event.type === 'repair') seen.warnings.push(event.text);
  };
  let berth: DropInBerth | undefined;
  try {
    const agent = await deps.connectAgent(observer).catch((error: unknown) => {
      deps.say(`the agent cannot be asked: ${toBerthError(error, 'agent').message}`);
      return undefined;
    });
    if (agent) {
      try {
        return tell(await askAgent(agent, call), deps);
      } catch (error) {
        if (!isGone(error)) return await failed(error, agent, seen, deps);
        deps.say(`${error.message}; doing it without the agent`);
      } finally {
        await agent.close();
      }
    }
    berth = await deps.openBerth(observer);
    await deps.adopt(call, berth);
    return tell(await berth.reload(call.sources, { ...demand(call), orLastGood: true, ifChanged: false }), deps);
  } catch (error) {
    return await failed(error, berth, seen, deps);
  } finally {
    await berth?.close().catch(() => undefined);
  }
}

function demand(call: HAProxyCall) {
  const reason = call.finish.length > 0 ? 'lbagent: reload' : 'lbagent: start';
  return { workingDirectory: call.workingDirectory, reason };
}

async function askAgent(agent: DropInBerth, call: HAProxyCall): Promise<ReloadReport | AlreadyLive> {
  const ask = (ifChanged: boolean) => agent.reload(call.sources, { ...demand(call), orLastGood: true, ifChanged });
  const answer = await ask(true);
  // These files were live, but the HAProxy that had them is gone.
  return answer.outcome === 'unchanged' && answer.haproxy === undefined ? ask(false) : answer;
}

/** The agent went away in the middle: what it was at is finished or undone by whoever comes next. */
function isGone(error: unknown): error is BerthError {
  return (
    error instanceof BerthError &&
    (error.code === 'BERTH_AGENT' || (error.code === 'BERTH_TIMEOUT' && error.step === 'agent'))
  );
}

function tell(report: ReloadReport | AlreadyLive, { say, strict }: DropInDeps): number {
  if (report.outcome === 'unchanged') return 0;
  for (const warning of report.warnings) say(`warning: ${warning}`);
  for (const { name, section, place, sentence } of report.quarantined) {
    const why = sentence.startsWith(`${name} `) ? sentence.slice(name.length + 1) : sentence;
    say(`${name} (${section}, ${place.file}:${place.line}) is left out, the others serve: ${why}`);
  }
  if (!report.insteadOf) return 0;
  const { code, message, advice } = report.insteadOf.error;
  say(message);
  say(`${advice} (${code})`);
  say(`generation ${report.generation} serves instead, a copy of the last good one; see berth status`);
  return strict ? exitStatus(code as ErrorCode) : 0;
}

/**
 * Berth's own trouble before it touched anything: the real haproxy does it. Else, where one serves, it goes on serving.
 * Where none does, the real haproxy is the last hope, and its words are the ones to read.
 */
async function failed(
  thrown: unknown,
  berth: DropInBerth | undefined,
  { touched, warnings }: Seen,
  { say, strict }: DropInDeps,
): Promise<number> {
  const error = toBerthError(thrown, 'drop-in');
  say(error.message);
  say(`${error.advice} (${error.code}, step ${error.step})`);
  for (const warning of warnings) say(`warning: ${warning}`);
  if (error.code === 'BERTH_INTERNAL' && error.cause instanceof Error) say(error.cause.stack ?? '');
  if (!berth || (OWN.includes(error.code) && !touched)) {
    say('the real haproxy does it');
    return CANNOT_START;
  }
  const serving = await whoServes(berth);
  if (serving !== undefined) {
    say(`haproxy[${serving}] goes on serving the configuration before; see berth status`);
    return strict ? exitStatus(error.code) : 0;
  }
  if (error.code === 'BERTH_INTERRUPTED') return exitStatus(error.code);
  say('no HAProxy serves; the real haproxy tries it');
  return CANNOT_START;
}

async function whoServes(berth: DropInBerth): Promise<number | undefined> {
  try {
    const { running } = await berth.status();
    return running?.listening ? (running.masterPid ?? running.pid) : undefined;
  } catch {
    return undefined;
  }
}

/** From 125 on they mean something else to a shell. */
function exitStatus(code: ErrorCode): number {
  const { exit } = ERROR_TABLE[code];
  return exit < CANNOT_START ? exit : 1;
}
