/**
 * One load-balancer host as Cloudpods' lbagent keeps it in VPC mode, in namespaces of its own: a veth pair, listeners on
 * the outer address, servers behind the inner one. HAProxy reaches the servers through the same pair, so the kernel
 * gives every connection that HAProxy opens the *listeners' own address* as its source, and an ephemeral port.
 *
 * This file must run inside fresh network, pid and mount namespaces (see main.mjs); clients and servers live there,
 * HAProxy lives in one more network namespace. Everything ends with the pid namespace.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { ask, heard, must, worker } from './run.mjs';

export const OUTER = '169.254.0.101';
export const INNER = '169.254.0.100';
/** The port of the incident: inside the kernel's default ephemeral range 32768–60999. */
export const FRESH_PORT = 58824;

const FIRST_SERVER_PORT = 2774;
const SERVER_PORTS = Array.from({ length: 20 }, (_, index) => FIRST_SERVER_PORT + index);
const PER_BALANCER = 10;
const EPHEMERAL = '32768 60999';

/** Ports of the listeners that are there from the start: blocks of ten, one per load balancer, spread over 30000–57999. */
export function listenerPorts(/** @type {number} */ count) {
  const balancers = Math.ceil(count / PER_BALANCER);
  const stride = Math.floor(28000 / balancers);
  return Array.from({ length: count }, (_, i) => 30000 + Math.floor(i / PER_BALANCER) * stride + (i % PER_BALANCER));
}

/** Names are UUIDs, as in lbagent, and the same in every run. */
function uuid(/** @type {string} */ seed) {
  const hex = createHash('sha256').update(seed).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-');
}

function section(/** @type {number} */ port, /** @type {number} */ index) {
  const server = SERVER_PORTS[index % SERVER_PORTS.length] ?? FIRST_SERVER_PORT;
  const name = uuid(`listener ${port}`);
  return `listen ${name}
    bind ${OUTER}:${port}
    mode tcp
    default_backend backends_listener-${name}

backend backends_listener-${name}
    mode tcp
    balance roundrobin
    server ${uuid(`server ${index}`)} ${INNER}:${server} weight 1
`;
}

const globalSection = (/** @type {string} */ run) => `global
    maxconn 4096
    stats socket ${run}/haproxy.sock mode 600 level admin expose-fd listeners

defaults
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h

listen stats
    bind :778
    mode http
    stats enable
    stats uri /
`;

/**
 * Write one generation in lbagent's layout: `00-haproxy.cfg` and one file per load balancer.
 * @param {string} directory
 * @param {string} run directory of pid file and stats socket
 * @param {number[]} ports
 */
function writeGeneration(directory, run, ports) {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, '00-haproxy.cfg'), globalSection(run));
  for (let at = 0; at < ports.length; at += PER_BALANCER) {
    const text = ports.slice(at, at + PER_BALANCER).map((port, index) => section(port, at + index));
    writeFileSync(join(directory, `${uuid(`balancer ${at}`)}.cfg`), text.join('\n'));
  }
}

/**
 * @param {{ directory: string, listeners: number, haproxy: string }} options
 */
export async function openLab({ directory, listeners, haproxy }) {
  const log = (/** @type {string} */ name) => join(directory, name);
  const runDir = join(directory, 'run');
  const current = join(directory, 'configs', 'haproxy.conf.d');
  mkdirSync(runDir, { recursive: true });

  const host = spawn('unshare', ['--net', 'sleep', 'infinity'], { stdio: 'ignore' });
  const netns = `/proc/${host.pid}/ns/net`;
  const own = readlinkSync('/proc/self/ns/net');
  while (readlinkSync(netns) === own) await sleep(5);
  const inside = ['nsenter', `--net=${netns}`];
  const shell = (/** @type {string} */ script, prefix = inside) =>
    must([...prefix, 'sh', '-ec', script], log('network'));

  await shell(
    `ip link set lo up
     ip link add inner type veth peer name outer netns ${host.pid}
     ip addr add ${INNER}/24 dev inner
     ip link set inner up`,
    [],
  );
  await shell(
    `ip link set lo up
     ip addr add ${OUTER}/24 dev outer
     ip link set outer up
     echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind
     echo ${EPHEMERAL} > /proc/sys/net/ipv4/ip_local_port_range`,
  );

  const ports = listenerPorts(listeners);
  const before = join(directory, 'configs', '20260101.000000.000');
  const after = join(directory, 'configs', '20260101.000100.000');
  writeGeneration(before, runDir, ports);
  writeGeneration(after, runDir, [...ports, FRESH_PORT]);

  const backend = worker('backend.mjs');
  backend.send({ address: INNER, ports: SERVER_PORTS });
  await heard(backend, (message) => message.ready);
  const clients = worker('load.mjs');

  return {
    netns,
    inside,
    haproxy,
    ports,
    log,
    clients,
    pidFile: join(runDir, 'haproxy.pid'),
    statsSocket: join(runDir, 'haproxy.sock'),
    /** What `-C` and `-f` are given: lbagent's symlink to the generation in use. */
    current,
    /** lbagent's own way: remove and link anew. */
    publish: (/** @type {'before' | 'after'} */ which) => {
      rmSync(current, { force: true });
      symlinkSync(which === 'before' ? before : after, current);
    },
    pid: () => Number.parseInt(readFileSync(join(runDir, 'haproxy.pid'), 'utf8'), 10),
    watcher: () => worker('watch.mjs', inside),
    /**
     * The seeded conflict: a client's long connection through the first listener, whose other half, HAProxy's own
     * connection to the server, gets exactly {@link FRESH_PORT}, because for this moment the kernel has no other to give.
     */
    seedConflict: async () => {
      await shell(`echo ${FRESH_PORT} ${FRESH_PORT} > /proc/sys/net/ipv4/ip_local_port_range`);
      const { source } = await ask(clients, { do: 'hold', address: OUTER, port: ports[0] });
      await shell(`echo ${EPHEMERAL} > /proc/sys/net/ipv4/ip_local_port_range`);
      if (source !== FRESH_PORT)
        throw new Error(`the seeded connection got port ${source} instead of ${FRESH_PORT}: nothing to replay`);
      return (await must([...inside, 'ss', '-tnHp', `sport = :${FRESH_PORT}`], log('conflict'))).stdout;
    },
    holdMore: async (/** @type {number} */ count) => {
      for (let index = 1; index <= count; index += 1)
        await ask(clients, { do: 'hold', address: OUTER, port: ports[(index * 7) % ports.length] });
    },
  };
}

/** @typedef {Awaited<ReturnType<typeof openLab>>} Lab */

/** Whether a process is HAProxy, by the rule of lbagent. */
export function isHAProxy(/** @type {number} */ pid) {
  try {
    return pid > 0 && readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'haproxy';
  } catch {
    return false;
  }
}

export function kill(/** @type {number} */ pid, /** @type {NodeJS.Signals} */ signal) {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended already.
  }
}
