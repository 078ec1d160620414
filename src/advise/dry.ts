/** When outgoing connections run dry: EADDRNOTAVAIL, because one destination has a connection on every port there is. */
import { fewestServers, largestLoad, loss } from './erlang.js';
import type { Inputs } from './inputs.js';
import { loadsOf, TIME_WAIT, type Room } from './model.js';

/** A thousandth of the connects that fail counts as dry. */
export const DRY = 0.001;

/** Linux lets connect(2) take a port in TIME_WAIT to the same destination after a second (tcp_twsk_unique, tcp_tw_reuse = 1). */
const REUSED_AFTER = 1;

export interface Exhaustion {
  /** Connections that one destination can have at a time: the ports left for connections. */
  readonly perDestination: number;
  /** Connections that hold a port, of the destination that has the most, on average. */
  readonly load: number;
  /** Share of its connect(2) calls that fail with EADDRNOTAVAIL at present. */
  readonly failing: number;
  /** Connections a second, of all destinations together, from where on a thousandth of that destination's connects fail. */
  readonly rate?: number;
  /** Seconds that they may live at the present rate; absent where no lifetime is short enough. */
  readonly lifetime?: number;
  /** Listeners that there may be at the present rate and lifetime, placed as the present ones; absent: any number. */
  readonly listeners?: number;
}

export function exhaustion(inputs: Inputs, room: Room): Exhaustion {
  const { rate, lifetime, timeWait, timeWaitReuse, binding, listeners } = inputs;
  const ports = room.free.first + room.free.second;
  const waiting = timeWait * (timeWaitReuse ? REUSED_AFTER : TIME_WAIT);
  const hold = lifetime + waiting;
  const all = loadsOf(inputs, hold);
  // A port of a bind(2) before connect(2) is given once, whatever the destination.
  const load =
    binding === 'bind'
      ? all.reduce((sum, one) => sum + one.count * one.load, 0)
      : Math.max(...all.map((one) => one.load));
  const most = largestLoad(ports, DRY);
  const spare = ports - fewestServers(load, DRY);
  // Of one more listener so much lies among the ports that connections can have.
  const inside = room.inside.first + room.inside.second;
  const longest = rate > 0 && load > 0 ? (most / load) * hold - waiting : undefined;
  return {
    perDestination: ports,
    load,
    failing: loss(load, ports),
    ...(load > 0 ? { rate: (rate * most) / load } : {}),
    ...(longest !== undefined && longest >= 0 ? { lifetime: longest } : {}),
    ...(inside > 0 && load > 0 ? { listeners: Math.max(0, Math.floor(listeners + spare / inside)) } : {}),
  };
}
