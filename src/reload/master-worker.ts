/**
 * The switch in master-worker mode. The master reads its files again, forks a worker that binds by itself, and retires
 * the old one; what makes its bind safe are the guards that stay bound beside it. What the master answers is evidence,
 * the kernel's tables are the proof.
 */
import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { BerthError } from '../errors.js';
import type { ReloadContext } from './context.js';
import type { ProcessInfo, RunningHAProxy } from './env.js';
import { describeProof, finishes, isAlive, prove, stillListens } from './prove.js';
import type { SwitchInput, Switched } from './standalone.js';
import { socketsServedBy } from './survey.js';
import type { Transaction } from './transaction.js';

/** Where a master takes its configuration from: the published generation, or the user's own files. */
export type MasterReads = 'published' | 'own-files';

/**
 * @param published the files of `-f` by way of `current`, as a master that Berth started has them
 * @throws BERTH_HAPROXY_UNSUITABLE where the master reads something else than what is to be served: it would load that.
 */
export function whatMasterReads(
  master: ProcessInfo,
  published: readonly string[],
  sources: readonly string[],
  cwd: string,
): MasterReads {
  const files = configurationArguments(master.argv);
  if (files.length > 0 && published.join('\0') === files.join('\0')) return 'published';
  const own = files.map((file) => real(file, directoryOf(master)));
  const asked = sources.map((source) => real(source, cwd));
  if (own.length > 0 && own.join('\0') === asked.join('\0')) return 'own-files';
  throw new BerthError(
    'BERTH_HAPROXY_UNSUITABLE',
    `The master haproxy[${master.pid}] reads ${files.join(' ') || 'no file that its command line names'}, not ${sources.join(' ')}: a reload would load the former`,
    {
      step: 'plan',
      advice: `Give the files that the master was started with, or start it with -f ${published.join(' -f ')}`,
    },
  );
}

/**
 * Ask the master to reload and prove the new worker. Going back (publish the previous generation, reload again) is
 * registered by the one who published.
 */
export async function switchWorkers(
  context: ReloadContext,
  transaction: Transaction,
  running: RunningHAProxy,
  { expected, lenient }: Pick<SwitchInput, 'expected' | 'lenient'>,
): Promise<Switched> {
  const reload = () => reloadOnce(context, running);
  let worker = await transaction.phase('hand over', reload);
  await context.journal.append({ kind: 'started', pid: worker.pid, startTicks: worker.startTicks });
  const proving = { ...context, settleMs: context.settings.timeouts.settleMs };
  const repairs: string[] = [];
  for (let attempt = 1; ; attempt++) {
    const proven = worker;
    const proof = await transaction.phase('verify', () => prove(proving, proven, expected, lenient));
    repairs.push(...proof.repairs);
    if (proof.verification.ok && proof.alive) {
      await context.journal.append({ kind: 'verified' });
      return { process: worker, verification: proof.verification, repairs };
    }
    const what = describeProof(proof);
    // A master ends with its worker: then there is nobody left to ask once more.
    const gone = running.master !== undefined && !(await isAlive(context.kernel, running.master));
    if (attempt === 2 || gone || context.signal?.aborted) {
      throw new BerthError(
        'BERTH_VERIFY_FAILED',
        `The master reported a reload, but worker haproxy[${worker.pid}]: ${what}`,
        {
          step: 'verify',
        },
      );
    }
    const text = `worker haproxy[${worker.pid}]: ${what}; the master reloads once more`;
    repairs.push(text);
    context.observer({ type: 'repair', text });
    worker = await transaction.phase('hand over', reload);
  }
}

/** One reload of the master; the worker that serves afterwards, which is another one than before. */
export async function reloadOnce(context: ReloadContext, running: RunningHAProxy): Promise<ProcessInfo> {
  const { haproxy, settings, signal } = context;
  const before = (await haproxy.find())?.worker;
  const answer = await haproxy.reloadMaster(running, {
    timeoutMs: settings.timeouts.reloadMs,
    ...(signal ? { signal } : {}),
  });
  const said = answer.messages.filter(({ level }) => level === 'ALERT').map(({ text }) => text);
  const worker = answer.worker ?? (await haproxy.find())?.worker;
  const isNew = worker !== undefined && (worker.pid !== before?.pid || worker.startTicks !== before.startTicks);
  if (answer.success !== false && isNew && (await isAlive(context.kernel, worker))) return worker;
  throw new BerthError(
    'BERTH_RELOAD_FAILED',
    `The master haproxy[${running.master?.pid ?? 0}] could not start a new worker${said.length > 0 ? `: ${said.join('; ')}` : ''}`,
    { step: 'hand-over', details: { messages: answer.messages } },
  );
}

/** One reload of the master, away from a worker that is not to serve; that one listens no more, or there is a warning. */
export async function reloadAwayFrom(
  context: ReloadContext,
  running: RunningHAProxy,
  unwanted: ProcessInfo,
): Promise<ProcessInfo> {
  const worker = await reloadOnce(context, running);
  const warn = (text: string) => context.observer({ type: 'warning', text });
  const successor = `haproxy[${worker.pid}]`;
  // Nobody is told to go where nobody else has come.
  if ((await socketsServedBy(context.kernel, worker)).length === 0)
    warn(`The master has started ${successor}, which does not listen; haproxy[${unwanted.pid}] is left alone`);
  else if (!(await finishes(context, unwanted, 2000))) warn(`${stillListens(unwanted)} beside ${successor}`);
  return worker;
}

/** The files and directories of `-f` on a command line of HAProxy's, and those behind `--`. */
export function configurationArguments(argv: readonly string[]): string[] {
  const files: string[] = [];
  for (let at = 1; at < argv.length; at++) {
    if (argv[at] === '--') return [...files, ...argv.slice(at + 1)];
    if (argv[at] !== '-f') continue;
    while (at + 1 < argv.length && !argv[at + 1]?.startsWith('-')) files.push(argv[++at] ?? '');
  }
  return files;
}

function directoryOf(master: ProcessInfo): string {
  const at = master.argv.lastIndexOf('-C');
  const start = master.cwd ?? '/';
  return at > 0 ? resolve(start, master.argv[at + 1] ?? '.') : start;
}

function real(path: string, from: string): string {
  const absolute = resolve(from, path);
  try {
    return realpathSync(absolute);
  } catch {
    return absolute;
  }
}
