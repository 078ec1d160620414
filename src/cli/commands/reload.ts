import { ERROR_TABLE, type ErrorCode } from '../../errors.js';
import type { ReloadReport } from '../../reload/reports.js';
import { EXIT_NOT_ALL_SERVED, EXIT_OK } from '../exits.js';
import { declareAllFlag, declareDirectoryFlag, declareReloadFlags } from '../flags.js';
import { renderReload } from '../render/reload.js';
import { outcome, type Outcome, type Verb } from '../verb.js';
import { runPlan } from './plan.js';

export const reload: Verb = {
  name: 'reload',
  summary: 'bring a configuration into service, without a bind that can fail',
  description:
    'Stages the configuration as a new generation, has haproxy -c check exactly those files, reserves the ports, ' +
    'secures every new port before anything is touched, hands all listening sockets to a new HAProxy, verifies in ' +
    'the kernel that each listener is served by it, and only then asks the old one to finish its connections and ' +
    'leave. Where any of this fails, the old HAProxy has not noticed and goes on serving. Where no HAProxy runs, ' +
    'this starts one. In master-worker mode (-W, systemd) the master is asked to reload.',
  changes:
    'The running HAProxy; the generations, the journal and the ledger in the state directory; ' +
    'net.ipv4.ip_local_reserved_ports (--no-reserve leaves it alone). A port that is held by an outgoing connection ' +
    'is shared by one flag on that socket (--no-share forbids it). Reservations and processes of others are not ' +
    'touched. Ctrl-C undoes what was not yet handed over.',
  examples: [
    ['berth reload /etc/haproxy/haproxy.cfg --pid-file /run/haproxy.pid', 'The usual call, in standalone mode.'],
    ['berth reload /etc/haproxy/haproxy.cfg --master-socket /run/haproxy-master.sock', 'Master-worker mode.'],
    ['berth reload --dry-run site.d', 'What would it do? The same as berth plan site.d.'],
    ['berth reload --on-unsolved abort site.d', 'All or nothing: leave no listener out.'],
    ['berth reload --set conflicts.wait.deadlineMs=2000 site.d', 'A setting that has no option of its own.'],
  ],
  exits: [
    [0, 'Every listener is served by the new HAProxy.'],
    [
      3,
      'The new HAProxy serves, but listeners were left out (outcome served-in-part); or, under --on-unsolved abort, nothing was changed.',
    ],
    [4, 'The configuration is wrong; nothing was changed.'],
    [8, 'The reload failed and was undone; the old HAProxy goes on serving.'],
  ],
  declare: (command) => {
    command.argument('<config...>', 'configuration files or directories, as given to haproxy -f');
    declareDirectoryFlag(command);
    declareReloadFlags(command);
    command.option('-n, --dry-run', 'say what would be done and change nothing, as berth plan');
    declareAllFlag(command, 'do not shorten long lists');
  },
  run: async (call) => {
    if (call.flags.dryRun) return runPlan(call);
    const berth = await call.open();
    return reloadOutcome('reload', await berth.reload(call.operands, call.configuration));
  },
};

/** Served in part is worth knowing for a script: it exits as preflight would have. */
export function reloadOutcome(verb: 'reload' | 'rollback', report: ReloadReport): Outcome {
  const { insteadOf } = report;
  // Something serves, but not what was asked for: that failed, and its status says how.
  const failed = insteadOf && ERROR_TABLE[insteadOf.error.code as ErrorCode].exit;
  return outcome(verb, report, failed ?? (report.outcome === 'served' ? EXIT_OK : EXIT_NOT_ALL_SERVED), renderReload);
}
