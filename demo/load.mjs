/**
 * The clients: a steady, open-loop stream of short connections round robin over all listeners, and long-lived
 * connections that exchange a line five times a second. Open loop: a refused or slow connection does not slow the next.
 *
 * Told by IPC `{ id, do, … }`, answers `{ id, … }`:
 *   `start` { address, ports, rate }   rate in connections per second
 *   `hold`  { address, port }          → { source }: the port that HAProxy's connection to the server has
 *   `probe` { address, port }          → { served }
 *   `stop`                             → the counts
 */
import net from 'node:net';
import process from 'node:process';

const PATIENCE_MS = 3000;
const TICK_MS = 10;

const short = { attempted: 0, ok: 0, refused: 0, cut: 0, hung: 0, slowestMs: 0 };
/** @type {{ source: number, alive: boolean, heard: number, why?: string }[]} */
const held = [];
let running = false;

/** One short connection; every outcome is counted exactly once. */
function once(/** @type {string} */ address, /** @type {number} */ port) {
  return new Promise((/** @type {(outcome: 'ok' | 'refused' | 'cut' | 'hung') => void} */ resolve) => {
    const socket = net.connect({ host: address, port, noDelay: true });
    socket.setTimeout(PATIENCE_MS);
    socket.on('connect', () => socket.write('ping\n'));
    socket.on('data', () => {
      resolve('ok');
      socket.end();
    });
    socket.on('timeout', () => {
      resolve('hung');
      socket.destroy();
    });
    socket.on('error', (/** @type {NodeJS.ErrnoException} */ error) => {
      resolve(error.code === 'ECONNREFUSED' ? 'refused' : 'cut');
    });
    // Without an answer and without an error: the other side closed it.
    socket.on('close', () => resolve('cut'));
  });
}

function start(/** @type {string} */ address, /** @type {number[]} */ ports, /** @type {number} */ rate) {
  const began = performance.now();
  let next = 0;
  running = true;
  const timer = setInterval(() => {
    if (!running) {
      clearInterval(timer);
      return;
    }
    const due = Math.floor(((performance.now() - began) * rate) / 1000);
    for (; short.attempted < due; short.attempted += 1) {
      const at = performance.now();
      const port = ports[next % ports.length] ?? 0;
      next += 1;
      void once(address, port).then((outcome) => {
        short[outcome] += 1;
        if (outcome === 'ok') short.slowestMs = Math.max(short.slowestMs, performance.now() - at);
      });
    }
  }, TICK_MS);
}

/** A connection that stays; resolves with the source port of HAProxy's side of it once it carries data. */
function hold(/** @type {string} */ address, /** @type {number} */ port) {
  return new Promise((/** @type {(source: number) => void} */ resolve, reject) => {
    const socket = net.connect({ host: address, port, noDelay: true });
    /** @type {typeof held[number]} */
    const one = { source: 0, alive: true, heard: performance.now() };
    const timer = setInterval(() => socket.write('ping\n'), 200);
    const lost = (/** @type {string} */ why) => {
      clearInterval(timer);
      if (one.alive) one.why = why;
      one.alive = false;
      reject(new Error(`the connection to ${address}:${port} was lost before it carried data: ${why}`));
    };
    socket.on('connect', () => {
      held.push(one);
      socket.write('ping\n');
    });
    socket.on('data', (data) => {
      one.heard = performance.now();
      one.source ||= Number(/^pong (\d+)\n/.exec(data.toString('latin1'))?.[1]);
      resolve(one.source);
    });
    socket.on('error', (/** @type {NodeJS.ErrnoException} */ error) => lost(error.code ?? error.message));
    socket.on('close', () => lost('closed by the other side'));
  });
}

/** Ends the stream, waits for the outcome of every connection under way, and counts. */
async function stop() {
  running = false;
  const settled = () => short.ok + short.refused + short.cut + short.hung === short.attempted;
  const limit = performance.now() + 2 * PATIENCE_MS;
  while (!settled() && performance.now() < limit) await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  const silent = performance.now() - PATIENCE_MS;
  return {
    short,
    held: held.map(({ source, alive, heard, why }) => ({ source, alive: alive && heard > silent, why })),
  };
}

async function act(/** @type {any} */ message) {
  if (message.do === 'start') return start(message.address, message.ports, message.rate);
  if (message.do === 'hold') return { source: await hold(message.address, message.port) };
  if (message.do === 'probe') return { served: (await once(message.address, message.port)) === 'ok' };
  return stop();
}

process.on('message', (/** @type {any} */ message) => {
  act(message).then(
    (answer) => process.send?.({ id: message.id, ...answer }),
    (/** @type {Error} */ error) => process.send?.({ id: message.id, error: error.message }),
  );
});
process.once('disconnect', () => process.exit());
