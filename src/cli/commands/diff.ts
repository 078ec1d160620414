import type { Berth } from '../../berth.js';
import { BerthError } from '../../errors.js';
import { EXIT_OK } from '../exits.js';
import { generationNumber } from '../operands.js';
import { renderDiff } from '../render/generations.js';
import { outcome, type Verb } from '../verb.js';

export const diff: Verb = {
  name: 'diff',
  summary: 'compare two generations',
  description:
    'Shows what changed from one generation to another: listeners added and removed, and a unified diff of every ' +
    'file, with what Berth itself changed (quarantined binds, source lines). Without TO it compares with the ' +
    'generation that serves.',
  changes: 'Nothing.',
  examples: [
    ['berth diff 41 42', 'From 41 to 42.'],
    ['berth diff 41', 'From 41 to the generation that serves.'],
  ],
  exits: [
    [0, 'Compared, whether they differ or not.'],
    [2, 'There is no such generation.'],
  ],
  declare: (command) => {
    command.argument('<from>', 'number of a generation');
    command.argument('[to]', 'number of another (default: the one that serves)');
  },
  run: async ({ operands: [from = '', to], open }) => {
    const first = generationNumber(from);
    const second = to === undefined ? undefined : generationNumber(to);
    const berth = await open();
    return outcome('diff', await berth.diff(first, second ?? (await serving(berth))), EXIT_OK, renderDiff);
  },
};

async function serving(berth: Berth): Promise<number> {
  const { generations } = await berth.history();
  const one = generations.find((generation) => generation.serving);
  if (one) return one.number;
  throw new BerthError('BERTH_GENERATION_UNKNOWN', 'No generation serves, so there is nothing to compare with', {
    step: 'arguments',
    advice: 'Give both numbers: berth diff FROM TO',
  });
}
