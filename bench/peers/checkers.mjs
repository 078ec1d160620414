/** Node's usual port checkers, each as its own documentation has it called: can a server have this port? */
import process from 'node:process';
import { createServer } from 'node:net';

/** @typedef {(host: string, port: number) => Promise<boolean>} Check true: it says that the port is free */

/** How many at once: fewer than descriptors, more than one. */
const AT_ONCE = 256;

/** @type {Record<string, () => Promise<Check>>} */
const CHECKERS = {
  'get-port': async () => {
    const { default: getPort, clearLockedPorts } = await import('get-port');
    return async (host, port) => {
      // It remembers what it gave out, and would call it busy.
      clearLockedPorts();
      return (await getPort({ host, port })) === port;
    };
  },
  portfinder: async () => {
    const { default: portfinder } = await import('portfinder');
    return (host, port) =>
      portfinder.getPortPromise({ host, port, stopPort: port }).then(
        (found) => found === port,
        () => false,
      );
  },
  'detect-port': async () => {
    const { detect } = await import('detect-port');
    return async (hostname, port) => (await detect({ port, hostname })) === port;
  },
  'tcp-port-used': async () => {
    // @ts-expect-error: it comes without types.
    const { default: tcpPortUsed } = await import('tcp-port-used');
    return async (host, port) => !(await tcpPortUsed.check(port, host));
  },
  'is-port-reachable': async () => {
    const { default: isPortReachable } = await import('is-port-reachable');
    return async (host, port) => !(await isPortReachable(port, { host }));
  },
  'net.listen': () =>
    Promise.resolve(
      (host, port) =>
        new Promise((resolve) => {
          const server = createServer();
          server.once('error', () => resolve(false));
          server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
        }),
    ),
};

export const NAMES = Object.keys(CHECKERS);

async function checkerOf(/** @type {string} */ name) {
  const check = await CHECKERS[name]?.();
  if (!check) throw new Error(`no checker ${name}`);
  return check;
}

/** So many ports in a row. */
async function time(
  /** @type {string} */ name,
  /** @type {string} */ host,
  /** @type {number} */ first,
  /** @type {number} */ count,
) {
  const check = await checkerOf(name);
  // Its first call pays for what it loads.
  await check(host, 1);
  const ports = Array.from({ length: count }, (_, index) => first + index);
  const begin = performance.now();
  let free = 0;
  for (let at = 0; at < ports.length; at += AT_ONCE) {
    const some = await Promise.all(ports.slice(at, at + AT_ONCE).map((port) => check(host, port)));
    free += some.filter(Boolean).length;
  }
  return { ms: performance.now() - begin, free };
}

/** One port, one checker after the other. */
async function ask(/** @type {string[]} */ names, /** @type {string} */ host, /** @type {number} */ port) {
  /** @type {Record<string, boolean>} */
  const free = {};
  for (const name of names) free[name] = await (await checkerOf(name))(host, port);
  return free;
}

// `node checkers.mjs time NAME HOST FIRST COUNT` prints { ms, free }; `… ask NAME,NAME HOST PORT` prints { NAME: free, … }.
if (process.argv[1] === import.meta.filename) {
  const [, , what, names = '', host = '', first, count] = process.argv;
  const answer =
    what === 'time'
      ? await time(names, host, Number(first), Number(count))
      : await ask(names.split(','), host, Number(first));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
  process.exit();
}
