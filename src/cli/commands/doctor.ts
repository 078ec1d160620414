import { EXIT_NOT_ALL_SERVED, EXIT_OK } from '../exits.js';
import { declareAllFlag, declareDirectoryFlag } from '../flags.js';
import { renderDoctor } from '../render/status.js';
import { outcome, type Verb } from '../verb.js';

export const doctor: Verb = {
  name: 'doctor',
  summary: 'examine the host, and a configuration with it',
  description:
    'Looks at what decides whether reloads go well on this host: the ephemeral range and what is reserved of it, ' +
    'ip_nonlocal_bind, limits on descriptors, the version and features of HAProxy, Yama, capabilities, old HAProxy ' +
    'processes. With a configuration also: listeners inside the range, and connections whose source should be ' +
    'pinned. Each finding says what to do.',
  changes: 'Nothing.',
  examples: [
    ['berth doctor', 'The host.'],
    ['berth doctor /etc/haproxy/haproxy.cfg --all', 'The host and a configuration, with every fact.'],
  ],
  exits: [
    [0, 'No problem found; there may be warnings.'],
    [3, 'At least one problem found.'],
  ],
  declare: (command) => {
    command.argument('[config...]', 'configuration files or directories, as given to haproxy -f');
    declareDirectoryFlag(command);
    declareAllFlag(command, 'show the facts of what is in order too');
  },
  run: async ({ operands, configuration, open }) => {
    const berth = await open();
    const report = await berth.doctor(operands, configuration);
    return outcome('doctor', report, report.ok ? EXIT_OK : EXIT_NOT_ALL_SERVED, renderDoctor);
  },
};
