import { declareAllFlag, declareReloadFlags } from '../flags.js';
import { generationNumber } from '../operands.js';
import type { Verb } from '../verb.js';
import { reloadOutcome } from './reload.js';

export const rollback: Verb = {
  name: 'rollback',
  summary: 'bring an older generation back into service',
  description:
    'A reload of a generation kept in the state directory, through the same path and with the same care as any ' +
    'reload. Without a number it is the last good generation before the one that serves. It is kept as a new ' +
    'generation, so that it can be rolled back itself.',
  changes: 'What berth reload changes.',
  examples: [
    ['berth rollback', 'Back to the last good generation.'],
    ['berth rollback 41', 'To generation 41; berth history lists them.'],
  ],
  exits: [
    [0, 'Every listener of that generation is served.'],
    [2, 'There is no such generation.'],
    [3, 'It serves, but listeners were left out.'],
    [8, 'The rollback failed and was undone; what served before goes on serving.'],
  ],
  declare: (command) => {
    command.argument('[generation]', 'number of the generation (default: the last good one before the serving one)');
    declareReloadFlags(command);
    declareAllFlag(command, 'do not shorten long lists');
  },
  run: async ({ operands: [generation], open }) => {
    const number = generation === undefined ? undefined : generationNumber(generation);
    const berth = await open();
    return reloadOutcome('rollback', await berth.rollback(number));
  },
};
