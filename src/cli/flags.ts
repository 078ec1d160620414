/** The options of the command line, and the settings that they stand for. */
import { resolve } from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { BerthError } from '../errors.js';

/** Every option of every verb by commander's name for it; which verb has which is said by its `declare`. */
export interface Flags {
  readonly json?: boolean;
  readonly stateDir?: string;
  readonly settings?: string;
  readonly instance?: string;
  /** false: `--no-agent` */
  readonly agent?: boolean;
  readonly lbagentConf?: string;
  readonly set?: readonly string[];
  readonly netns?: string;
  readonly haproxy?: string;
  readonly pidFile?: string;
  readonly masterSocket?: string;
  readonly mode?: string;
  readonly wait?: boolean;
  readonly directory?: string;
  readonly all?: boolean;
  readonly replace?: boolean;
  readonly dryRun?: boolean;
  readonly hard?: boolean;
  readonly check?: boolean;
  /** false: `--no-share` */
  readonly share?: string | false;
  readonly destroy?: string;
  readonly deadline?: number;
  readonly onUnsolved?: string;
  readonly harden?: string;
  /** false: `--no-reserve` */
  readonly reserve?: boolean;
  readonly maxShare?: number;
  readonly keep?: number;
  readonly given?: string;
  /** false: `--no-measure` */
  readonly measure?: boolean;
  readonly seconds?: number;
  readonly listeners?: number;
  readonly ports?: string;
  readonly rate?: number;
  readonly lifetime?: number;
  readonly timeWait?: number;
  readonly destinations?: number;
  readonly range?: string;
  readonly lead?: number;
  readonly creations?: number;
  readonly hosts?: number;
}

/** `--wait` waits this long for the lock: a day, which a person ends with Ctrl-C. */
const PATIENCE_MS = 86_400_000;

/** Options that every verb takes, before or after its name. */
export function declareGlobalFlags(program: Command): void {
  program
    .option('--json', 'answer with one JSON object on standard output (docs/schema.json)')
    .option('--state-dir <dir>', 'where Berth keeps generations, journal and ledger (default: /var/lib/berth)')
    .option('--settings <file>', 'read settings from this YAML file (default: /etc/berth/berth.yaml, where it exists)')
    .option('--instance <name>', 'which of the instances of the settings file')
    .option('--no-agent', 'work in this process, also where an agent has this state directory in its care')
    .option('--lbagent-conf <file>', "take what Berth has to know of lbagent's host from this lbagent.conf")
    .option('--set <key=value>', 'one setting, nested keys with dots; may be repeated', collect)
    .option('--netns <path|pid>', "HAProxy's network namespace, where it is not the one of this process")
    .option('--haproxy <bin>', 'HAProxy binary (default: haproxy, looked up in PATH)')
    .option('--pid-file <file>', 'pid file of the running HAProxy')
    .option('--master-socket <path>', "master CLI socket of the running HAProxy (haproxy's -S)")
    .addOption(new Option('--mode <mode>', 'how HAProxy runs').choices(['auto', 'standalone', 'master-worker']))
    .option('--wait', 'wait while another Berth works on the state directory, instead of failing');
}

/** `-C`, for the verbs that read a configuration. */
export function declareDirectoryFlag(command: Command): Command {
  return command.option('-C, --directory <dir>', "work in this directory, as HAProxy's -C");
}

export function declareAllFlag(command: Command, text: string): Command {
  return command.option('-a, --all', text);
}

/** The ladder and the reservation: for the verbs that reload, or say what a reload would do. */
export function declareReloadFlags(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--share <whose>',
        'share ports that connections hold: only those of HAProxy processes, or of any',
      ).choices(['haproxy', 'all']),
    )
    .option('--no-share', 'share no port')
    .addOption(
      new Option('--destroy <which>', 'destroy sockets that hold a port; dead: TIME_WAIT and orphans').choices([
        'off',
        'dead',
        'all',
      ]),
    )
    .option('--deadline <seconds>', 'wait this long for a held port; 0: do not wait', nonNegative)
    .addOption(
      new Option('--on-unsolved <action>', 'where nothing frees a port: leave the listener out, or go back').choices([
        'quarantine',
        'abort',
      ]),
    )
    .addOption(
      new Option('--harden <how>', 'source: give backends a source line, so that they hold no listener port').choices([
        'off',
        'source',
      ]),
    )
    .option('--no-reserve', 'reserve no port in the kernel')
    .option('--max-share <share>', 'reserve at most this share of the ephemeral range (0.5 or 50%)', parseShare)
    .option('--keep <n>', 'generations kept; 0 keeps all', wholeNumber);
}

/** The settings that the options stand for, nested as in the settings file. `--set` goes over the named options. */
export function settingsOf(flags: Flags): Record<string, unknown> {
  const named: readonly (readonly [string, unknown])[] = [
    ['stateDir', flags.stateDir && resolve(flags.stateDir)],
    ['lbagent.conf', flags.lbagentConf && resolve(flags.lbagentConf)],
    ['netns', flags.netns && namedPath(flags.netns)],
    ['haproxy.binary', flags.haproxy && namedPath(flags.haproxy)],
    ['haproxy.pidFile', flags.pidFile && resolve(flags.pidFile)],
    ['haproxy.masterSocket', flags.masterSocket && resolve(flags.masterSocket)],
    ['haproxy.mode', flags.mode],
    ['lockWaitMs', flags.wait ? PATIENCE_MS : undefined],
    ['conflicts.share', flags.share === false ? 'off' : flags.share],
    ['conflicts.destroy', flags.destroy],
    ['conflicts.wait.enabled', flags.deadline === undefined ? undefined : flags.deadline > 0],
    ['conflicts.wait.deadlineMs', flags.deadline ? Math.round(flags.deadline * 1000) : undefined],
    ['conflicts.onUnsolved', flags.onUnsolved],
    ['harden', flags.harden],
    ['reserve.enabled', flags.reserve === false ? false : undefined],
    ['reserve.maxShare', flags.maxShare],
    ['dataPreserveN', flags.keep],
  ];
  const settings: Record<string, unknown> = {};
  for (const [key, value] of named) if (value !== undefined) put(settings, key, value);
  for (const text of flags.set ?? []) put(settings, ...assignment(text));
  return settings;
}

/** `key=value`: the value is JSON where it reads as JSON (numbers, true, lists), else the text itself. */
function assignment(text: string): [key: string, value: unknown] {
  const [, key, value] = /^([A-Za-z]\w*(?:\.[A-Za-z]\w*)*)=(.*)$/s.exec(text) ?? [];
  if (key === undefined || value === undefined) {
    throw new BerthError('BERTH_USAGE', `--set wants key=value, nested keys with dots; it was given '${text}'`, {
      step: 'arguments',
    });
  }
  try {
    return [key, JSON.parse(value)];
  } catch {
    return [key, value];
  }
}

function put(settings: Record<string, unknown>, key: string, value: unknown): void {
  const path = key.split('.');
  const last = path.pop() ?? key;
  let place = settings;
  for (const name of path) {
    // Own properties only: a key such as `constructor.x` must not reach Object's.
    const inner = Object.hasOwn(place, name) ? place[name] : undefined;
    const next: Record<string, unknown> =
      typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>) : {};
    place[name] = next;
    place = next;
  }
  place[last] = value;
}

/** A word with a slash is a path from here; without one it is a name (of a binary in PATH) or a pid. */
function namedPath(word: string): string {
  return word.includes('/') ? resolve(word) : word;
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

export function nonNegative(text: string): number {
  const number = Number(text);
  if (text.trim() === '' || !Number.isFinite(number) || number < 0) {
    throw new InvalidArgumentError('It must be a number, 0 or larger.');
  }
  return number;
}

export function wholeNumber(text: string): number {
  const number = nonNegative(text);
  if (!Number.isSafeInteger(number)) throw new InvalidArgumentError('It must be a whole number, 0 or larger.');
  return number;
}

export function parseShare(text: string): number {
  const number = text.endsWith('%') ? nonNegative(text.slice(0, -1)) / 100 : nonNegative(text);
  if (number > 1) throw new InvalidArgumentError('It must be a share from 0 to 1, or from 0% to 100%.');
  return number;
}
