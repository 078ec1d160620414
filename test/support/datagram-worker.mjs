// Steady datagrams to UDP listeners, each of which must come back or through:
//
// log HOST:PORT    a line of syslog, which HAProxy's log-forward sends on to the collector, a socket of this process
// quic HOST:PORT   the first packet of a QUIC client with a version that nobody speaks; a server answers with those that it
//                  does (RFC 9000, section 6.1), without any state of its own. Sent again each second until it is answered,
//                  as every QUIC client does (RFC 9002, section 6.2).
//
// Reads its options as JSON from the first line of standard input: {"targets":["log 10.0.0.1:514"],"rate":50,
// "collector":{"host":"10.0.0.2","port":5140}}. Prints {"event":"ready"}. "stop" sends no more, waits for what is still
// missing and prints {"event":"final","sent":{TARGET:N},"lost":{TARGET:N}}.
import { Buffer } from 'node:buffer';
import dgram from 'node:dgram';
import { once } from 'node:events';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { clearInterval, setInterval, setTimeout } from 'node:timers';

const WAIT_MS = 5000;
const AGAIN_MS = 1000;
const input = createInterface({ input: process.stdin });
const { targets, collector, rate = 50 } = JSON.parse((await once(input, 'line'))[0]);

/** Number of the datagram, of those that have not come back → its target. */
const missing = new Map();
const sent = Object.fromEntries(targets.map((target) => [target, 0]));
let count = 0;

/** A long header with version 0x1a2a3a4a, reserved to force a negotiation; servers answer nothing below 1200 bytes. */
function quic(number) {
  const packet = Buffer.alloc(1200);
  packet.writeUInt8(0xc0, 0);
  packet.writeUInt32BE(0x1a2a3a4a, 1);
  packet.writeUInt8(8, 5);
  packet.writeBigUInt64BE(BigInt(number), 6);
  packet.writeUInt8(8, 14);
  packet.writeBigUInt64BE(BigInt(number), 15);
  return packet;
}

/** Version 0, and the connection ids of the packet before, the other way round. */
function negotiated(packet) {
  const whole = packet.length >= 14 && packet.readUInt32BE(1) === 0 && packet.readUInt8(5) === 8;
  return whole ? Number(packet.readBigUInt64BE(6)) : undefined;
}

const logLine = (number) => Buffer.from(`<13>Jan  1 00:00:00 host program: datagram ${number}.`);
const logged = (packet) => Number(/datagram (\d+)\./.exec(packet.toString('latin1'))?.[1]);

const sockets = { udp4: dgram.createSocket('udp4'), udp6: dgram.createSocket('udp6') };
for (const socket of Object.values(sockets)) {
  // A port that nobody listens on any more answers with ICMP: the datagram is lost and counted as such.
  socket.on('error', () => {}).on('message', (packet) => missing.delete(negotiated(packet)));
  socket.bind();
  await once(socket, 'listening');
}
const collecting = dgram.createSocket('udp4').on('message', (packet) => missing.delete(logged(packet)));
collecting.bind({ address: collector.host, port: collector.port });
await once(collecting, 'listening');

function send(target, number) {
  const [, kind, host, port] = /^(\w+) \[?(.*?)\]?:(\d+)$/.exec(target);
  const packet = kind === 'quic' ? quic(number) : logLine(number);
  sockets[host.includes(':') ? 'udp6' : 'udp4'].send(packet, Number(port), host, () => {});
  if (kind === 'quic') setTimeout(() => missing.has(number) && send(target, number), AGAIN_MS);
}

function next() {
  const target = targets[count % targets.length];
  count += 1;
  missing.set(count, target);
  sent[target] += 1;
  send(target, count);
}

const ticking = targets.length > 0 ? setInterval(next, 1000 / rate) : undefined;
process.stdout.write(`${JSON.stringify({ event: 'ready' })}\n`);

async function stop() {
  clearInterval(ticking);
  const deadline = Date.now() + WAIT_MS;
  while (missing.size > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 10));
  const lost = Object.fromEntries(targets.map((target) => [target, 0]));
  for (const target of missing.values()) lost[target] += 1;
  process.stdout.write(`${JSON.stringify({ event: 'final', sent, lost })}\n`, () => process.exit(0));
}

input.on('line', (line) => line === 'stop' && void stop()).on('close', () => process.exit(0));
