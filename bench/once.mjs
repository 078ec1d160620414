/** One call of Berth in a process that was just started, as the command makes it: prints its milliseconds. */
import process from 'node:process';
import { readListeners } from '../dist/haproxy/binds.js';
import { readConfiguration } from '../dist/haproxy/config.js';
import { openKernel } from '../dist/kernel/kernel.js';
import { raiseDescriptorLimit } from '../dist/kernel/system.js';
import { verify } from '../dist/reload/verify.js';

const [task = '', input = '{}'] = process.argv.slice(2);
const given = JSON.parse(input);

const endpoint = (/** @type {number} */ port) => ({
  kind: /** @type {const} */ ('inet'),
  transport: /** @type {const} */ ('tcp'),
  family: /** @type {const} */ (4),
  address: '127.0.0.1',
  port,
  v6only: false,
  transparent: false,
});
const endpoints = (/** @type {number} */ first, /** @type {number} */ count) =>
  Array.from({ length: count }, (_, index) => endpoint(first + index));

const kernel = await openKernel(given.netns === undefined ? {} : { netns: given.netns });
raiseDescriptorLimit();

/** @type {Record<string, () => Promise<number>>} */
const tasks = {
  /** Guards of `count` endpoints, `batch` at once: made and closed. */
  async probe() {
    const { first, count, batch } = given;
    const batches = [];
    for (let done = 0; done < count; done += batch)
      batches.push(endpoints(first + done, Math.min(batch, count - done)));
    const begin = performance.now();
    for (const some of batches) {
      const results = await kernel.probe(some, { keep: true });
      if (results.some(({ outcome }) => outcome !== 'free')) throw new Error('an endpoint is not free');
      kernel.close(results.map(({ guard }) => guard ?? -1));
    }
    return performance.now() - begin;
  },

  /** Is each of `count` listeners in LISTEN and held by `pid`? */
  async verify() {
    const { pid, first, count } = given;
    const process = await kernel.process(pid);
    if (!process) throw new Error(`no process ${pid}`);
    const expected = endpoints(first, count).map((one) => ({
      bind: { endpoint: one, section: 'lb', place: { file: '', line: 0 } },
      inodes: [],
    }));
    const begin = performance.now();
    const { served } = await verify(kernel, process, /** @type {any} */ (expected), true);
    const took = performance.now() - begin;
    if (served !== count) throw new Error(`${served} of ${count} listeners served`);
    return took;
  },

  /** Every TCP socket, and from each row its port and inode. */
  async snapshot() {
    const begin = performance.now();
    const table = await kernel.snapshot({ silent: false });
    let sum = 0;
    for (let i = 0; i < table.length; i++) sum += table.localPort(i) + table.inode(i);
    const took = performance.now() - begin;
    if (table.length < given.atLeast || sum === 0) throw new Error(`${table.length} sockets`);
    return took;
  },

  /** All listeners of a configuration. */
  async read() {
    const begin = performance.now();
    const { listeners } = await readAll(given.file, given.version);
    const took = performance.now() - begin;
    if (listeners.binds.length !== given.count) throw new Error(`${listeners.binds.length} listeners read`);
    return took;
  },
};

/** @param {string} file @param {{ major: number, minor: number, text: string }} version */
function readAll(file, version) {
  const configuration = readConfiguration([file], { environment: {}, version, features: [], maxBytes: 1 << 30 });
  return Promise.resolve({ listeners: readListeners(configuration) });
}

const work = tasks[task];
if (!work) throw new Error(`no task ${task}`);
// As in every command, which looks around before it does anything.
await kernel.boundSockets();
process.stdout.write(`${await work()}\n`);
await kernel.closeNamespace();
