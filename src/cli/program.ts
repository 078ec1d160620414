/** The command tree. A verb's module is loaded only where it is asked for, so that `berth --version` costs nothing. */
import { Command } from 'commander';
import pc from 'picocolors';
import type { VerbName } from './envelope.js';
import { declareGlobalFlags, type Flags } from './flags.js';
import { programHelp, verbHelp } from './help.js';
import type { Host } from './host.js';
import { wantsColour } from './style.js';
import type { Verb } from './verb.js';

/** In the order in which `berth --help` lists them. */
const VERBS: Record<VerbName, () => Promise<Verb>> = {
  preflight: async () => (await import('./commands/preflight.js')).preflight,
  plan: async () => (await import('./commands/plan.js')).plan,
  reload: async () => (await import('./commands/reload.js')).reload,
  rollback: async () => (await import('./commands/rollback.js')).rollback,
  stop: async () => (await import('./commands/stop.js')).stop,
  history: async () => (await import('./commands/history.js')).history,
  diff: async () => (await import('./commands/diff.js')).diff,
  status: async () => (await import('./commands/status.js')).status,
  reserve: async () => (await import('./commands/reserve.js')).reserve,
  release: async () => (await import('./commands/release.js')).release,
  reservations: async () => (await import('./commands/reservations.js')).reservations,
  doctor: async () => (await import('./commands/doctor.js')).doctor,
  advise: async () => (await import('./commands/advise.js')).advise,
  agent: async () => (await import('./commands/agent.js')).agent,
  completion: async () => (await import('./commands/completion.js')).completion,
};

export const VERB_NAMES = Object.keys(VERBS) as readonly VerbName[];

export function isVerbName(word: string | undefined): word is VerbName {
  return word !== undefined && Object.hasOwn(VERBS, word);
}

/** The verbs that a command line needs by its first word: the one that it names, none for the version, else all. */
export function verbsFor(first: string | undefined): readonly VerbName[] {
  if (isVerbName(first)) return [first];
  return first === '--version' || first === '-V' ? [] : VERB_NAMES;
}

export async function loadVerbs(names = VERB_NAMES): Promise<Verb[]> {
  return Promise.all(names.map((name) => VERBS[name]()));
}

export type Invoke = (verb: Verb, operands: readonly string[], flags: Flags) => Promise<void>;

/** Throws commander's CommanderError instead of ending the process; its messages are printed by the caller. */
export function buildProgram(verbs: readonly Verb[], host: Host, invoke: Invoke): Command {
  const bold = (text: string) => pc.createColors(true).bold(text);
  const program = new Command('berth')
    .description('Gives every HAProxy listener its port, always.')
    .usage('[options] <verb> [arguments]')
    .version(host.version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [verb]', 'print the help of a verb')
    .configureHelp({ showGlobalOptions: true, styleTitle: bold })
    .configureOutput({
      writeOut: (text) => host.stdout.write(text),
      writeErr: (text) => host.stderr.write(text),
      getOutHelpWidth: () => Math.min(host.stdout.columns, 100),
      getErrHelpWidth: () => Math.min(host.stderr.columns, 100),
      getOutHasColors: () => wantsColour(host.environment, host.stdout.terminal),
      getErrHasColors: () => wantsColour(host.environment, host.stderr.terminal),
      outputError: () => undefined,
    })
    .exitOverride()
    .addHelpText('after', programHelp());
  declareGlobalFlags(program);
  for (const verb of verbs) {
    const command = program
      .command(verb.name)
      .summary(verb.summary)
      .description(verb.description)
      .addHelpText('after', verbHelp(verb))
      .action(() => invoke(verb, command.args, command.optsWithGlobals<Flags>()));
    verb.declare(command);
  }
  return program;
}
