/** Whatever can sit on a port, one of each, and what it does to HAProxy's bind of 127.0.0.1 is for HAProxy to say. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createConnection, createServer } from 'node:net';
import { kept } from '../lab.mjs';

/** @typedef {{ port: number, end(): Promise<unknown> }} Held */
/** @typedef {{ name: string, transport: 'tcp' | 'udp', hold(baseline: string): Promise<Held> }} Holder */

const HOST = '127.0.0.1';
const PORT = 9100;

async function listen(/** @type {import('node:net').ListenOptions} */ options) {
  const server = createServer();
  server.listen({ port: PORT, ...options });
  await once(server, 'listening');
  return { port: PORT, end: () => new Promise((resolve) => server.close(resolve)) };
}

/** A connection of which one end is closed first: that end's port goes to TIME_WAIT. @param {'client' | 'server'} first */
async function timeWait(first) {
  const server = createServer({ allowHalfOpen: true });
  server.listen({ host: HOST, port: PORT + 1 });
  await once(server, 'listening');
  const accepting = once(server, 'connection');
  const client = createConnection({ host: HOST, port: PORT + 1, allowHalfOpen: true });
  const [[accepted]] = await Promise.all([accepting, once(client, 'connect')]);
  const port = first === 'client' ? (client.localPort ?? 0) : PORT + 1;
  const [one, other] = first === 'client' ? [client, accepted] : [accepted, client];
  one.resume();
  other.resume();
  one.end();
  await once(other, 'end');
  other.end();
  await once(one, 'close');
  await new Promise((resolve) => server.close(resolve));
  return { port, end: () => Promise.resolve() };
}

async function udp() {
  const socket = createSocket('udp4');
  socket.bind(PORT, HOST);
  await once(socket, 'listening');
  return { port: PORT, end: () => new Promise((resolve) => socket.close(() => resolve(undefined))) };
}

/** @type {readonly Holder[]} */
export const HOLDERS = [
  { name: 'nobody', transport: 'tcp', hold: () => Promise.resolve({ port: PORT, end: () => Promise.resolve() }) },
  { name: 'a listener on the same address', transport: 'tcp', hold: () => listen({ host: HOST }) },
  { name: 'a listener on 0.0.0.0', transport: 'tcp', hold: () => listen({ host: '0.0.0.0' }) },
  { name: 'a dual-stack listener on [::]', transport: 'tcp', hold: () => listen({ host: '::' }) },
  { name: 'an IPv6-only listener on [::]', transport: 'tcp', hold: () => listen({ host: '::', ipv6Only: true }) },
  { name: 'a listener on another address', transport: 'tcp', hold: () => listen({ host: '127.0.0.2' }) },
  {
    name: 'an outgoing connection',
    transport: 'tcp',
    hold: async (baseline) => {
      const { said, end } = await kept(baseline, ['outgoing', HOST, String(PORT)]);
      return { port: parseInt(said, 10), end };
    },
  },
  { name: 'TIME_WAIT of an outgoing connection', transport: 'tcp', hold: () => timeWait('client') },
  { name: "TIME_WAIT of a server's connection", transport: 'tcp', hold: () => timeWait('server') },
  {
    name: 'a socket that is bound and does not listen',
    transport: 'tcp',
    hold: async (baseline) => ({ port: PORT, ...(await kept(baseline, ['bound', HOST, String(PORT)])) }),
  },
  { name: 'a UDP socket', transport: 'tcp', hold: udp },
  { name: 'a UDP socket, asked about UDP', transport: 'udp', hold: udp },
];
