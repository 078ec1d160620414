import { EXIT_OK } from '../exits.js';
import { renderHistory } from '../render/generations.js';
import { outcome, type Verb } from '../verb.js';

export const history: Verb = {
  name: 'history',
  summary: 'list the generations kept',
  description:
    'Lists the generations in the state directory, newest first: number, time, state, listeners, how many of them ' +
    'were left out, and the configuration each was made of. * marks the one that serves, + the last good one. The ' +
    'newest eight are kept (setting dataPreserveN), these two always.',
  changes: 'Nothing.',
  examples: [
    ['berth history', 'The table.'],
    ["berth history --json | jq '.result.generations[] | select(.serving).number'", 'Which one serves?'],
  ],
  exits: [[0, 'Listed; also where there is none yet.']],
  declare: () => undefined,
  run: async ({ open }) => {
    const berth = await open();
    return outcome('history', await berth.history(), EXIT_OK, renderHistory);
  },
};
