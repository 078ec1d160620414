/**
 * Ends this process when synchronous code hangs, which no timeout of a test can: a second thread looks whether a case is still
 * the same after a while, says which, and kills.
 */
import { Worker } from 'node:worker_threads';

const CODE = `
const { workerData, parentPort } = require('node:worker_threads');
const turn = new Int32Array(workerData.turn);
let what = '', last = -1, since = Date.now();
parentPort.on('message', (text) => { what = text; });
setInterval(() => {
  const now = Atomics.load(turn, 0);
  if (now !== last || now % 2 === 0) { last = now; since = Date.now(); return; }
  if (Date.now() - since < workerData.limitMs) return;
  require('node:fs').writeSync(2, '\\nhangs for ' + workerData.limitMs + ' ms: ' + what + '\\n');
  process.kill(process.pid, 'SIGKILL');
}, 500);
`;

export interface Watchdog {
  /** Run code to its end, `what` being its input for the last words. One at a time. */
  guard<T>(what: () => string, action: () => T): T;
  close(): Promise<unknown>;
}

export function watchdog(limitMs: number): Watchdog {
  const turn = new SharedArrayBuffer(4);
  const counter = new Int32Array(turn);
  const worker = new Worker(CODE, { eval: true, workerData: { turn, limitMs } });
  worker.unref();
  return {
    guard: (what, action) => {
      worker.postMessage(what());
      Atomics.add(counter, 0, 1);
      const done = (): number => Atomics.add(counter, 0, 1);
      try {
        const result = action();
        if (result instanceof Promise) void result.then(done, done);
        else done();
        return result;
      } catch (error) {
        done();
        throw error;
      }
    },
    close: () => worker.terminate(),
  };
}
