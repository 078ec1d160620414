/** Every setting of Berth with its default and its meaning: the type, the checks and the JSON schema come from here. */
import { z } from 'zod';

/** Options of HAProxy that decide how it runs, which is Berth's to say. */
const OURS = ['-f', '-c', '-cc', '-C', '-D', '-W', '-Ws', '-db', '-p', '-sf', '-st', '-x', '-S', '-v', '-vv'];

const path = z.string().regex(/^\/[^\0]*$/, 'must be an absolute path');
const milliseconds = z.int().min(0).max(86_400_000);

export const settingsSchema = z.strictObject({
  stateDir: path.default('/var/lib/berth').describe('Where Berth keeps generations, journal and ledger'),
  netns: z
    .union([z.string().min(1), z.int().min(1)])
    .transform(String)
    .optional()
    .describe("HAProxy's network namespace, as a path or a pid; absent: that of this process"),
  sources: z
    .array(path)
    .default([])
    .describe('What the agent watches and brings into service: files or directories, as given to haproxy -f'),
  haproxy: z.strictObject({
    binary: z.string().min(1).default('haproxy').describe('The haproxy binary; a name is looked up in PATH'),
    pidFile: path.optional().describe('Pid file of the running HAProxy'),
    masterSocket: path.optional().describe("Master CLI socket of the running HAProxy (haproxy's -S)"),
    mode: z
      .enum(['auto', 'standalone', 'master-worker'])
      .default('auto')
      .describe('How HAProxy runs; auto: as the running one does, standalone where none runs'),
    extraArguments: z
      .array(z.string())
      .default([])
      .refine((list) => !list.some((word) => OURS.includes(word)), `must not hold what Berth gives: ${OURS.join(' ')}`)
      .describe('More arguments for haproxy'),
    workingDirectory: path.optional().describe("HAProxy's -C: the directory that relative paths start from"),
  }),
  reserve: z.strictObject({
    enabled: z
      .boolean()
      .default(true)
      .describe('Keep listener ports out of the ephemeral range (ip_local_reserved_ports)'),
    maxShare: z
      .number()
      .min(0)
      .max(1)
      .default(0.5)
      .describe('Largest share of the ephemeral range that may be reserved'),
  }),
  conflicts: z.strictObject({
    share: z
      .enum(['haproxy', 'all', 'off'])
      .default('haproxy')
      .describe('Share a port with a connection on it: of HAProxy processes, of any process, never'),
    wait: z.strictObject({
      enabled: z.boolean().default(true).describe('Wait for a held port'),
      deadlineMs: milliseconds.default(5000).describe('Longest wait for all held ports together'),
    }),
    destroy: z
      .enum(['off', 'dead', 'all'])
      .default('dead')
      .describe('End sockets that hold a port: never, what nobody owns (TIME_WAIT, orphans), live connections too'),
    onUnsolved: z
      .enum(['quarantine', 'abort'])
      .default('quarantine')
      .describe('Where nothing frees a port: leave that listener out, or change nothing at all'),
  }),
  harden: z
    .enum(['off', 'source'])
    .default('off')
    .describe("source: add `source` where none stands, so that HAProxy's own connections never hold a listener's port"),
  dataPreserveN: z.int().min(0).default(8).describe('Generations kept; 0 keeps all'),
  timeouts: z.strictObject({
    checkMs: milliseconds.min(1).default(120_000).describe('Longest `haproxy -c`'),
    startMs: milliseconds.min(1).default(120_000).describe('Longest start of a new HAProxy'),
    reloadMs: milliseconds.min(1).default(120_000).describe('Longest reload by a master'),
    settleMs: milliseconds.default(50).describe('How long a new HAProxy must have lived before it is trusted'),
  }),
  config: z.strictObject({
    maxBytes: z
      .int()
      .min(1)
      .default(64 * 1024 * 1024)
      .describe('Largest configuration that is read, in bytes'),
  }),
  reconcile: z.strictObject({
    intervalMs: milliseconds
      .min(100)
      .default(10_000)
      .describe('The agent compares everything with the kernel this often (lbagent: ApiSyncIntervalSeconds)'),
    delayMs: milliseconds
      .default(10)
      .describe('Changes that arrive within this time are applied together (lbagent: ApiRunDelayMilliseconds)'),
    heartbeatMs: milliseconds
      .min(100)
      .default(10_000)
      .describe('The agent says this often that it lives (lbagent: ApiLbagentHbInterval)'),
    toleranceMs: milliseconds
      .default(120_000)
      .describe('Without a reconciliation for heartbeat + this it is stale (lbagent: ApiLbagentHbTimeoutRelaxation)'),
  }),
  keeper: z
    .enum(['auto', 'on', 'off'])
    .default('auto')
    .describe('Keep the listening sockets of a HAProxy that dies; auto: where Berth started it'),
  restart: z.strictObject({
    backOffMs: milliseconds
      .default(1000)
      .describe('Pause before the second restart of a HAProxy that died; it doubles'),
    maxBackOffMs: milliseconds.default(60_000).describe('Longest pause between two restarts'),
    limit: z.int().min(0).default(10).describe('So many restarts within the window, and no more; 0: none'),
    windowMs: milliseconds.default(600_000).describe('The window that restarts are counted in'),
  }),
  drain: z.strictObject({
    hardStopAfterMs: milliseconds.default(0).describe('An old HAProxy is ended after so long; 0: never'),
    warnAfterMs: milliseconds.default(3_600_000).describe('A warning for an old HAProxy that drains so long; 0: never'),
    maxOldProcesses: z.int().min(0).default(0).describe('More old HAProxies are ended, oldest first; 0: no limit'),
    strays: z
      .enum(['report', 'end'])
      .default('report')
      .describe("A HAProxy on this host's listeners that no generation knows: report it, or end it"),
  }),
  batchSize: z
    .int()
    .min(1)
    .max(65_536)
    .default(1024)
    .describe('Listeners a page in listings and a batch in probes (lbagent: ApiListBatchSize)'),
  lbagent: z.strictObject({
    conf: path
      .optional()
      .describe('lbagent.conf: base directory, haproxy binary and the six tunables are read from it'),
    strict: z
      .boolean()
      .default(false)
      .describe('berth-haproxy fails where the new configuration is not live, though lbagent kills HAProxy then'),
  }),
  agent: z.strictObject({
    socket: path
      .default('/run/berth/berth.sock')
      .describe('Where the agent is asked; the command and berth-haproxy ask it there'),
    group: z.string().min(1).default('berth').describe('Members may act over the socket, as root may'),
    readers: z
      .enum(['group', 'all'])
      .default('group')
      .describe('Who else may read: nobody but the group, or every user'),
    tcp: z
      .string()
      .regex(/^(127(\.\d{1,3}){3}|\[::1\]):\d{1,5}$/, 'must be a loopback address and port, 127.0.0.1:9105')
      .optional()
      .describe('Read-only on this loopback address as well; for Prometheus'),
    maxBodyBytes: z
      .int()
      .min(1024)
      .default(1024 * 1024)
      .describe('Largest request body'),
    requestTimeoutMs: milliseconds.min(100).default(30_000).describe('A request must have arrived within this time'),
    logLevel: z
      .enum(['trace', 'debug', 'info', 'warn', 'error', 'silent'])
      .default('info')
      .describe('Least level of the log'),
  }),
  lockWaitMs: milliseconds.default(0).describe('How long to wait for another Berth on the same state directory'),
});

export type Settings = z.output<typeof settingsSchema>;
