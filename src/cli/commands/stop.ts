import { EXIT_OK } from '../exits.js';
import { renderStop } from '../render/stop.js';
import { outcome, type Verb } from '../verb.js';

export const stop: Verb = {
  name: 'stop',
  summary: 'stop HAProxy on purpose',
  description:
    'Tells the running HAProxy to stop: softly, so that it takes no new connection and ends with its last one, or hard, ' +
    'at once. What keeps its listening sockets lets them go first, so that clients are refused and not left waiting, ' +
    'and nothing starts it again until the next reload. The agent itself goes on; systemctl stop berth is for that.',
  changes:
    'The running HAProxy, and its pid file. Generations and reservations stay: berth reload or berth rollback starts ' +
    'HAProxy again.',
  examples: [
    ['berth stop', 'Softly: connections end by themselves.'],
    ['berth stop --hard', 'At once, connections and all.'],
  ],
  exits: [
    [0, 'It listens no more, or none ran.'],
    [6, 'The running HAProxy that was named does not exist or is another program.'],
  ],
  declare: (command) => {
    command.option('--hard', 'end its connections, too');
  },
  run: async ({ flags, open }) => {
    const berth = await open();
    return outcome('stop', await berth.stop({ hard: flags.hard ?? false }), EXIT_OK, renderStop);
  },
};
