/**
 * The servers behind HAProxy: answers each line with `pong PORT`, where PORT is the source port of the connection as
 * it arrives here. That is how a client learns which local port HAProxy's own connection holds.
 * Told by IPC: `{ address, ports }`; answers `{ ready: true }`.
 */
import net from 'node:net';
import process from 'node:process';

process.once('message', (/** @type {{ address: string, ports: number[] }} */ { address, ports }) => {
  let waiting = ports.length;
  for (const port of ports) {
    const server = net.createServer({ noDelay: true }, (socket) => {
      const answer = `pong ${String(socket.remotePort)}\n`;
      socket.on('data', () => socket.write(answer));
      socket.on('error', () => socket.destroy());
    });
    server.listen({ host: address, port, backlog: 4096 }, () => {
      waiting -= 1;
      if (waiting === 0) process.send?.({ ready: true });
    });
  }
});
process.once('disconnect', () => process.exit());
