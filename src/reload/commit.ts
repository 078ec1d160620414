/** From a proven HAProxy to a finished reload; also the way forward for a reload that was cut off after its commit. */
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { BerthError, systemCause } from '../errors.js';
import type { PortSet } from '../model/ports.js';
import { formatPorts } from '../model/ports.js';
import type { ReloadContext } from './context.js';
import { readRegularFile, removeQuietly, stateWriteError } from './files.js';
import { type Generation, servingNumber } from './generations.js';
import { isAlive } from './prove.js';
import { prune } from './prune.js';
import { markGood, publish } from './publish.js';
import { releaseReservations } from './reserve.js';
import { type ServingProcess, rememberProcess } from './serving.js';

/** Where the pid of the serving HAProxy stands: the user's own file, or ours. */
export function pidFileOf(context: Pick<ReloadContext, 'settings' | 'state'>): string {
  return context.settings.haproxy.pidFile ?? context.state.socket('haproxy.pid');
}

/** Put a pid into its file by rename(2), so that whoever reads it sees one whole pid. */
export function writePidFile(path: string, pid: number): void {
  replacePidFile(path, `${pid}\n`);
}

/**
 * How to put the pid file back as it is now. Its directory may be HAProxy's own user's: what stands there by then is
 * replaced, never written to, since it may be a symlink to any file of root's.
 */
export function pidFileAsItIs(path: string): () => void {
  const before = contentOf(path);
  return () => {
    if (before === undefined) rmSync(path, { force: true });
    else replacePidFile(path, before);
  };
}

function replacePidFile(path: string, content: string | Buffer): void {
  const aside = `${path}.berth`;
  try {
    rmSync(aside, { force: true });
    writeFileSync(aside, content, { mode: 0o644, flag: 'wx' });
    renameSync(aside, path);
  } catch (error) {
    removeQuietly(aside);
    throw stateWriteError(error, 'write the pid file', path);
  }
}

/** Nothing is there that could be put back. */
const NOT_THERE: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ENXIO', 'ELOOP', 'EACCES', 'EPERM']);
/** Larger, or anything but a file: no pid file of HAProxy's. */
const MOST_BYTES = 64 << 10;

function contentOf(path: string): Buffer | undefined {
  try {
    return readRegularFile(path, MOST_BYTES);
  } catch (error) {
    if (NOT_THERE.has(systemCause(error)?.code ?? '')) return undefined;
    // Out of descriptors: taken for absent it would be removed on the way back.
    throw stateWriteError(error, 'read the pid file', path);
  }
}

/**
 * The new HAProxy is the one that counts: journal, pid file (standalone: a master keeps its own), the generation's mark.
 * Where this fails half way the caller goes back; from its end on the way leads forward only.
 */
export async function commit(
  context: ReloadContext,
  generation: Generation,
  serving: ServingProcess | undefined,
  mode: 'standalone' | 'master-worker',
  listeners: number | undefined,
): Promise<Generation> {
  const pidFile = pidFileOf(context);
  await context.journal.append({ kind: 'committing', pidFile });
  if (serving) {
    if (mode === 'standalone') writePidFile(pidFile, serving.pid);
    rememberProcess(context.state.path, serving);
  }
  // A master that reads the user's own files has nothing published before it is proven.
  if ((await servingNumber(context.state)) !== generation.number) await publish(context.state, generation);
  if (serving && mode === 'standalone' && !(await isAlive(context.kernel, serving))) throw diedBeforeCommit(serving);
  const good = await markGood(generation, new Date(), listeners);
  await context.journal.append({ kind: 'committed' });
  return good;
}

/** The old one has not been told to finish yet, and has lost nothing. */
function diedBeforeCommit({ pid }: ServingProcess): BerthError {
  return new BerthError(
    'BERTH_RELOAD_FAILED',
    `haproxy[${pid}] had all listeners and died before it could be committed; what served before serves`,
    { step: 'commit', advice: 'Look into its log, and try again' },
  );
}

/** Release what no listener needs any more, remove old generations and what the handover left behind. */
export async function tidyUp(
  context: ReloadContext,
  generation: Generation,
  releasable: PortSet,
  previous: number | undefined,
): Promise<PortSet> {
  const released = await releaseReservations(context.kernel, context.ledger, releasable);
  await context.journal.append({ kind: 'released', ports: formatPorts(released) });
  removeRunFiles(context, generation.number);
  const removed = await prune(context.state, context.settings.dataPreserveN, previous === undefined ? [] : [previous]);
  for (const number of removed) rmSync(context.state.socket(`${number}.stats`), { force: true });
  return released;
}

/**
 * The handoff socket and the pid file of one handover; its stats socket lives as long as the HAProxy that answers on it, and
 * goes with one that was `ended`.
 */
export function removeRunFiles(
  context: Pick<ReloadContext, 'state'>,
  generation: number,
  of: 'serving' | 'ended' = 'serving',
): void {
  const names = of === 'serving' ? ['handoff', 'pid'] : ['handoff', 'pid', 'stats'];
  for (const name of names) rmSync(context.state.socket(`${generation}.${name}`), { force: true });
}
