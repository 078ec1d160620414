/** `berth agent`: the process around startAgent: signals, log, and what it says before and after. */
import { statSync } from 'node:fs';
import { openLog, type Log } from '../../agent/log.js';
import { keepHeapSmall } from '../../agent/memory.js';
import type { RunningAgent } from '../../agent/agent.js';
import { ERROR_TABLE } from '../../errors.js';
import { explainSettings, loadAgentSettings, loadInstances } from '../../settings.js';
import type { AgentRunReport } from '../envelope.js';
import { EXIT_OK } from '../exits.js';
import { declareAllFlag } from '../flags.js';
import { renderAgent } from '../render/agent.js';
import { renderLogLine } from '../render/log.js';
import { onSignals } from '../signals.js';
import { styleOf, wantsColour } from '../style.js';
import { outcome, type Call, type Verb } from '../verb.js';

export const agent: Verb = {
  name: 'agent',
  summary: 'look after HAProxy on this host, from now on',
  description:
    'Stays in the foreground: watches the sources of each instance of the settings and brings every change into ' +
    'service, compares everything with the kernel again and again and heals what differs, keeps the listening sockets ' +
    'and starts a HAProxy that died with them, watches old processes, and answers on a unix socket, which the other ' +
    'verbs use while it runs. The log goes to standard error: one JSON object a line, or lines for people on a ' +
    'terminal. SIGTERM and SIGINT end it, after what is under way has been finished or undone; HAProxy goes on ' +
    'serving. SIGHUP reads the settings again, SIGUSR1 makes the log say more and SIGUSR2 less.',
  changes:
    'What berth reload changes, whenever a source changes; the unix socket /run/berth/berth.sock. With --check: nothing.',
  examples: [
    ['berth agent --check', 'What would it watch, with which settings, and where does each come from?'],
    ['berth agent', 'In the foreground; systemctl start berth does the same in the background.'],
    ['berth agent --settings site.yaml --set agent.logLevel=debug', 'With other settings.'],
  ],
  exits: [
    [0, 'It was ended by SIGTERM or SIGINT; or --check found nothing wrong.'],
    [2, 'A setting is unknown or has a wrong value.'],
    [7, 'Another agent answers on the socket (--replace takes its place).'],
  ],
  ownSignals: true,
  declare: (command) => {
    command.option(
      '--replace',
      'take the place of the agent that runs: it ends, and what it holds of the listeners goes over without a gap',
    );
    command.option('--check', 'say what is in effect and what would be watched, and start nothing');
    declareAllFlag(command, 'with --check: settings that have their defaults, too');
  },
  run: async (call) => {
    const instances = describeInstances(call);
    if (call.flags.check) return answer({ instances });
    return answer({ instances, endedBy: await serve(call) });
  },
};

function answer(report: AgentRunReport) {
  return outcome('agent', report, EXIT_OK, renderAgent);
}

function sourcesOf({ flags, settings, host }: Call) {
  return { file: flags.settings, environment: host.environment, flags: settings };
}

/** @throws BERTH_SETTINGS */
function describeInstances(call: Call): AgentRunReport['instances'] {
  const from = sourcesOf(call);
  return [...loadInstances(from)].map(([name, { sources }]) => ({
    name,
    sources: sources.map((path) => ({ path, found: kindOf(path) })),
    settings: explainSettings({ ...from, instance: name }).map(({ value = null, ...rest }) => ({ value, ...rest })),
  }));
}

function kindOf(path: string): AgentRunReport['instances'][number]['sources'][number]['found'] {
  try {
    return statSync(path).isDirectory() ? 'directory' : 'file';
  } catch {
    return 'nothing';
  }
}

/** @returns the signal that ended it */
async function serve(call: Call): Promise<string> {
  keepHeapSmall();
  const { startAgent } = await import('../../agent/agent.js');
  const log = openAgentLog(call);
  const { host, settings, flags } = call;
  let running: RunningAgent | undefined;
  const ended = watchSignals(host, log, () => running?.agent.reloadSettings());
  try {
    log.write('info', `berth ${host.version} starts`, { version: host.version, pid: process.pid });
    running = await startAgent({
      ...(flags.settings === undefined ? {} : { settingsFile: flags.settings }),
      environment: host.environment,
      flags: settings,
      version: host.version,
      log,
      replace: flags.replace ?? false,
    });
    const signal = await ended.by;
    await running.stop();
    log.write('info', 'ended; HAProxy goes on serving');
    return signal;
  } finally {
    ended.stopWatching();
    await log.close();
  }
}

/** A start, too, is finished first, and ended then; the third signal ends the process as it is. */
function watchSignals(
  host: Call['host'],
  log: Log,
  readAgain: () => Promise<void> | undefined,
): { readonly by: Promise<string>; stopWatching(): void } {
  let resolve: (signal: string) => void;
  const by = new Promise<string>((done) => (resolve = done));
  let asked = 0;
  let reading = Promise.resolve<unknown>(undefined);
  const end = (signal: string) => {
    asked += 1;
    if (asked === 3) host.exit(ERROR_TABLE.BERTH_INTERRUPTED.exit);
    log.write('info', asked === 1 ? `${signal}: ending` : 'finishing what is under way; once more ends at once');
    resolve(signal);
  };
  const stopWatching = onSignals({
    SIGTERM: () => end('SIGTERM'),
    SIGINT: () => end('SIGINT'),
    // One reading after the other; settings that are refused are an event, which the log has.
    SIGHUP: () => (reading = reading.then(readAgain).catch(() => undefined)),
    SIGUSR1: () => sayLevel(log, 'more'),
    SIGUSR2: () => sayLevel(log, 'fewer'),
  });
  return { by, stopWatching };
}

/** Standard error, so that standard output holds the answer alone, as with every verb. */
function openAgentLog(call: Call): Log {
  const { host, flags } = call;
  const { terminal } = host.stderr;
  const style = styleOf({ terminal, all: false, coloured: wantsColour(host.environment, terminal) });
  return openLog({
    level: loadAgentSettings(sourcesOf(call)).logLevel,
    destination: process.stderr.fd,
    ...(terminal && !flags.json ? { format: (record) => renderLogLine(record, style) } : {}),
  });
}

/** At the new level itself, so that it is always to be seen. */
function sayLevel(log: Log, direction: 'more' | 'fewer'): void {
  const level = log.step(direction);
  if (level !== 'silent') log.write(level, `the log's level is ${level} now`);
}
