import { setTimeout as sleep } from 'node:timers/promises';
import type { HAProxy, Kernel, ProcessInfo } from './env.js';
import type { ReloadObserver } from './reports.js';
import { socketsServedBy } from './survey.js';
import { type Expectation, type Verification, describeVerification, verify } from './verify.js';

export interface ProofEnvironment {
  readonly kernel: Kernel;
  readonly haproxy: HAProxy;
  readonly observer: ReloadObserver;
  readonly settleMs: number;
}

export interface Proof {
  readonly verification: Verification;
  /** The process lived through the settle time. */
  readonly alive: boolean;
  readonly repairs: readonly string[];
}

/** HAProxy listens again within one turn of its loop; a loaded machine gets a hundred times that. */
const RESUME_MS = 1000;
const POLL_MS = 5;

/**
 * Is every listener served by this process, and does it stay alive for the settle time? Listeners that are not in LISTEN
 * are resumed by SIGTTIN once: that is the cure for a pause that hit shared sockets (HAProxy src/haproxy.c sig_listen).
 */
export async function prove(
  env: ProofEnvironment,
  process: ProcessInfo,
  expected: readonly Expectation[],
  lenient: boolean,
): Promise<Proof> {
  const repairs: string[] = [];
  const settled = performance.now() + env.settleMs;
  let verification = await verify(env.kernel, process, expected, lenient);
  if (verification.missing.length > 0) {
    const text = `haproxy[${process.pid}] came up with ${describeVerification(verification)}; told it to listen again (SIGTTIN)`;
    repairs.push(text);
    env.observer({ type: 'repair', text });
    verification = await resume(env, process, expected, lenient);
  }
  if (!verification.ok) return { verification, alive: await isAlive(env.kernel, process), repairs };
  const left = settled - performance.now();
  if (left > 0) await sleep(left);
  return { verification, alive: await isAlive(env.kernel, process), repairs };
}

/** What is wrong with a proof that failed, for a message. */
export function describeProof({ alive, verification }: Proof): string {
  return alive ? describeVerification(verification) : 'it died within the settle time';
}

/** SIGTTIN, then look until everything is in LISTEN or the time is up. */
export async function resume(
  env: Pick<ProofEnvironment, 'kernel' | 'haproxy'>,
  process: ProcessInfo,
  expected: readonly Expectation[],
  lenient: boolean,
): Promise<Verification> {
  await env.haproxy.signal(process, 'SIGTTIN');
  const deadline = performance.now() + RESUME_MS;
  for (;;) {
    const verification = await verify(env.kernel, process, expected, lenient);
    if (verification.missing.length === 0 || performance.now() >= deadline) return verification;
    await sleep(POLL_MS);
  }
}

interface Identity {
  readonly pid: number;
  readonly startTicks: string;
}

export async function isAlive(kernel: Pick<Kernel, 'process'>, target: Identity): Promise<boolean> {
  return (await kernel.process(target.pid))?.startTicks === target.startTicks;
}

/**
 * Wait until the process has closed the TCP listeners that it has now (or is gone): it opens no others. False where it still
 * has one after `timeoutMs`.
 */
export async function stopsListening(kernel: Kernel, target: Identity, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  const served = (await isAlive(kernel, target)) ? await socketsServedBy(kernel, target) : [];
  let open = served.filter(({ endpoint }) => endpoint.kind === 'inet' && endpoint.transport === 'tcp');
  while (open.length > 0) {
    if (performance.now() >= deadline) return false;
    await sleep(POLL_MS);
    const held = await kernel.socketsOf(target.pid);
    open = open.filter(({ inode }) => held.has(inode));
  }
  return true;
}

/** Longer than a turn of its loop takes on a loaded machine. */
const HEARS_MS = 1000;

/**
 * Wait until a process that was told to finish listens no more. One that goes on is told once more: a worker of HAProxy 2.2
 * was seen to go on beside the one that its master had started instead. False where it still listens after `patienceMs`.
 */
export async function finishes(
  { kernel, haproxy }: Pick<ProofEnvironment, 'kernel' | 'haproxy'>,
  told: Identity,
  patienceMs: number,
): Promise<boolean> {
  if (await stopsListening(kernel, told, HEARS_MS)) return true;
  await haproxy.signal(told, 'SIGUSR1');
  return stopsListening(kernel, told, patienceMs);
}

/** Of a process that {@link finishes} has said false of. */
export const stillListens = ({ pid }: Identity): string =>
  `haproxy[${pid}] was told to finish (SIGUSR1) and still listens`;

/**
 * End a HAProxy that was started and is not to serve: soft stop first, since it shares the listening sockets and may
 * already have taken a client; killed only where it goes on listening. Of a master it is the workers that listen.
 */
export async function endProcess(env: Pick<ProofEnvironment, 'kernel' | 'haproxy'>, process: Identity): Promise<void> {
  const workers = (await env.kernel.haproxyProcesses()).filter(({ ppid }) => ppid === process.pid);
  await env.haproxy.signal(process, 'SIGUSR1');
  for (const one of [...workers, process])
    if (!(await stopsListening(env.kernel, one, 2000))) await env.haproxy.signal(one, 'SIGKILL');
}
