// A process that holds sockets, driven by lines of JSON on its standard input, one answer a line:
//   {"do":"listen","host":H,"port":P}                -> {"id":N,"port":N} connections are echoed
//   {"do":"close","id":N}                            -> {}              a listener, or a UDP socket
//   {"do":"connect","host":H,"port":P,"from":A}      -> {"id":N,"port":local port}   with "halfOpen" it stays open when the other side closes
//   {"do":"echo","id":N,"text":T}                    -> {"text":answer}
//   {"do":"end","id":N}                              -> {}              closes first: TIME_WAIT is here
//   {"do":"drop","id":N}                             -> {}              closes at once, whatever the other side does
//   {"do":"storm","host":H,"port":P,"count":N}       -> {"ports":[…]}   local ports of N connections, each reset at once
//   {"do":"udp","host":H,"port":P}                   -> {"id":N,"port":N}
//   {"do":"received","id":N}                         -> {"count":N}
import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { createInterface } from 'node:readline';

const sockets = [];
const actions = {
  async listen({ host, port }) {
    const server = net.createServer((socket) => socket.on('error', () => {}).pipe(socket));
    server.listen({ host, port });
    await once(server, 'listening');
    return { id: sockets.push(server) - 1, port: server.address().port };
  },
  async close({ id }) {
    sockets[id].close();
    await once(sockets[id], 'close');
    return {};
  },
  async connect({ host, port, from, halfOpen }) {
    const socket = net.connect({ host, port, localAddress: from, allowHalfOpen: halfOpen });
    await once(socket, 'connect');
    socket.on('error', () => {});
    return { id: sockets.push(socket) - 1, port: socket.localPort };
  },
  async echo({ id, text }) {
    const socket = sockets[id];
    const closed = new AbortController();
    const close = () => closed.abort();
    socket.once('close', close);
    if (socket.closed) close();
    socket.write(text);
    const [data] = await once(socket, 'data', { signal: closed.signal });
    socket.off('close', close);
    return { text: data.toString() };
  },
  async end({ id }) {
    sockets[id].end();
    sockets[id].resume();
    await once(sockets[id], 'close');
    return {};
  },
  async drop({ id }) {
    sockets[id].destroy();
    if (!sockets[id].closed) await once(sockets[id], 'close');
    return {};
  },
  async storm({ host, port, count }) {
    const ports = new Set();
    for (let left = count; left > 0; left -= 50) {
      const batch = Array.from({ length: 50 }, () => net.connect({ host, port }));
      await Promise.all(batch.map((socket) => once(socket, 'connect')));
      for (const socket of batch) {
        ports.add(socket.localPort);
        socket.resetAndDestroy();
      }
    }
    return { ports: [...ports] };
  },
  async udp({ host, port }) {
    const socket = dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4');
    socket.received = 0;
    socket.on('message', () => socket.received++);
    socket.bind({ address: host, port });
    await once(socket, 'listening');
    return { id: sockets.push(socket) - 1, port: socket.address().port };
  },
  async received({ id }) {
    return { count: sockets[id].received };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const answer = await actions[request.do](request).catch((error) => ({ error: String(error) }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
