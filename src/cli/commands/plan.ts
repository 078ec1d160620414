import type { PlanReport } from '../../reload/reports.js';
import { EXIT_CONFIGURATION, EXIT_NOT_ALL_SERVED, EXIT_OK } from '../exits.js';
import { declareAllFlag, declareDirectoryFlag, declareReloadFlags } from '../flags.js';
import { renderPlan } from '../render/plan.js';
import { outcome, type Call, type Outcome, type Verb } from '../verb.js';

export const plan: Verb = {
  name: 'plan',
  summary: 'say what a reload would do',
  description:
    'Compares the listeners of the configuration with the sockets of the running HAProxy and with what the kernel ' +
    'says, and prints what a reload would do: listeners kept, opened and closed; ports reserved and released; ports ' +
    'shared, waited for or destroyed because somebody holds them; listeners left out (quarantined) because nothing ' +
    'frees their port. It takes the options of reload and answers for exactly those.',
  changes: 'Nothing.',
  examples: [
    ['berth plan /etc/haproxy/haproxy.cfg', 'What would a reload do?'],
    ['berth plan --on-unsolved abort --no-share site.d', 'The same under stricter rules, for a directory.'],
    ["berth plan haproxy.cfg --json | jq '.result.plan.quarantine'", 'What would be left out, for a program.'],
  ],
  exits: [
    [0, 'A reload would serve everything.'],
    [3, 'A reload would leave listeners out, or go back.'],
    [4, 'The configuration is wrong: a reload would be refused.'],
  ],
  declare: (command) => {
    command.argument('<config...>', 'configuration files or directories, as given to haproxy -f');
    declareDirectoryFlag(command);
    declareReloadFlags(command);
    declareAllFlag(command, 'do not shorten long lists');
  },
  run: runPlan,
};

/** Also `reload --dry-run`. */
export async function runPlan({ operands, configuration, open }: Call): Promise<Outcome> {
  const berth = await open();
  const report = await berth.plan(operands, configuration);
  return outcome('plan', report, exitStatus(report), renderPlan);
}

/** What a reload would exit with. */
function exitStatus({ plan: { conflicts, quarantine }, check }: PlanReport): number {
  if (!check.ok || conflicts.length > 0) return EXIT_CONFIGURATION;
  return quarantine.length > 0 ? EXIT_NOT_ALL_SERVED : EXIT_OK;
}
