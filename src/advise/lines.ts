/** What to set, each as a line to paste: the range, Berth's own settings, lbagent's six tunables. */
import { difference, parsePorts, union, type PortSet } from '../model/ports.js';
import { DRY, type Exhaustion } from './dry.js';
import { fewestServers } from './erlang.js';
import type { Inputs } from './inputs.js';
import { holdTime, loadsOf, type Room } from './model.js';
import { parsePlaces } from './places.js';

export interface AdviceLine {
  /** Where the line belongs. */
  readonly file: '/etc/sysctl.d/90-berth.conf' | '/etc/berth/berth.yaml' | 'lbagent.conf';
  readonly line: string;
  readonly why: string;
  /** Whether it differs from what is there, or from the default where that is not known. */
  readonly changes: boolean;
}

/** Below lie the ports of services; the kernel's default begins at 32768. */
const LOWEST = 10_240;

/** As many as the present load needs, twice over, and no fewer. */
const FEWEST_PORTS = 4096;

export function adviceLines(inputs: Inputs, room: Room, exhausted: Exhaustion): AdviceLine[] {
  return [rangeLine(inputs, room, exhausted), ...berthLines(inputs, room), ...lbagentLines(inputs)];
}

/** Ports that one destination's connections need: the model's own, with room for twice the load. */
function needed(inputs: Inputs): number {
  const loads = loadsOf(inputs, holdTime(inputs)).map((one) =>
    inputs.binding === 'bind' ? one.load * one.count : one.load,
  );
  const load = inputs.binding === 'bind' ? loads.reduce((sum, one) => sum + one, 0) : Math.max(...loads);
  return Math.max(FEWEST_PORTS, fewestServers(2 * load, DRY));
}

function rangeLine(inputs: Inputs, room: Room, exhausted: Exhaustion): AdviceLine {
  const { first, last } = inputs.range;
  const needs = needed(inputs);
  const line = (from: number, to: number, why: string): AdviceLine => ({
    file: '/etc/sysctl.d/90-berth.conf',
    line: `net.ipv4.ip_local_port_range = ${from} ${to}`,
    why,
    changes: from !== first || to !== last,
  });
  const enough = exhausted.perDestination >= needs;
  const exposed = room.inside.first + room.inside.second > 0;
  if (!exposed && enough) return line(first, last, 'no listener has its port in it, and it is large enough');
  const gap = freeGap(inputs);
  if (gap !== undefined && gap[1] - gap[0] + 1 >= needs)
    return line(...gap, 'no listener has its port in it, so that nothing needs to be reserved');
  if (enough)
    return line(
      first,
      last,
      'listeners may have any port, so that no range avoids them; a smaller one would hold the same connections on ' +
        'fewer ports. Reserve the listeners (berth reload does)',
    );
  return line(LOWEST, 65_535, 'listeners may have any port, and what they leave of the present range is too small');
}

/** The largest piece of the port space without listeners, even at its begin so that connect(2) leaves the odd ports for last. */
function freeGap(inputs: Inputs): readonly [number, number] | undefined {
  const listeners: PortSet = {
    ranges: parsePlaces(inputs.ports).flatMap(({ first, last, weight }) => (weight > 0 ? [[first, last]] : [])),
  };
  const used = [listeners, parsePorts(inputs.present ?? ''), parsePorts(inputs.foreign)].reduce(union);
  const gaps = difference({ ranges: [[LOWEST, 65_535]] }, used).ranges;
  const [largest] = [...gaps].sort(([a, b], [c, d]) => d - c - (b - a));
  return largest && [largest[0] + (largest[0] % 2), largest[1]];
}

function berthLines({ own }: Inputs, room: Room): AdviceLine[] {
  const file = '/etc/berth/berth.yaml';
  const taken = 1 - (room.free.first + room.free.second) / room.size;
  return [
    ...(own < 0.999
      ? [
          {
            file,
            line: 'conflicts: { share: all }',
            why: `${Math.round((1 - own) * 100)} % of the connections are of other programs than HAProxy; their ports are not shared by default`,
            changes: true,
          } as const,
        ]
      : []),
    ...(taken > 0.45
      ? [
          {
            file,
            line: `reserve: { maxShare: ${Math.min(0.9, Math.ceil(taken * 10 + 1) / 10)} }`,
            why: `listeners take ${Math.round(taken * 100)} % of the range, and more than half is refused by default`,
            changes: true,
          } as const,
        ]
      : []),
  ];
}

/** HAProxy 2.6 reads so many in a second, from one file. */
const A_SECOND_OF_LISTENERS = 20_000;

/** lbagent's own defaults but for the delay: each with the reason why it stays. */
function lbagentLines({ listeners }: Inputs): AdviceLine[] {
  const delay = listeners <= 2000 ? 10 : Math.round((1000 * listeners) / A_SECOND_OF_LISTENERS / 10) * 10;
  const pages = Math.max(1, Math.ceil(listeners / 1024));
  const values: readonly (readonly [option: string, value: number, fallback: number, why: string])[] = [
    ['api_lbagent_hb_interval', 10, 10, 'a heartbeat costs nothing; a reload does not hold it up'],
    [
      'api_lbagent_hb_timeout_relaxation',
      120,
      120,
      'far longer than a reload with its wait for held ports (conflicts.wait.deadlineMs, 5 s)',
    ],
    ['api_sync_interval_seconds', 10, 10, 'a listener that was left out is tried again so often'],
    [
      'api_run_delay_milliseconds',
      delay,
      10,
      delay === 10
        ? 'a reload is shorter than people notice; nothing is won by waiting for more changes'
        : `about as long as a reload of ${listeners} listeners takes: changes of that time make one reload, and one draining process, instead of several`,
    ],
    ['api_list_batch_size', 1024, 1024, `${pages} ${pages === 1 ? 'page' : 'pages'} for ${listeners} listeners`],
    ['data_preserve_n', 8, 8, 'the way back for a few changes; 0 would keep all for ever'],
  ];
  return values.map(([option, value, fallback, why]) => ({
    file: 'lbagent.conf',
    line: `${option} = ${value}`,
    why,
    changes: value !== fallback,
  }));
}
