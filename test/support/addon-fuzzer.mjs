// Calls what the addon exports with arguments that no caller of ours would pass, in a process of its own:
//   node addon-fuzzer.mjs ADDON SEED CALLS
// Prints a line of JSON with what became of them; a call that ends the process is told by its absence, and by the name of
// the call on standard error, which is printed before it. Only what would harm the fuzzer itself is left out: descriptors
// that Node works with, and files outside of its directory.
import { mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

const [path, seed, calls] = process.argv.slice(2);
const addon = createRequire(import.meta.url)(path);
const directory = mkdtempSync(join(tmpdir(), 'berth-addon-'));
process.chdir(directory);
const file = openSync('/dev/null', 'r');
const [own] = await addon.openNamespace(null);

/** mulberry32: the same seed makes the same calls. */
let state = Number(seed);
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const pick = (list) => list[Math.floor(random() * list.length)];

function detached(array) {
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}
function shrunk(kind) {
  const buffer = new ArrayBuffer(64, { maxByteLength: 64 });
  const array = new kind(buffer, 32, 4);
  buffer.resize(8);
  return array;
}
const thrower = () => {
  throw new Error('from the inside');
};
const numbers = [
  0,
  -0,
  1,
  -1,
  2.5,
  63,
  65535,
  65536,
  2 ** 31 - 1,
  2 ** 31,
  -(2 ** 31) - 1,
  2 ** 32,
  2 ** 53,
  -(2 ** 53),
];
const wild = {
  number: () => pick([...numbers, 1e300, -1e300, NaN, Infinity, -Infinity, Number.MIN_VALUE, own, file, process.pid]),
  string: () =>
    pick([
      '',
      'lo',
      '127.0.0.1',
      '::',
      '@abstract',
      'haproxy',
      'a\0b',
      '\ud800',
      join(directory, 'x'),
      `${directory}/${'y'.repeat(107)}`,
      `${directory}/${'z'.repeat(70_000)}`,
      '18446744073709551616',
    ]),
  boolean: () => random() < 0.5,
  array: () =>
    pick([
      [],
      ['127.0.0.1', '::1'],
      ['a', 1],
      ['a\0'],
      new Array(5),
      [Symbol('s')],
      Object.defineProperty(['a', 'b'], 1, { get: thrower }),
      Object.setPrototypeOf(['a'], null),
      new Proxy(['a'], { get: thrower }),
    ]),
  // Beyond any that is open here; none of Node's own is closed.
  descriptors: () =>
    pick([
      new Int32Array(0),
      Int32Array.of(-1, -2147483648),
      Int32Array.of(2147483647, 1_000_000),
      new Int32Array(300).fill(999_999),
      detached(new Int32Array(8)),
      shrunk(Int32Array),
      new Int32Array(new SharedArrayBuffer(16)).fill(-1),
    ]),
  words: () =>
    pick([
      new Uint32Array(0),
      Uint32Array.of(0, 0, 20000),
      Uint32Array.of(7, 9, 0xffffffff, 1),
      new Uint32Array(3000).map(() => random() * 2 ** 32),
      detached(new Uint32Array(8)),
      shrunk(Uint32Array),
    ]),
  ports: () =>
    pick([
      new Uint16Array(0),
      Uint16Array.of(0, 65535),
      new Uint16Array(70_000).map((_, i) => i),
      detached(new Uint16Array(8)),
    ]),
  other: () =>
    pick([
      undefined,
      null,
      {},
      () => undefined,
      Symbol('s'),
      10n ** 30n,
      new Date(NaN),
      new Float64Array(3),
      new DataView(new ArrayBuffer(8)),
      new Proxy(new Int32Array(2), {}),
      new Proxy({}, { get: thrower, getPrototypeOf: thrower }),
      { valueOf: thrower, toString: thrower },
    ]),
};

/** What each takes, so that most calls get past their first argument. */
const { number, string, boolean, array, descriptors, words, ports } = wild;
const id = () => (random() < 0.8 ? own : number());
const pid = () => pick([process.pid, 0, -1, 1 << 30, number()]);
const shapes = {
  openNamespace: [() => pick([null, string(), '/proc/self/ns/mnt', '/proc/self/ns/net'])],
  closeNamespace: [() => pick([0, -1, 1e9, NaN])],
  probe: [id, array, array, words, boolean, boolean],
  sockets: [id, boolean, number, () => pick([null, ports()]), number],
  unixListeners: [id],
  destroySocket: [id, boolean, boolean, string, number, string, number, string, string],
  holders: [id, words, descriptors],
  socketsOf: [id, pid],
  processesNamed: [id, string],
  duplicate: [id, pid, number, words],
  share: [id, pid, number, number, number],
  getsocks: [id, string, () => pick([0, -1, 5, NaN])],
  bindUnix: [id, string],
  serveSockets: [string, number, descriptors, array, array],
  serverServed: [number],
  stopServer: [number],
  closeDescriptors: [descriptors],
  readSysctl: [id, string],
  writeSysctl: [id, string, string, number],
  // Where it succeeds, the disks of the host are waited for.
  releaseMemory: [id],
  syncFileSystem: [id, () => pick(['', 'missing', 'a\0b'])],
  signalProcess: [pid, number, number],
  tryLock: [string],
  peerCredentials: [number],
  raiseDescriptorLimit: [],
  errnoName: [number],
  watchExit: [pid, number, boolean],
  unwatchExit: [number],
  reapOthers: [descriptors],
  becomeSubreaper: [],
  notifyService: [string, string, descriptors],
  copyDescriptors: [descriptors],
  adoptSockets: [descriptors],
  describeSockets: [descriptors],
};
const names = Object.keys(addon);
const unknown = names.filter((name) => !(name in shapes));

const count = { calls: 0, threw: 0, rejected: 0, returned: 0, notErrors: 0 };
const outcome = (error) => {
  if (!(error instanceof Error)) count.notErrors++;
};
for (; count.calls < Number(calls) && unknown.length === 0; count.calls++) {
  const name = names[count.calls % names.length];
  const shape = shapes[name];
  const wrong = random() < 0.4 ? Math.floor(random() * (shape.length + 1)) : -1;
  const args = shape.map((make, at) => (at === wrong ? pick(Object.values(wild))() : make()));
  // Half of what it needs, or more than it takes.
  if (wrong === shape.length) args.splice(Math.floor(random() * shape.length), random() < 0.5 ? args.length : 0, {});
  writeSync(2, `${count.calls} ${name}\n`);
  try {
    const result = addon[name](...args);
    if (result instanceof Promise) {
      await result.then(
        () => count.returned++,
        (error) => {
          count.rejected++;
          outcome(error);
        },
      );
    } else count.returned++;
    await release(name, result);
  } catch (error) {
    count.threw++;
    outcome(error);
  }
}

/** What a call has made in passing; else the fuzzer runs out of descriptors and threads, and tests nothing but that. */
async function release(name, result) {
  const made = await Promise.resolve(result).catch(() => undefined);
  if (made === undefined) return;
  if (name === 'probe') addon.closeDescriptors(Int32Array.from(made.words.filter((_, at) => at % 4 === 1)));
  if (name === 'bindUnix' || name === 'tryLock') addon.closeDescriptors(Int32Array.of(made));
  if (name === 'openNamespace') await addon.closeNamespace(made[0]);
  if (name === 'serveSockets') addon.stopServer(made);
}

rmSync(directory, { recursive: true, force: true });
console.log(JSON.stringify({ ...count, functions: names.length, unknown }));
process.exit(0); // watches that were begun wait for ever
