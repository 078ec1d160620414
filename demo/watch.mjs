/**
 * The observer: reads the kernel's LISTEN table of the namespace it runs in and integrates *listeners not in LISTEN* over time.
 *
 * Told by IPC: `{ address, ports, fresh, everyMs }`; sends `{ at, up, fresh }` at each change (`at` in ms of
 * CLOCK_MONOTONIC, the same clock in all processes); on `{ stop: true }` answers the summary.
 *
 * /proc/net/tcp lists LISTEN sockets first, in records of 150 bytes (net/ipv4/tcp_ipv4.c, tcp4_seq_show), so that
 * reading stops where they end however many connections there are. A snapshot is not atomic: a listener counts as
 * down only where a second reading at once misses it too.
 */
import { Buffer } from 'node:buffer';
import { closeSync, openSync, readSync } from 'node:fs';
import process from 'node:process';

const RECORD = 150;
const LISTEN = '0A';
const buffer = Buffer.alloc(RECORD * 32768);

/** Ports in LISTEN on this address, given as the kernel prints it: the 32 bits in host order, in hex. */
function listening(/** @type {string} */ address) {
  const ports = new Set();
  const file = openSync('/proc/self/net/tcp', 'r');
  let filled = 0;
  try {
    for (let at = RECORD; ;) {
      const count = readSync(file, buffer, filled, buffer.length - filled, null);
      filled += count;
      for (; at + RECORD <= filled; at += RECORD) {
        const colon = buffer.indexOf(0x3a, at) + 2;
        if (buffer.toString('latin1', colon + 28, colon + 30) !== LISTEN) return ports;
        if (buffer.toString('latin1', colon, colon + 8) === address)
          ports.add(Number.parseInt(buffer.toString('latin1', colon + 9, colon + 13), 16));
      }
      if (count === 0) return ports;
    }
  } finally {
    closeSync(file);
  }
}

const now = () => Number(process.hrtime.bigint()) / 1e6;

function watch(/** @type {{ address: string, ports: number[], fresh: number, everyMs: number }} */ what) {
  const key = Buffer.from(what.address.split('.').reverse().map(Number)).toString('hex').toUpperCase();
  const summary = {
    samples: 0,
    listenerSeconds: 0,
    worst: 0,
    seconds: 0,
    freshAt: /** @type {number | null} */ (null),
  };
  const began = now();
  let last = began;
  let before = '';

  const sample = () => {
    let seen = listening(key);
    let missing = what.ports.filter((port) => !seen.has(port));
    if (missing.length > 0) {
      seen = listening(key);
      missing = missing.filter((port) => !seen.has(port));
    }
    const at = now();
    const fresh = seen.has(what.fresh);
    summary.samples += 1;
    summary.listenerSeconds += (missing.length * (at - last)) / 1000;
    summary.worst = Math.max(summary.worst, missing.length);
    summary.seconds = (at - began) / 1000;
    summary.freshAt = fresh ? (summary.freshAt ?? at) : null;
    last = at;
    const state = `${missing.length} ${fresh}`;
    if (state !== before) process.send?.({ at, up: what.ports.length - missing.length, fresh });
    before = state;
  };
  sample();
  const timer = setInterval(sample, what.everyMs);
  process.on('message', () => {
    clearInterval(timer);
    sample();
    process.send?.({ summary: { ...summary, up: what.ports.length - Number.parseInt(before, 10) } });
  });
}

process.once('message', (/** @type {any} */ message) => watch(message));
process.once('disconnect', () => process.exit());
