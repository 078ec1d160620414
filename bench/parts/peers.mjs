/** Can HAProxy have this port? What Berth, ss, lsof and Node's port checkers say, how long it takes them, and who is right. */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { openBerth } from '../../dist/index.js';
import { BERTH, clocked, ended } from '../lab.mjs';
import { median } from '../measure.mjs';
import { NAMES } from '../peers/checkers.mjs';
import { HOLDERS } from '../peers/holders.mjs';

const run = promisify(execFile);
const CHECKERS = fileURLToPath(new URL('../peers/checkers.mjs', import.meta.url));
const HOST = '127.0.0.1';
const FIRST = 10_000;

/** @typedef {import('../measure.mjs').Bench} Bench */
/** @typedef {(transport: string, port: number) => Promise<'free' | 'busy' | 'cannot'>} Ask */

const verdict = (/** @type {boolean} */ free) => (free ? 'free' : 'busy');

/** A program that lists sockets: where it lists one of this port, an operator takes it for busy. @returns {Ask} */
function lists(/** @type {string} */ program, /** @type {(transport: string, port: number) => string[]} */ words) {
  return async (transport, port) => {
    // lsof ends with 1 where it has nothing to list.
    const { stdout } = await run(program, words(transport, port)).catch((error) => {
      if (error.code === 1) return error;
      throw error;
    });
    return verdict(stdout.trim() === '');
  };
}

/** How each is asked of one port, and of all. @type {Record<string, { ask: Ask, all: string[] }>} */
const LISTERS = {
  'ss -tln': {
    ask: lists('ss', (transport, port) => [transport === 'udp' ? '-ulnH' : '-tlnH', `sport = :${port}`]),
    all: ['ss', '-tlnH'],
  },
  'ss -tan': {
    ask: lists('ss', (transport, port) => [transport === 'udp' ? '-uanH' : '-tanH', `sport = :${port}`]),
    all: ['ss', '-tanH'],
  },
  'lsof -i': {
    ask: lists('lsof', (transport, port) => ['-nP', `-i${transport}:${port}`]),
    all: ['sh', '-c', 'lsof -nP -iTCP; [ $? -le 1 ]'],
  },
};

/** What Node's checkers say, in one process. @returns {Promise<[string, 'free' | 'busy' | 'cannot'][]>} */
async function checkersSay(/** @type {string[]} */ names, /** @type {string} */ transport, /** @type {number} */ port) {
  if (transport === 'udp') return names.map((name) => [name, 'cannot']);
  const { stdout } = await run(process.execPath, [CHECKERS, 'ask', names.join(','), HOST, String(port)]);
  /** @type {Record<string, boolean>} */
  const free = JSON.parse(stdout);
  return names.map((name) => [name, verdict(free[name] === true)]);
}

/** A HAProxy with this one listener, from nothing. */
async function haproxyHas(
  /** @type {Bench} */ { directory, haproxy },
  /** @type {string} */ transport,
  /** @type {number} */ port,
) {
  const [file, pidFile] = [join(directory, 'truth.cfg'), join(directory, 'truth.pid')];
  const tcp = `listen l\n  mode tcp\n  bind ${HOST}:${port}\n  server s ${HOST}:1\n`;
  const udp = `log-forward l\n  dgram-bind ${HOST}:${port}\n  log global\n`;
  const timeouts = 'defaults\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n';
  writeFileSync(file, `global\n  log ${HOST}:1 local0\n${timeouts}${transport === 'udp' ? udp : tcp}`);
  try {
    await run(haproxy, ['-D', '-p', pidFile, '-f', file]);
  } catch {
    return false;
  }
  const pid = Number(readFileSync(pidFile, 'utf8'));
  process.kill(pid, 'SIGKILL');
  await ended(pid);
  return true;
}

/** A smoke goes without the packages of Node's checkers, and without lsof. */
const checkers = (/** @type {Bench} */ bench) => bench.amount(NAMES, ['net.listen']);
const listers = (/** @type {Bench} */ bench) =>
  Object.entries(LISTERS).filter(([name]) => bench.amount(true, name.startsWith('ss')));

/** Every contestant's answer for every kind of holder, beside what HAProxy itself then finds. */
async function answers(/** @type {Bench} */ bench, /** @type {import('../../dist/index.js').Berth} */ library) {
  /** @type {Record<string, Ask>} */
  const all = {
    berth: async (transport, port) => {
      const [listener] = (await library.preflight([`${transport}:${HOST}:${port}`])).listeners;
      return verdict(listener?.verdict.kind === 'free' || listener?.verdict.kind === 'harmless');
    },
    ...Object.fromEntries(listers(bench).map(([name, { ask }]) => [name, ask])),
  };
  for (const { name, transport, hold } of HOLDERS) {
    const { port, end } = await hold(bench.baseline);
    /** @type {[string, 'free' | 'busy' | 'cannot'][]} */
    const said = [];
    for (const [contestant, ask] of Object.entries(all)) said.push([contestant, await ask(transport, port)]);
    said.push(...(await checkersSay(checkers(bench), transport, port)));
    const truth = verdict(await haproxyHas(bench, transport, port));
    for (const [contestant, answer] of said) bench.answer({ holder: name, contestant, said: answer, truth });
    await end();
  }
}

/** Milliseconds for so many free ports: of the libraries in a process that lives, of the commands from nothing. */
async function times(/** @type {Bench} */ bench, /** @type {import('../../dist/index.js').Berth} */ library) {
  const timed = async (/** @type {number} */ count, /** @type {string} */ name) => {
    const { stdout } = await run(process.execPath, [CHECKERS, 'time', name, HOST, String(FIRST), String(count)]);
    const { ms, free } = JSON.parse(stdout);
    if (free !== count) throw new Error(`${name}: ${free} of ${count} ports are free`);
    return ms;
  };
  const clock = (/** @type {string[]} */ words) => clocked(bench.baseline, ['time', ...words]);
  const state = ['--state-dir', join(bench.directory, 'state')];
  for (const count of bench.amount([1, 100, 2000], [1, 20])) {
    const range = `tcp:${HOST}:${FIRST}-${FIRST + count - 1}`;
    const taken = await bench.inTurn({
      berth: async () => {
        const begin = performance.now();
        const { listeners } = await library.preflight([range]);
        const took = performance.now() - begin;
        if (listeners.some(({ verdict: { kind } }) => kind !== 'free')) throw new Error('berth: a port is not free');
        return took;
      },
      ...Object.fromEntries(checkers(bench).map((name) => [name, () => timed(count, name)])),
      'berth preflight': () => clock([process.execPath, BERTH, 'preflight', range, ...state]),
      ...Object.fromEntries(listers(bench).map(([name, { all }]) => [name, () => clock(all)])),
    });
    const ports = count === 1 ? '1 port' : `${count} ports`;
    for (const [name, values] of Object.entries(taken)) {
      const command = name.includes(' ');
      const peer = command ? taken['berth preflight'] : taken['berth'];
      const ours = name.startsWith('berth');
      bench.row({
        name: `${ports}: ${name}`,
        ours: values,
        ...(ours ? {} : { against: command ? 'berth preflight' : 'berth', peer: median(peer ?? []) }),
      });
    }
  }
}

export async function peers(/** @type {Bench} */ bench) {
  const settings = { stateDir: join(bench.directory, 'state'), haproxy: { binary: bench.haproxy } };
  const library = await openBerth({ settings });
  await library.preflight([`tcp:${HOST}:1`]);
  await answers(bench, library);
  await times(bench, library);
  await library.close();
}
