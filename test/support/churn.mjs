// Outgoing connections at a rate, to itself: arrivals at random (exponential gaps), lives of a given mean.
//
// Reads its options as JSON from the first line of standard input:
// address   where it listens and what it connects to (127.0.0.1)
// servers   ports that it listens on, outside of the ephemeral range: each is a destination, taken at random
// rate      connections a second
// lifetime  mean seconds; `fixed` true: all live as long, else exponential
// close     'reset': the port is free at once; 'fin': closes first, so that it goes to TIME_WAIT
//
// Prints {"ready":true}. Lines: "mark" begins to count anew and is answered by what was counted until then:
// {"seconds","attempts","failed","hold"}: hold is the mean time from connect(2) to the close of those that ended.
import { once } from 'node:events';
import net from 'node:net';
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { setInterval, setTimeout } from 'node:timers';

const TICK_MS = 2;
const lines = createInterface({ input: process.stdin });
const {
  address = '127.0.0.1',
  servers,
  rate,
  lifetime,
  fixed = false,
  close = 'reset',
} = JSON.parse((await once(lines, 'line'))[0]);
for (const port of servers) {
  const server = net.createServer((socket) => socket.on('error', () => {}).resume());
  server.listen({ host: address, port, backlog: 4096 });
  await once(server, 'listening');
}

const exponential = (mean) => -Math.log(1 - Math.random()) * mean;
const nothing = () => ({ began: performance.now(), attempts: 0, failed: 0, ended: 0, held: 0 });
let count = nothing();

function open() {
  const began = performance.now();
  const socket = net.connect({ host: address, port: servers[Math.floor(Math.random() * servers.length)] });
  let failed = false;
  count.attempts++;
  socket.on('error', () => (failed = true));
  socket.resume();
  socket.once('close', () => {
    if (failed) count.failed++;
    else {
      count.ended++;
      count.held += performance.now() - began;
    }
  });
  const life = 1000 * (fixed ? lifetime : exponential(lifetime));
  setTimeout(() => (close === 'reset' ? socket.resetAndDestroy() : socket.end()), life);
}

let next = performance.now();
setInterval(() => {
  const now = performance.now();
  // A tick that comes late is made up for where that is little against a life; larger bursts are no arrivals at random.
  if (now - next > 250 * lifetime + 5 * TICK_MS) next = now;
  for (; next <= now; next += exponential(1000 / rate)) open();
}, TICK_MS);

process.stdout.write('{"ready":true}\n');
for await (const line of lines) {
  if (line !== 'mark') continue;
  const { began, attempts, failed, ended, held } = count;
  const counted = { seconds: (performance.now() - began) / 1000, attempts, failed, hold: held / ended / 1000 };
  count = nothing();
  process.stdout.write(`${JSON.stringify(counted)}\n`);
}
process.exit(0);
