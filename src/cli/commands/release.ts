import { BerthError } from '../../errors.js';
import { EXIT_OK } from '../exits.js';
import { declareAllFlag } from '../flags.js';
import { renderReserve } from '../render/status.js';
import { outcome, type Verb } from '../verb.js';

export const release: Verb = {
  name: 'release',
  summary: 'take back reservations of ours',
  description:
    'Removes ports that Berth has reserved from net.ipv4.ip_local_reserved_ports: those of a list, or all of them ' +
    'with --all. Ports that others have reserved stay.',
  changes: 'net.ipv4.ip_local_reserved_ports of the network namespace, and the ledger in the state directory.',
  examples: [
    ['berth release 59000-59010', 'These, as far as they are ours.'],
    ['berth release --all', 'Everything that Berth has reserved.'],
  ],
  exits: [
    [0, 'Released, and read back from the kernel.'],
    [5, 'No permission to write the sysctl.'],
  ],
  declare: (command) => {
    command.argument('[ports...]', 'lists of ports, such as 58824,59000-59010');
    declareAllFlag(command, 'everything that Berth has reserved');
  },
  run: async ({ operands, flags, open }) => {
    // Forgetting the list must not release everything.
    if (operands.length > 0 === (flags.all ?? false)) {
      throw new BerthError('BERTH_USAGE', 'release wants a list of ports, or --all for everything of ours', {
        step: 'arguments',
        advice: 'See berth release --help',
      });
    }
    const berth = await open();
    const report = await berth.release(flags.all ? undefined : operands.join(','));
    return outcome('release', report, EXIT_OK, renderReserve);
  },
};
