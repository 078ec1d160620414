// Outgoing connections to itself at a known rate and with known lives, by a clock of its own: what begins and ends comes in
// the order of that clock, each awaited, as fast as the machine can. A busy machine makes it slower, and nothing else: which
// port connect(2) takes depends on the order alone.
//
// Reads its options as JSON from the first line of standard input:
// address   where it listens and what it connects to (127.0.0.1)
// servers   ports that it listens on, outside of the ephemeral range: each is a destination, taken at random
// rate      connections a second, at random (exponential gaps)
// lifetime  mean seconds; `fixed` true: all live as long, else exponential
// close     'reset': the port is free at once; 'fin': closes first, so that it goes to TIME_WAIT, a minute of the real clock
//
// Prints {"ready":true}. Each further line is a number of seconds of its clock to pass; the answer counts what was in them:
// {"attempts","failed"} (EADDRNOTAVAIL).
import { once } from 'node:events';
import net from 'node:net';
import process from 'node:process';
import { createInterface } from 'node:readline';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const {
  address = '127.0.0.1',
  servers,
  rate,
  lifetime,
  fixed = false,
  close = 'reset',
} = JSON.parse((await lines.next()).value);
for (const port of servers) {
  const server = net.createServer((socket) => socket.on('error', () => {}).resume());
  server.listen({ host: address, port, backlog: 4096 });
  await once(server, 'listening');
}

const exponential = (mean) => -Math.log(1 - Math.random()) * mean;
let clock = 0;
let arrival = exponential(1 / rate);
/** What lives, the first to end first. */
const living = [];

async function begin() {
  const socket = net.connect({ host: address, port: servers[Math.floor(Math.random() * servers.length)] });
  const begun = await new Promise((resolve) => {
    socket.once('connect', () => resolve(true));
    socket.once('error', (error) => {
      if (error.code !== 'EADDRNOTAVAIL') throw error;
      resolve(false);
    });
  });
  if (!begun) return false;
  socket.on('error', () => {});
  socket.resume();
  const ends = clock + (fixed ? lifetime : exponential(lifetime));
  let at = living.length;
  while (at > 0 && living[at - 1].ends > ends) at--;
  living.splice(at, 0, { socket, ends });
  return true;
}

async function end({ socket }) {
  if (close === 'reset') socket.resetAndDestroy();
  else socket.end();
  await once(socket, 'close');
}

async function pass(seconds) {
  const until = clock + seconds;
  const counted = { attempts: 0, failed: 0 };
  for (;;) {
    const first = living[0];
    clock = Math.min(arrival, first?.ends ?? Infinity, until);
    if (clock === until) return counted;
    if (clock === first?.ends) {
      living.shift();
      await end(first);
    } else {
      arrival += exponential(1 / rate);
      counted.attempts++;
      if (!(await begin())) counted.failed++;
    }
  }
}

process.stdout.write('{"ready":true}\n');
for await (const line of lines) process.stdout.write(`${JSON.stringify(await pass(Number(line)))}\n`);
process.exit(0);
