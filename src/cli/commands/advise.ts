import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { advise as adviseOn } from '../../advise/advise.js';
import type { GivenInputs } from '../../advise/inputs.js';
import { BerthError } from '../../errors.js';
import { EXIT_OK } from '../exits.js';
import { nonNegative, parseShare, wholeNumber, type Flags } from '../flags.js';
import { renderAdvice } from '../render/advise.js';
import { outcome, type Verb } from '../verb.js';

export const advise: Verb = {
  name: 'advise',
  summary: 'how often a new listener meets a busy port, and which settings suit',
  description:
    'Says how often a new listener meets a port that an outgoing connection holds: without Berth, with reservation ' +
    'only, with everything; what reserving leaves of the ephemeral range, and when outgoing connections run dry; ' +
    "which range suits, and which of lbagent's six tunables. It measures this host for a few seconds; --given and " +
    '--no-measure ask about another one, and the other options go over both. docs/advise.md has the model and its error.',
  changes: 'Nothing. It reads the socket tables and counters of the kernel twice, and asks no agent.',
  examples: [
    ['berth advise', 'This host as it is.'],
    ['berth advise --creations 50 --hosts 100', 'The same, for a hundred of them with 50 new listeners a day each.'],
    [
      'berth advise --no-measure --listeners 20000 --rate 500 --lifetime 30 --destinations 40',
      'A host that is not there yet.',
    ],
    ['berth advise --given host.json --json', 'A host that a file describes, for a program.'],
  ],
  exits: [[0, 'It has answered, whatever the answer is.']],
  declare: (command: Command) => {
    command
      .option('--given <file>', 'take the host from this JSON file (docs/advise.md) instead of measuring')
      .option('--no-measure', 'start from a typical host instead of measuring')
      .option('--seconds <n>', 'between the two looks (default: 5)', nonNegative)
      .option('--listeners <n>', 'listeners that there are', wholeNumber)
      .option('--ports <places>', "where listeners' ports are: 30000-39999, 80=1,8000-8999=9 (with weights), lbagent")
      .option('--rate <n>', "outgoing connections a second from the listeners' address", nonNegative)
      .option('--lifetime <seconds>', 'mean life of these', nonNegative)
      .option('--time-wait <share>', 'share of these that ends in TIME_WAIT here (0.5 or 50%)', parseShare)
      .option('--destinations <n>', 'servers that they go to', wholeNumber)
      .option('--range <first-last>', 'net.ipv4.ip_local_port_range')
      .option('--lead <seconds>', 'from the reservation of a port to the reload that binds it', nonNegative)
      .option('--creations <n>', 'new listeners a day (default: 20)', nonNegative)
      .option('--hosts <n>', 'hosts like this one (default: 1)', wholeNumber);
  },
  run: async ({ flags, host, options }) => {
    const told = fromOptions(flags);
    const report =
      flags.given === undefined && flags.measure !== false
        ? await measured(told, () => host.measure(options(), flags.seconds ?? 5))
        : adviseOn({ ...(flags.given === undefined ? {} : fromFile(flags.given)), ...told });
    return outcome('advise', report, EXIT_OK, renderAdvice);
  },
};

async function measured(told: GivenInputs, measure: () => ReturnType<typeof import('../../measure.js').measureHost>) {
  adviseOn(told);
  const { inputs, measured } = await measure();
  // Other listeners than those that there are: where these have their ports is no longer known.
  const { present, ...rest } = inputs;
  const replaced = told.listeners !== undefined || told.ports !== undefined;
  return adviseOn({ ...rest, ...(replaced || present === undefined ? {} : { present }), ...told }, measured);
}

function fromFile(path: string): GivenInputs {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as GivenInputs;
  } catch (cause) {
    const why = cause instanceof SyntaxError ? 'is not JSON' : 'cannot be read';
    throw new BerthError('BERTH_USAGE', `${path} ${why}: ${(cause as Error).message}`, { step: 'advise', cause });
  }
}

function fromOptions({ listeners, ports, rate, lifetime, timeWait, destinations, ...flags }: Flags): GivenInputs {
  const { range, lead, creations, hosts } = flags;
  const given = { listeners, ports, rate, lifetime, timeWait, destinations, lead, creations, hosts };
  return {
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    ...(range === undefined ? {} : { range: rangeOf(range) }),
  };
}

function rangeOf(text: string): { first: number; last: number } {
  const [, first, last] = /^\s*(\d{1,5})[-\s]+(\d{1,5})\s*$/.exec(text) ?? [];
  if (first === undefined || last === undefined) {
    throw new BerthError('BERTH_USAGE', `--range wants first-last; it was given '${text}'`, { step: 'arguments' });
  }
  return { first: Number(first), last: Number(last) };
}
