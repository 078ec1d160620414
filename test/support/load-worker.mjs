// Steady client load: short connections, round robin over many listeners, and connections held open all the while.
//
// Reads its options as JSON from the first line of standard input: {"targets":["10.0.0.1:80"],"rate":1000,"held":10}
//
// targets   host:port, IPv6 in brackets, or unix:/path; host:port/connect: a connection that stands is enough
// rate      short connections a second (default 1000); each sends "bye N\n" and wants a line back, then resets, so that
//           no TIME_WAIT is left on either side
// held      connections held open (default 0), a "ping" on each of them every pingMs (default 200)
// sources   local addresses to bind to, round robin (default: the kernel chooses)
// timeoutMs after which a connection or a ping counts as hung (default 3000)
// limit     short connections open at a time (default 2000); what would exceed it counts as skipped
//
// Prints {"event":"ready"} when the held connections are up. Further lines: "report" prints {"event":"report",…},
// {"targets":[…]} turns the short connections to these (none: a pause) and prints {"event":"aimed"} when the last one to
// the targets before has ended, "stop" lets the open ones end, prints {"event":"final",…} and exits; the end of the input
// stops, too.
import { once } from 'node:events';
import { connect } from 'node:net';
import { performance } from 'node:perf_hooks';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { clearInterval, setInterval, setTimeout, clearTimeout } from 'node:timers';

const BUCKET_MS = 100;
const TICK_MS = 5;
const input = createInterface({ input: process.stdin });
const {
  targets,
  rate = 1000,
  held = 0,
  pingMs = 200,
  sources = [],
  timeoutMs = 3000,
  limit = 2000,
} = JSON.parse((await once(input, 'line'))[0]);

function parse(texts) {
  return texts.map((text) => {
    const greets = !text.endsWith('/connect');
    const name = text.replace(/\/connect$/, '');
    if (name.startsWith('unix:')) return { name, path: name.slice(5), greets };
    const colon = name.lastIndexOf(':');
    const host = name.slice(0, colon).replace(/^\[|\]$/g, '');
    const port = Number(name.slice(colon + 1));
    return { name: `${host}:${port}`, host, port, greets };
  });
}

let parsed = parse(targets);
const counts = { attempts: 0, ok: 0, refused: 0, reset: 0, eof: 0, hung: 0, skipped: 0, other: {} };
const holding = { open: 0, cut: 0, hung: 0, failed: 0, echoes: 0 };
const failuresByTarget = new Map();
const timeline = new Map();
const latencies = { max: 0, sum: 0 };
/** Short connections since the last turn to other targets. */
let batch = { open: 0 };
let open = 0;
let next = 0;
let firstFailure;
let lastFailure;

function bucket() {
  const at = Math.floor(Date.now() / BUCKET_MS) * BUCKET_MS;
  let found = timeline.get(at);
  if (!found) timeline.set(at, (found = { ok: 0, failed: 0 }));
  return found;
}

function failed(kind, target, code) {
  if (kind === 'other') counts.other[code] = (counts.other[code] ?? 0) + 1;
  else counts[kind] += 1;
  failuresByTarget.set(target.name, (failuresByTarget.get(target.name) ?? 0) + 1);
  firstFailure ??= Date.now();
  lastFailure = Date.now();
  bucket().failed += 1;
}

function dial({ host, port, path }) {
  if (path !== undefined) return connect({ path });
  const source = sources.length > 0 ? sources[next % sources.length] : undefined;
  return connect({ host, port, ...(source && { localAddress: source }), noDelay: true });
}

function short() {
  const target = parsed[next % parsed.length];
  const started = performance.now();
  const socket = dial(target);
  next += 1;
  counts.attempts += 1;
  open += 1;
  let received = '';
  let connected = false;
  let done = false;
  const own = batch;
  own.open += 1;
  const settle = (kind, code) => {
    if (done) return;
    done = true;
    open -= 1;
    own.open -= 1;
    if (own.open === 0) own.ended?.();
    clearTimeout(timer);
    if (kind === 'ok') {
      const took = performance.now() - started;
      counts.ok += 1;
      bucket().ok += 1;
      latencies.max = Math.max(latencies.max, took);
      latencies.sum += took;
    } else failed(kind, target, code);
    // There is no reset on a unix socket, and no TIME_WAIT.
    if (target.path === undefined) socket.resetAndDestroy();
    else socket.destroy();
  };
  const timer = setTimeout(settle, timeoutMs, 'hung');
  socket.setEncoding('latin1');
  socket.on('connect', () => {
    connected = true;
    if (target.greets) socket.write('bye 0123456789\n');
    else settle('ok');
  });
  socket.on('data', (text) => (received += text));
  socket.on('end', () => settle(received.endsWith('\n') ? 'ok' : 'eof'));
  socket.on('error', ({ code }) => {
    if (code === 'ECONNREFUSED') settle('refused');
    else if (code === 'ECONNRESET' || code === 'EPIPE') settle('reset');
    else settle(connected ? 'reset' : 'other', code);
  });
}

function hold(target) {
  return new Promise((resolve) => {
    const socket = dial(target);
    next += 1;
    let pinging;
    let waiting;
    let up = false;
    const down = (kind) => {
      clearInterval(pinging);
      clearTimeout(waiting);
      if (up && !stopping) holding[kind] += 1;
      else if (!up) holding.failed += 1;
      if (up) holding.open -= 1;
      up = false;
      socket.destroy();
      resolve();
    };
    const ping = () => {
      if (waiting) return;
      waiting = setTimeout(down, timeoutMs, 'hung');
      socket.write('ping\n');
    };
    socket.on('connect', ping);
    socket.on('data', () => {
      clearTimeout(waiting);
      waiting = undefined;
      holding.echoes += 1;
      if (up) return;
      up = true;
      holding.open += 1;
      pinging = setInterval(ping, pingMs);
      resolve();
    });
    socket.once('end', () => up && down('cut'));
    socket.once('error', () => down('cut'));
  });
}

function report(event) {
  const failures = [...failuresByTarget].sort(([, one], [, other]) => other - one).slice(0, 20);
  const line = {
    event,
    ...counts,
    open,
    held: holding,
    maxLatencyMs: Math.round(latencies.max * 10) / 10,
    meanLatencyMs: counts.ok > 0 ? Math.round((latencies.sum / counts.ok) * 100) / 100 : 0,
    failuresByTarget: Object.fromEntries(failures),
    ...(firstFailure !== undefined && { firstFailure, lastFailure }),
    timeline: [...timeline].map(([at, bucket]) => ({ at, ...bucket })),
  };
  return new Promise((resolve) => process.stdout.write(`${JSON.stringify(line)}\n`, resolve));
}

let stopping = false;
let ticking;

async function stop() {
  if (stopping) return;
  stopping = true;
  clearInterval(ticking);
  const deadline = Date.now() + timeoutMs + 1000;
  while (open > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
  await report('final');
  process.exit(0);
}

async function aim(texts) {
  const before = batch;
  parsed = parse(texts);
  batch = { open: 0 };
  if (before.open > 0) await new Promise((resolve) => (before.ended = resolve));
  process.stdout.write(`${JSON.stringify({ event: 'aimed' })}\n`);
}

input
  .on('line', (line) => {
    if (line.startsWith('{')) void aim(JSON.parse(line).targets);
    if (line === 'report') void report('report');
    if (line === 'stop') void stop();
  })
  .on('close', () => void stop());

await Promise.all(Array.from({ length: held }, (_, at) => hold(parsed[at % parsed.length])));
const start = performance.now();
let due = 0;
if (!stopping) {
  ticking = setInterval(() => {
    const target = Math.floor(((performance.now() - start) * rate) / 1000);
    // After a pause of this process itself (a busy machine) the arrears are dropped, not fired off in one burst.
    due = Math.max(due, target - Math.ceil(rate / 10));
    if (parsed.length === 0) due = target;
    for (; due < target; due += 1) {
      if (open < limit) short();
      else counts.skipped += 1;
    }
  }, TICK_MS);
}
process.stdout.write(`${JSON.stringify({ event: 'ready', ...holding })}\n`);
