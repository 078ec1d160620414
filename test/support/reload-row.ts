/**
 * One HAProxy, one mode, all families at once: started by Berth, reloaded under a few clients with one listener of each kept,
 * one removed, and one added whose port is busy; then what the kernel's tables say of each.
 */
import { COLLECTOR, FAMILIES, HOST6, PEER6, listening, portOf, refusal } from './families.js';
import type { Family, Role, Setup } from './families.js';
import type { Lab } from './haproxy.js';
import { Incident, PEER, SERVER } from './incident.js';
import { startDatagrams } from './load.js';
import { bindsWrong, clientsOf, listeningSockets, reportsWrong, socketsWrong, toldOf } from './row-checks.js';
import { traceStarts } from './trace.js';

export interface RowOptions extends Setup {
  readonly mode: 'standalone' | 'master-worker';
  /** A file with certificate and key. */
  readonly certificate: string;
}

export interface Cell {
  readonly family: string;
  /** HAProxy's words where it has no such listener; then nothing else was tried. */
  readonly refused?: string;
  /** What was not as promised; empty where all was. */
  readonly wrong: readonly string[];
  /** HAProxy takes over no such socket: it was bound once more beside a guard, as the plan had said. */
  readonly anew: boolean;
  /** HAProxy's master keeps the socket of the removed one, as the reload has said. */
  readonly told: boolean;
  /** Connections or datagrams of clients of the kept listener, about; and those that were refused, reset, hung or lost. */
  readonly clients: number;
  readonly lost: number;
}

export interface Row {
  readonly cells: readonly Cell[];
  /** Of the whole HAProxy: reports, connections that were held, processes. */
  readonly wrong: readonly string[];
}

/** Everything that it starts ends with the test. */
export async function runRow(options: RowOptions): Promise<Row> {
  const { binary, mode, certificate } = options;
  const scene = await Incident.open({ binary: binary.path, listeners: 0 });
  const { lab, client, stranger } = scene;
  await lab.exec('ip', ['addr', 'add', `${HOST6}/64`, 'dev', 'berth0', 'nodad']);
  await lab.execPeer('ip', ['addr', 'add', `${PEER6}/64`, 'dev', 'berth1', 'nodad']);
  // As `berth doctor` advises: who waits at a socket that is bound anew goes over to the new one.
  await lab.exec('sysctl', ['-qw', 'net.ipv4.tcp_migrate_req=1']);
  await lab.startBackend([{ host: PEER6, port: SERVER }]);
  const traced = traceStarts(lab, binary.path);
  const berth = await scene.berthWith({ haproxy: { binary: traced.wrapper, mode } });
  const place = { directory: lab.directory, certificate };
  const write = (families: readonly Family[], ...roles: Role[]) =>
    lab.write('haproxy.cfg', listening(families, roles, place, options));
  // TCP and paths are there in all of them.
  const refusals = new Map(
    FAMILIES.map((family) => [
      family,
      family.transport === 'udp' ? refusal(binary.path, write([family], 'kept')) : undefined,
    ]),
  );
  const families = FAMILIES.filter((family) => refusals.get(family) === undefined);

  const first = await berth.reload([write(families, 'kept', 'removed')]);
  const before = await listeningSockets(lab);
  const bindsBefore = new Set(traced.binds().map(({ at }) => at));
  const held = await holdPorts(scene, families);
  const datagramFamilies = families.filter(({ transport }) => transport === 'udp');
  const strangers = await Promise.all(
    datagramFamilies.map((family) => stranger.udp(family.host, portOf(family, 'added'))),
  );
  const streams = families.flatMap((family) => (family.transport === 'udp' ? [] : targetsOf(family, lab)));
  const load = await lab.startLoad({ targets: streams, rate: 150, held: streams.length, timeoutMs: 10_000 });
  const endDatagrams = await startDatagrams(lab.peerNetns ?? '', {
    targets: datagramFamilies.flatMap((family) => targetsOf(family, lab)),
    collector: { host: PEER, port: COLLECTOR },
  });

  const config = write(families, 'kept', 'added');
  const { plan } = await berth.plan([config]);
  const second = await berth.reload([config]);
  for (const { id } of strangers) await stranger.close(id);
  const third = await berth.reload([config]);
  const wrong = reportsWrong([first, second, third], families);
  for (const family of FAMILIES.filter((each) => !families.includes(each))) {
    const code = await berth.reload([write([...families, family], 'kept', 'added')]).then(
      ({ outcome }) => outcome,
      (error: unknown) => (error as { code?: string }).code,
    );
    if (code !== 'BERTH_CONFIG_REFUSED') wrong.push(`${family.name}, which haproxy -c refuses: ${code}`);
  }
  const after = await listeningSockets(lab);
  const binds = traced.binds().filter(({ at }) => !bindsBefore.has(at));
  const datagrams = await endDatagrams();
  const stream = await load.stop();
  const { open, cut, hung, failed } = stream.held;
  if (open !== streams.length) wrong.push(`held connections: ${JSON.stringify({ open, cut, hung, failed })}`);
  for (const id of held) {
    const { text } = await client.echo(id, 'still here\n');
    if (text !== 'still here\n') wrong.push('a connection on the port of a new listener was cut');
    await client.drop(id);
  }
  await untilAlone(lab, mode);
  const seen = { before, after, binds, mode, serving: third.haproxy.pid };
  const cells = FAMILIES.map((family): Cell => {
    const refused = refusals.get(family);
    if (refused !== undefined)
      return { family: family.name, refused, wrong: [], anew: false, told: false, clients: 0, lost: 0 };
    const kept = plan.keep.find(({ bind: { text } }) => text.includes(String(portOf(family, 'kept'))));
    const anew = kept?.handedOver === false;
    const told = toldOf(family, second);
    return {
      family: family.name,
      anew,
      told,
      wrong: [...socketsWrong(family, { ...seen, anew, told }), ...bindsWrong(family, { ...seen, anew, told })],
      ...clientsOf(targetsOf(family, lab), { stream, datagrams, streams: streams.length }),
    };
  });
  return { cells, wrong };
}

function targetsOf(family: Family, { directory }: Lab): string[] {
  return family.targets(portOf(family, 'kept')).map((target) => target.replace('DIRECTORY', directory));
}

/** A connection of HAProxy's own on the port of each TCP listener that is to come; the clients' ids. */
async function holdPorts(scene: Incident, families: readonly Family[]): Promise<number[]> {
  const held: number[] = [];
  for (const family of families.filter(({ transport }) => transport === 'tcp')) {
    const way = families.find(({ transport, host }) => transport === 'tcp' && host === family.host) ?? family;
    await scene.onlyPort(portOf(family, 'added'), async () => {
      const { id } = await scene.client.connect(way.host, portOf(way, 'kept'));
      // The answer is the proof that HAProxy's side stands too.
      await scene.client.echo(id, 'hello\n');
      held.push(id);
    });
  }
  return held;
}

/** The old ones end with their last connection; they do, or the test ends by its own limit. */
async function untilAlone(lab: Lab, mode: RowOptions['mode']): Promise<void> {
  const count = mode === 'standalone' ? 1 : 2;
  while (lab.haproxies().length > count) await new Promise((resolve) => setTimeout(resolve, 20));
}
