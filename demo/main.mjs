/**
 * The demo: replays the reload incident twice on the same seeded conflict, once with the reload that Cloudpods' lbagent
 * does itself, once with Berth, and prints what clients and the kernel saw, side by side.
 * Each replay is a process in network, pid and mount namespaces of its own; when that process ends, everything in them ends.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { faults, markdown, table } from './report.mjs';

const HELP = `usage: scripts/demo [options]

Replays the reload incident in private network namespaces with real HAProxy and steady client load, twice on the same
seeded conflict: HAProxy's own connection to a server sits on the port of the listener that is to be created. Once
lbagent's own reload runs, once berth reload. Needs root (or CAP_SYS_ADMIN); touches nothing outside of its namespaces.

  --listeners N   listeners that serve before the reload (10..10000)   [2000]
  --rate N        new client connections a second                      [300]
  --held N        long connections                                     [50]
  --watch S       seconds to go on watching after the reload           [20 lbagent, 10 Berth]
  --haproxy BIN   the haproxy binary                                   [haproxy]
  --only HOW      lbagent or berth
  --json          print the results as JSON; progress goes to stderr
  --keep          leave the reports: JSON, a markdown table, HAProxy's own output, the configuration
  --help

Exit status: 0 where Berth's replay shows no listener down, no connection refused or cut and the new listener serving;
1 where it does not; 2 for a wrong option; 130 when interrupted.
`;

/** @returns {never} */
function usage(/** @type {string} */ message) {
  process.stderr.write(`demo: ${message}\nSee scripts/demo --help.\n`);
  process.exit(2);
}

function readOptions() {
  const whole = (
    /** @type {string} */ name,
    /** @type {string} */ text,
    /** @type {number} */ least,
    /** @type {number} */ most,
  ) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least || value > most)
      usage(`--${name} must be ${least}..${most}, not ${text}`);
    return value;
  };
  try {
    const { values } = parseArgs({
      options: {
        listeners: { type: 'string', default: '2000' },
        rate: { type: 'string', default: '300' },
        held: { type: 'string', default: '50' },
        watch: { type: 'string' },
        haproxy: { type: 'string', default: 'haproxy' },
        only: { type: 'string' },
        json: { type: 'boolean', default: false },
        keep: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      process.stdout.write(HELP);
      process.exit(0);
    }
    if (values.only !== undefined && values.only !== 'lbagent' && values.only !== 'berth')
      usage('--only takes lbagent or berth');
    return {
      listeners: whole('listeners', values.listeners, 10, 10000),
      rate: whole('rate', values.rate, 1, 5000),
      held: whole('held', values.held, 1, 1000),
      watch: values.watch === undefined ? undefined : whole('watch', values.watch, 1, 120),
      haproxy: values.haproxy,
      hows: values.only === undefined ? ['lbagent', 'berth'] : [values.only],
      json: values.json,
      keep: values.keep,
    };
  } catch (error) {
    return usage(/** @type {Error} */ (error).message);
  }
}

const options = readOptions();
const out = options.json ? process.stderr : process.stdout;
const say = (/** @type {string} */ text) => out.write(`${text}\n`);

/** The first process of a pid namespace must reap what HAProxy leaves behind: the shell does; node would not. */
const WORLD = [
  '--net',
  '--mount',
  '--pid',
  '--fork',
  '--kill-child',
  '--mount-proc',
  'sh',
  '-c',
  '"$@"; exit $?',
  'demo',
];

/** @type {import('node:child_process').ChildProcess | undefined} */
let child;

/** @returns {Promise<any>} */
function replay(/** @type {string} */ how, /** @type {string} */ directory) {
  mkdirSync(directory);
  const script = fileURLToPath(new URL('replay.mjs', import.meta.url));
  const world = spawn('unshare', [...WORLD, process.execPath, script], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  child = world;
  const watchSeconds = options.watch ?? (how === 'lbagent' ? 20 : 10);
  world.send({ how, directory, ...options, watchSeconds });
  const progress = listening(options.listeners);
  return new Promise((resolve, reject) => {
    /** @type {any} */
    let result;
    let failure = 'it ended without a result';
    world.on('message', (/** @type {any} */ message) => {
      if (message.say) say(`  ${message.say}`);
      if (message.state) progress(message.state);
      if (message.error) failure = message.error;
      if (message.result) result = message.result;
    });
    world.on('error', reject);
    world.on('exit', () => (result ? resolve(result) : reject(new Error(`the replay with ${how} failed: ${failure}`))));
  });
}

/** Tells when all listeners went down or came back, and of what is between at most once a second. */
function listening(/** @type {number} */ all) {
  let told = { seconds: -Infinity, up: all };
  return (/** @type {{ seconds: number, up: number, fresh: boolean }} */ { seconds, up }) => {
    if (up === told.up || (up > 0 && up < all && seconds < told.seconds + 1)) return;
    told = { seconds, up };
    say(`  ${seconds.toFixed(2).padStart(6)} s  ${up} of ${all} listeners in LISTEN`);
  };
}

const directory = mkdtempSync(join(tmpdir(), 'berth-demo-'));
let interrupted = false;
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']))
  process.on(signal, () => {
    interrupted = true;
    // The replay ends with the channel, the namespace's first process with the replay, all others with that one; only
    // then unshare returns. Should the replay not answer, --kill-child ends the first process with unshare.
    if (child?.connected) child.disconnect();
    setTimeout(() => child?.kill('SIGKILL'), 5000).unref();
  });

try {
  const results = [];
  for (const how of options.hows) {
    if (interrupted) throw new Error('interrupted');
    say(how === 'lbagent' ? "With lbagent's own reload" : 'With Berth');
    results.push(await replay(how, join(directory, how)));
    say('');
  }
  const berth = results.find((result) => result.how === 'berth');
  const wrong = berth ? faults(berth) : [];
  if (options.json) process.stdout.write(`${JSON.stringify({ ok: wrong.length === 0, results }, null, 2)}\n`);
  else say(table(results));
  writeFileSync(join(directory, 'results.json'), `${JSON.stringify(results, null, 2)}\n`);
  writeFileSync(join(directory, 'table.md'), markdown(results));
  if (wrong.length > 0) say(`\nWith Berth, ${wrong.join(', ')}.`);
  process.exitCode = wrong.length > 0 ? 1 : 0;
} catch (error) {
  if (!interrupted) process.stderr.write(`demo: ${/** @type {Error} */ (error).message}\n`);
  process.exitCode = interrupted ? 130 : 1;
} finally {
  if (options.keep) say(`\nReports: ${directory}`);
  else rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
}
