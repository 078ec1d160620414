/** What a verb of the command is: its words for `--help`, its arguments and options, and what it does. */
import type { Command } from 'commander';
import type { Berth, BerthOptions, ConfigurationOptions } from '../berth.js';
import { resultEnvelope, type ResultEnvelope, type Results, type VerbName } from './envelope.js';
import type { Flags } from './flags.js';
import type { Host } from './host.js';
import type { Style } from './style.js';

export interface Verb {
  readonly name: VerbName;
  /** One line for the list of verbs. */
  readonly summary: string;
  /** What it does, in a paragraph. */
  readonly description: string;
  /** What it changes on the host; every verb says so. */
  readonly changes: string;
  readonly examples: readonly (readonly [command: string, meaning: string])[];
  /** Exit statuses that mean something particular here; the whole table stands in `berth --help`. */
  readonly exits: readonly (readonly [status: number, meaning: string])[];
  /** Signals are the verb's own business: nothing is aborted for it. */
  readonly ownSignals?: boolean;
  /** Adds the verb's own arguments and options. */
  declare(command: Command): void;
  run(call: Call): Promise<Outcome>;
}

/** One call of a verb. */
export interface Call {
  /** Positional arguments, flattened. */
  readonly operands: readonly string[];
  readonly flags: Flags;
  readonly configuration: ConfigurationOptions;
  /** Settings of the command line, nested as in the settings file. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly host: Host;
  /** What Berth is opened with. */
  readonly options: () => BerthOptions;
  /** Opens Berth with the settings of the command line; closed by the caller when the verb ends. */
  readonly open: () => Promise<Berth>;
  /** The whole command tree, with every verb loaded. */
  readonly tree: () => Promise<Command>;
}

/** What a verb answers: the same value for `--json` and for people. */
export interface Outcome {
  readonly exit: number;
  envelope(version: string): ResultEnvelope<VerbName>;
  /** Lines without their newline. */
  lines(style: Style): readonly string[];
}

/** @param render gets the report with control characters made visible (see printable in style.ts). */
export function outcome<V extends VerbName>(
  verb: V,
  report: Results[V],
  exit: number,
  render: (report: Results[V], style: Style) => readonly string[],
): Outcome {
  return {
    exit,
    envelope: (version) => resultEnvelope(version, verb, exit, report),
    lines: (style) => render(style.printable(report), style),
  };
}
