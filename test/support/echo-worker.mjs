// A backend: answers every line with the same line, and closes after a line that begins with "bye".
// It closes first, so that the TIME_WAIT of a short connection stays on its side, not on an outgoing port of HAProxy's.
//
// Reads its options as JSON from the first line of standard input: {"listen":[{"host":"127.0.0.1","port":9000}]}. With "name" each answer begins with it and a blank. Prints {"event":"ready"}; ends when its standard input ends.
import { once } from 'node:events';
import { createServer } from 'node:net';
import process from 'node:process';
import { createInterface } from 'node:readline';

const input = createInterface({ input: process.stdin });
const { listen, name } = JSON.parse((await once(input, 'line'))[0]);
const prefix = name ? `${name} ` : '';

function serve(socket) {
  socket.setNoDelay(true);
  let rest = '';
  socket.setEncoding('latin1');
  socket.on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith('bye')) socket.end(`${prefix}${line}\n`, 'latin1');
      else socket.write(`${prefix}${line}\n`, 'latin1');
    }
  });
  socket.on('error', () => socket.destroy());
}

input.on('close', () => process.exit(0));
await Promise.all(
  listen.map(
    ({ host, port }) =>
      new Promise((resolve, reject) => {
        createServer(serve).on('error', reject).listen({ host, port, backlog: 4096 }, resolve);
      }),
  ),
);
process.stdout.write(`${JSON.stringify({ event: 'ready' })}\n`);
