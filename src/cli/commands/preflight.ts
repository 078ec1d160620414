import type { PreflightReport } from '../../reload/reports.js';
import { EXIT_CONFIGURATION, EXIT_NOT_ALL_SERVED, EXIT_OK } from '../exits.js';
import { declareAllFlag, declareDirectoryFlag } from '../flags.js';
import { renderPreflight } from '../render/preflight.js';
import { outcome, type Verb } from '../verb.js';

export const preflight: Verb = {
  name: 'preflight',
  summary: 'say for every listener whether it can be bound, why not, and who holds it',
  description:
    'Reads the configuration as HAProxy would (files, or directories with their *.cfg files, in the order given), ' +
    'tests every listener against the kernel, and says for each that cannot be had at once why, who holds the port ' +
    'and what to do. Instead of a configuration it takes bare endpoints, so that a control plane can ask before it ' +
    'accepts a listener: tcp:ADDRESS:PORT or udp:ADDRESS:PORT, IPv6 addresses in brackets, PORT also as FIRST-LAST. ' +
    'Configurations and endpoints are not mixed in one call.',
  changes:
    'Nothing. The test binds are closed at once and never listen, so that no connection and no serving HAProxy ' +
    'notices them.',
  examples: [
    ['berth preflight /etc/haproxy/haproxy.cfg', 'Can this configuration be served as things are?'],
    ['berth preflight -C configs/haproxy.conf.d .', 'A directory, with relative paths starting from it.'],
    ['berth preflight tcp:169.254.0.101:58824 --json', 'One endpoint, for a program.'],
    ["berth preflight 'tcp:[fd00::1]:8000-8010' udp:10.0.0.1:53", 'A port range, and UDP.'],
  ],
  exits: [
    [0, 'A reload would serve everything.'],
    [3, 'At least one listener cannot be served as things are.'],
    [4, 'The configuration is wrong: a reload would be refused.'],
  ],
  declare: (command) => {
    command.argument('<target...>', 'configuration files or directories, or bare endpoints');
    declareDirectoryFlag(command);
    declareAllFlag(command, 'list every listener, also those in order');
  },
  run: async ({ operands, configuration, open }) => {
    const berth = await open();
    const report = await berth.preflight(operands, configuration);
    return outcome('preflight', report, exitStatus(report), renderPreflight);
  },
};

/** What a reload would exit with. */
function exitStatus({ ok, check, conflicts }: PreflightReport): number {
  if (ok) return EXIT_OK;
  return check?.ok === false || conflicts.length > 0 ? EXIT_CONFIGURATION : EXIT_NOT_ALL_SERVED;
}
