import { EXIT_NOT_ALL_SERVED, EXIT_OK } from '../exits.js';
import { declareAllFlag } from '../flags.js';
import { renderStatus } from '../render/status.js';
import { outcome, type Verb } from '../verb.js';

export const status: Verb = {
  name: 'status',
  summary: 'say whether every listener is served, from the kernel',
  description:
    'Compares the listeners of the serving generation with the sockets that the kernel shows in LISTEN and who owns ' +
    'them, and says what is missing, what is there beside, what is quarantined, which old processes still drain, ' +
    'which ports are reserved, and whether a run of Berth did not finish.',
  changes: 'Nothing.',
  examples: [
    ['berth status', 'For a person.'],
    ['berth status --json', 'For a monitor.'],
  ],
  exits: [
    [0, 'Every listener of the serving generation is in LISTEN and owned by the running HAProxy.'],
    [3, 'Something is missing, or nothing serves.'],
  ],
  declare: (command) => {
    declareAllFlag(command, 'do not shorten long lists');
  },
  run: async ({ open }) => {
    const berth = await open();
    const report = await berth.status();
    return outcome('status', report, report.ok ? EXIT_OK : EXIT_NOT_ALL_SERVED, renderStatus);
  },
};
