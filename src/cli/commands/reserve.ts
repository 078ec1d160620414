import { Option } from 'commander';
import { EXIT_OK } from '../exits.js';
import { declareDirectoryFlag, parseShare } from '../flags.js';
import { renderReserve } from '../render/status.js';
import { outcome, type Verb } from '../verb.js';

export const reserve: Verb = {
  name: 'reserve',
  summary: 'keep the kernel from giving listener ports to outgoing connections',
  description:
    'Adds ports to net.ipv4.ip_local_reserved_ports: those of a configuration, of bare endpoints ' +
    '(tcp:ADDRESS:PORT), or of a list (58824,59000-59010). Only ports inside the ephemeral range need it; others ' +
    'are left out. What others have reserved stays as it is; what Berth adds is recorded in its ledger. A list ' +
    'that would not fit the kernel in one write is merged by reserving the smallest gaps as well.',
  changes: 'net.ipv4.ip_local_reserved_ports of the network namespace, and the ledger in the state directory.',
  examples: [
    ['berth reserve /etc/haproxy/haproxy.cfg', 'Every listener of a configuration.'],
    ['berth reserve 58824,59000-59010', 'A list of ports.'],
  ],
  exits: [
    [0, 'Reserved, and read back from the kernel.'],
    [3, 'Refused: too large a share of the ephemeral range would be reserved (setting reserve.maxShare).'],
    [5, 'No permission to write the sysctl.'],
  ],
  declare: (command) => {
    command.argument('<target...>', 'configurations, bare endpoints, or lists of ports');
    declareDirectoryFlag(command);
    command.addOption(
      new Option('--max-share <share>', 'refuse above this share of the ephemeral range (0.5 or 50%)').argParser(
        parseShare,
      ),
    );
  },
  run: async ({ operands, configuration, open }) => {
    const berth = await open();
    return outcome('reserve', await berth.reserve(operands, configuration), EXIT_OK, renderReserve);
  },
};
