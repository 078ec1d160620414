import { EXIT_OK } from '../exits.js';
import { declareAllFlag } from '../flags.js';
import { renderReservations } from '../render/status.js';
import { outcome, type Verb } from '../verb.js';

export const reservations: Verb = {
  name: 'reservations',
  summary: 'show which ports the kernel holds back, and whose they are',
  description:
    'Shows the ephemeral range and net.ipv4.ip_local_reserved_ports, told apart: reserved by Berth, reserved by ' +
    'others, and lost (reserved by Berth, and since overwritten by somebody).',
  changes: 'Nothing.',
  examples: [['berth reservations', 'For a person.']],
  exits: [[0, 'Shown.']],
  declare: (command) => {
    declareAllFlag(command, 'do not shorten long lists');
  },
  run: async ({ open }) => {
    const berth = await open();
    return outcome('reservations', await berth.reservations(), EXIT_OK, renderReservations);
  },
};
