/** From a command line to an exit status: parse, open Berth, run the verb, answer once. */
import { resolve } from 'node:path';
import { CommanderError } from 'commander';
import type { Berth, BerthOptions } from '../berth.js';
import { BerthError, ERROR_TABLE, toBerthError } from '../errors.js';
import { errorEnvelope, type ErrorEnvelope } from './envelope.js';
import { settingsOf, type Flags } from './flags.js';
import type { Host } from './host.js';
import { watchInterrupts } from './interrupt.js';
import { buildProgram, isVerbName, loadVerbs, verbsFor } from './program.js';
import { progressOn, type Progress } from './progress.js';
import { printable, styleOf, wantsColour } from './style.js';
import type { Outcome, Verb } from './verb.js';

/** @param words the command line without `node` and the script. Never throws; the result is the exit status. */
export async function run(words: readonly string[], host: Host): Promise<number> {
  let verb: ErrorEnvelope['verb'] = words.find(isVerbName) ?? 'berth';
  let status = 0;
  const colour = styleOf({
    terminal: false,
    all: false,
    coloured: wantsColour(host.environment, host.stderr.terminal),
  });
  const progress = progressOn(host.stderr, colour.colour);
  try {
    const program = buildProgram(await loadVerbs(verbsFor(words[0])), host, async (asked, operands, flags) => {
      verb = asked.name;
      const result = await runVerb(asked, operands, flags, host, progress);
      progress.clear();
      answer(result, flags, host);
      status = result.exit;
    });
    await program.parseAsync(words, { from: 'user' });
    return status;
  } catch (thrown) {
    progress.clear();
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return 0;
    const error = thrown instanceof CommanderError ? usageError(thrown, verb) : toBerthError(thrown, 'run');
    if (asksForJson(words)) host.stdout.write(`${JSON.stringify(errorEnvelope(host.version, verb, error))}\n`);
    // Commander has printed the help already where no verb was given.
    if (!(thrown instanceof CommanderError && thrown.code === 'commander.help'))
      explain(error, host, colour.colour.red);
    return error.exitStatus;
  }
}

async function runVerb(
  verb: Verb,
  operands: readonly string[],
  flags: Flags,
  host: Host,
  progress: Progress,
): Promise<Outcome> {
  const settings = settingsOf(flags);
  let berth: Berth | undefined;
  const interrupts = verb.ownSignals
    ? { signal: new AbortController().signal, stop: () => undefined }
    : watchInterrupts(host, {
        say: (text) => progress.say(text),
        remote: () => berth !== undefined && 'agent' in berth,
      });
  const options = (): BerthOptions => ({
    settings,
    ...(flags.settings === undefined ? {} : { settingsFile: flags.settings }),
    ...(flags.instance === undefined ? {} : { instance: flags.instance }),
    environment: host.environment,
    signal: interrupts.signal,
    observer: progress.observer,
  });
  try {
    return await verb.run({
      operands,
      flags,
      configuration: flags.directory === undefined ? {} : { workingDirectory: resolve(flags.directory) },
      options,
      open: async () =>
        (berth ??= await host.openBerth(options(), {
          agent: flags.agent ?? true,
          say: (line) => progress.say(line),
        })),
      settings,
      host,
      tree: async () => buildProgram(await loadVerbs(), host, () => Promise.resolve()),
    });
  } catch (thrown) {
    // Whatever was cut short by the signal and did not say so in Berth's words, such as Node's own AbortError.
    if (interrupts.signal.aborted && !(thrown instanceof BerthError)) {
      const { summary } = ERROR_TABLE.BERTH_INTERRUPTED;
      throw new BerthError('BERTH_INTERRUPTED', summary, { step: verb.name, cause: thrown });
    }
    throw thrown;
  } finally {
    await berth?.close();
    interrupts.stop();
  }
}

function answer(result: Outcome, flags: Flags, host: Host): void {
  if (flags.json) {
    host.stdout.write(`${JSON.stringify(result.envelope(host.version))}\n`);
    return;
  }
  const { terminal } = host.stdout;
  const style = styleOf({ terminal, all: flags.all ?? false, coloured: wantsColour(host.environment, terminal) });
  const lines = result.lines(style);
  if (lines.length > 0) host.stdout.write(`${lines.join('\n')}\n`);
}

/** On standard error: what happened, what to do next, and the names to search for. */
function explain(error: BerthError, host: Host, red: (text: string) => string): void {
  const { code, step, system, advice, message, cause } = printable({
    code: error.code,
    step: error.step,
    system: error.system,
    advice: error.advice,
    message: error.message,
    cause: error.cause instanceof Error ? (error.cause.stack ?? '') : '',
  });
  const call = system
    ? `, ${system.syscall || 'system call'}: ${system.code}${system.path ? ` ${system.path}` : ''}`
    : '';
  const lines = [
    `${red('berth:')} ${message}`,
    `       ${advice}`,
    `       (${code}, step ${step}${call}, exit status ${error.exitStatus})`,
  ];
  if (code === 'BERTH_INTERNAL' && cause !== '') lines.push(cause);
  host.stderr.write(`${lines.join('\n')}\n`);
}

/** Commander's message without its `error: `; what it says of the right spelling stays. */
function usageError(thrown: CommanderError, verb: ErrorEnvelope['verb']): BerthError {
  const message = thrown.code === 'commander.help' ? 'no verb was given' : thrown.message.replace(/^error: /, '');
  const advice = verb === 'berth' ? 'See berth --help' : `See berth ${verb} --help`;
  return new BerthError('BERTH_USAGE', message.replaceAll('\n', ' '), { step: 'arguments', advice });
}

function asksForJson(words: readonly string[]): boolean {
  const end = words.indexOf('--');
  return words.slice(0, end === -1 ? undefined : end).includes('--json');
}
