/**
 * What must hold after a fault, whatever it was: HAProxy serves what it served or the new configuration, whole; the next
 * run of Berth brings everything in order and says what it did; and nothing is left behind.
 */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { openStateDir } from '../../../src/reload/state-dir.js';
import { Journal } from '../../../src/reload/journal.js';
import type { RecoveryReport } from '../../../src/reload/reports.js';
import { noLock } from '../state.js';
import { type Change, FOREIGN, type Outcome, type Scene, signalQuietly } from './scene.js';

/** What a case may not end with, in words. */
export class Broken extends Error {}

export interface Aftermath {
  /** Which listeners are served in the end. */
  readonly serves: 'old' | 'new' | 'none';
  readonly recovery: RecoveryReport | undefined;
}

/**
 * Hold everything against what must be, and bring HAProxy back where the fault itself has ended it.
 * @param orphaned the fault may have ended what served: then nothing serves until the next run
 * @throws Broken
 */
export async function expectInOrder(
  scene: Scene,
  change: Change,
  outcome: Outcome,
  { orphaned, before }: { readonly orphaned: boolean; readonly before: ReadonlySet<string> },
): Promise<Aftermath> {
  for (const pid of scene.strays()) signalQuietly(pid, 'SIGCONT');
  await expectNoDescriptors(scene, before);
  const now = await settled(scene, change, orphaned);
  const unfinished = (await journalOf(scene)).unfinished.length > 0;
  if (now === 'both' && !unfinished) throw new Broken('listeners of two generations, and the journal says nothing');
  try {
    await expectAnswers(scene, change, now);
  } catch (error) {
    // What was ended may have been about to go.
    if (!orphaned || (await settled(scene, change, orphaned)) !== 'none') throw error;
  }
  const recovery = await scene.recover();
  if (unfinished && !recovery?.done.length) throw new Broken('the recovery does not say what it did');
  let serves = await settled(scene, change, orphaned);
  if (serves === 'both') throw new Broken(`after the recovery: ${scene.listening().join(' ')}`);
  const failed = outcome.report === undefined;
  if (!failed && recovery?.direction !== 'back' && serves !== 'new' && !orphaned)
    throw new Broken('reported as served, and is not');
  if (serves === 'none' && (change.old.length > 0 || !failed)) {
    await scene.reload(scene.request(change.next));
    serves = await settled(scene, change, false);
    if (serves !== 'new') throw new Broken('the next reload does not serve');
  }
  await expectNothingLeft(scene, change, serves);
  return { serves, recovery };
}

/** Which listeners there are, once they are one of the sets that there may be; what comes up or drains takes a moment. */
async function settled(scene: Scene, change: Change, orphaned: boolean): Promise<'old' | 'new' | 'none' | 'both'> {
  const old = [...change.old].sort();
  const next = [...change.next].sort();
  const both = [...new Set([...old, ...next])].sort();
  for (let tries = 0; ; tries++) {
    const now = scene.listening().join();
    if (now === old.join() && old.length > 0) return 'old';
    if (now === next.join()) return 'new';
    const last = tries === 400;
    if (now === '' && (change.old.length === 0 || (orphaned && scene.strays().length === 0))) return 'none';
    // A Berth that was killed has left the two beside each other, which is for its next run to end.
    if (now === both.join() && tries > 40) return 'both';
    if (last) throw new Broken(`half a state: of ${old.join()} and ${next.join()} there listen ${now || 'none'}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function expectAnswers(scene: Scene, { old, next }: Change, serves: string): Promise<void> {
  for (const listener of serves === 'old' ? old : serves === 'new' ? next : []) await expectAnswer(scene, listener);
}

/** A client gets its answer through this listener. */
async function expectAnswer({ client }: Scene, listener: string): Promise<void> {
  const [host = '', port] = listener.split(':');
  const asking = (async () => {
    const { id } = await client.connect(host, Number(port));
    const { text } = await client.echo(id, 'bye\n');
    await client.drop(id);
    return text;
  })();
  const late = new Promise<string>((resolve) => setTimeout(resolve, 5000, 'nothing within 5 s'));
  const answer = await Promise.race([asking, late]).catch((error: unknown) => String(error));
  if (answer !== 'bye\n') throw new Broken(`${listener} answers ${answer}`);
}

/** Descriptors of this process that the case has opened: sockets, and files of the lab. */
async function expectNoDescriptors(scene: Scene, before: ReadonlySet<string>): Promise<void> {
  const left = await until(() => [...descriptors(scene)].filter((name) => !before.has(name)));
  if (left.length > 0) throw new Broken(`descriptors left open: ${left.join(' ')}`);
}

export function descriptors(scene: Scene): Set<string> {
  const names = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith('socket:') || target.startsWith(scene.lab.directory) ? [target] : [];
    } catch {
      return [];
    }
  });
  return new Set(names);
}

async function journalOf(scene: Scene): Promise<Journal> {
  return Journal.open(scene.lab.path('state/journal'));
}

async function expectNothingLeft(scene: Scene, change: Change, serves: 'old' | 'new' | 'none'): Promise<void> {
  const wanted = serves === 'none' ? 0 : scene.mode === 'standalone' ? 1 : 2;
  const strays = await until(() => (scene.strays().length === wanted ? [] : scene.strays().map(describeProcess)));
  if (strays.length > 0 || scene.strays().length !== wanted)
    throw new Broken(`${wanted} processes are to be left, there are: ${strays.join(', ') || 'none'}`);
  const state = await openStateDir(scene.lab.path('state'), { create: false, lockFile: noLock });
  const holder = state.holder();
  if (holder) throw new Broken(`the lock says pid ${holder.pid}`);
  if ((await journalOf(scene)).unfinished.length > 0) throw new Broken('the journal is unfinished');
  const files = filesLeft(scene, serves);
  if (files.length > 0) throw new Broken(`files left behind: ${files.join(' ')}`);
  await scene.withBerth(async (berth) => {
    const [status, { ours, foreign, lost }] = await Promise.all([berth.status(), berth.reservations()]);
    if (serves !== 'none' && !status.ok) throw new Broken(`status is not ok: ${JSON.stringify(status)}`);
    if (foreign !== FOREIGN || lost !== '')
      throw new Broken(`reserved: ours ${ours}, foreign ${foreign}, lost ${lost}`);
    expectOwnPorts(change, serves, ours);
    const { generations } = await berth.history();
    const serving = generations.filter((generation) => generation.serving);
    if (serving.length !== (serves === 'none' && change.kind === 'first' ? 0 : 1))
      throw new Broken(`${serving.length} generations serve: ${JSON.stringify(generations)}`);
    const odd = generations.filter(({ state: of, serving: yes }) => of === 'staged' || (of === 'serving') !== yes);
    if (odd.length > 0) throw new Broken(`generations in an odd state: ${JSON.stringify(odd)}`);
    if (serves !== 'none' && scene.mode === 'standalone') expectServedFrom(scene, serving[0]?.number ?? 0);
  });
}

/** The contested port of what serves is reserved; besides it at most what was, until the next reload. */
function expectOwnPorts({ old, next, reserved }: Change, serves: 'old' | 'new' | 'none', ours: string): void {
  const ephemeral = (listeners: readonly string[]) =>
    listeners.map((name) => name.split(':')[1] ?? '').filter((port) => Number(port) >= 32_768);
  const needed = serves === 'none' ? [] : ephemeral(serves === 'old' ? old : next);
  const allowed = new Set([...portsOf(reserved), ...ephemeral(serves === 'new' ? next : old)]);
  const ports = portsOf(ours);
  const missing = needed.filter((port) => !ports.includes(port));
  const odd = ports.filter((port) => !allowed.has(port));
  if (missing.length + odd.length > 0)
    throw new Broken(`of our ports ${missing.join()} are not reserved, ${odd.join()} still are`);
}

function portsOf(list: string): string[] {
  return list.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return range === '' ? [] : Array.from({ length: last - first + 1 }, (_, at) => String(first + at));
  });
}

function expectServedFrom(scene: Scene, generation: number): void {
  const [pid = 0] = scene.strays();
  const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  if (!argv.includes(`/generations/${generation}/`))
    throw new Broken(`generation ${generation} is published, ${argv} runs`);
  const named = readFileSync(scene.lab.path('state/run/haproxy.pid'), 'utf8').trim();
  if (named !== String(pid)) throw new Broken(`the pid file names ${named}, ${pid} serves`);
}

/** Whatever is in the state directory and is not to be there between two runs. */
function filesLeft(scene: Scene, serves: 'old' | 'new' | 'none'): string[] {
  const state = scene.lab.path('state');
  const aside = readdirSync(state, { recursive: true, encoding: 'utf8' }).filter((path) =>
    /\.(new|berth|staging|removing|tmp|bak)$/.test(path),
  );
  const standing =
    scene.mode === 'standalone' ? /^(haproxy\.pid|\d+\.stats)$/ : /^(haproxy\.pid|worker\.stats|master)$/;
  const run = readdirSync(`${state}/run`).filter((name) => !standing.test(name));
  const stats = readdirSync(`${state}/run`).filter((name) => /^\d+\.stats$/.test(name));
  // Those of the generations that are kept may be rolled back to; they go with them.
  const most = serves === 'none' ? 0 : scene.settings.dataPreserveN + 2;
  return [...aside, ...run, ...(stats.length > most ? stats : [])];
}

async function until(look: () => string[]): Promise<string[]> {
  for (let tries = 0; ; tries++) {
    const left = look();
    if (left.length === 0 || tries === 300) return left;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function describeProcess(pid: number): string {
  try {
    return `[${pid}] ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`;
  } catch {
    return `[${pid}]`;
  }
}
