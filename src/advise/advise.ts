/**
 * `berth advise` as a pure function: what a host is like, and what follows. The formulas stand in docs/advise.md, and
 * test/trust/advise*.test.ts holds them against experiments.
 */
import { exhaustion, type Exhaustion } from './dry.js';
import { readInputs, type GivenInputs, type Inputs } from './inputs.js';
import { busyShares, holdTime, loadsOf, roomOf, survival, TIME_WAIT, type Halves } from './model.js';
import { adviceLines, type AdviceLine } from './lines.js';

/** What the experiments allow: the larger of a tenth of the predicted share and half a port of a hundred. */
export const MODEL_ERROR = { relative: 0.1, absolute: 0.005 } as const;

/** What a measurement adds to the inputs. */
export interface Measured {
  /** Seconds between the two looks. */
  readonly seconds: number;
  /** Outgoing connections that held a port at the second look, TIME_WAIT among them. */
  readonly held: number;
  /** Share of the free ports of each half that the looks found held; the model's counterpart is `busy`. */
  readonly seen: Halves;
}

export interface Chance {
  /** Chance that a new listener's port is held by an outgoing connection, and that listener is not served at once. */
  readonly held: number;
  /** Chance that another program listens on it; nothing but another port helps. */
  readonly foreign: number;
  /** New listeners a day that meet either, on one host. */
  readonly perDay: number;
  /** The same over all hosts. */
  readonly perDayAllHosts: number;
  /** Chance that a day passes on all hosts without one. */
  readonly quietDay: number;
  /** Outages of all listeners of a host that follow, a day, over all hosts: lbagent kills HAProxy where a reload fails. */
  readonly outagesPerDay: number;
}

export interface AdviceReport {
  readonly source: 'given' | 'measured';
  readonly inputs: Inputs;
  readonly measured?: Measured;
  readonly range: {
    readonly size: number;
    /** What is left for outgoing connections when the ports of all listeners are reserved; expected where not measured. */
    readonly free: number;
    readonly freeShare: number;
    /** Chance that a new listener's port is one that connections can be given. */
    readonly exposed: number;
  };
  /** Connections that hold a port at a time, and for how long each. */
  readonly connections: { readonly held: number; readonly seconds: number; readonly timeWait: number };
  /** Share held of the free ports of the parity that connect(2) takes first, and of the other. */
  readonly busy: Halves & { readonly firstParity: 'even' | 'odd' };
  readonly without: Chance;
  readonly reservation: Chance & {
    /** Chance that the port is held still, so many seconds after it was reserved. */
    readonly after: readonly { readonly seconds: number; readonly held: number }[];
  };
  readonly everything: Chance & {
    /** Of the ports that are held: shared with a connection, taken from TIME_WAIT. */
    readonly shared: number;
    readonly released: number;
  };
  readonly exhaustion: Exhaustion;
  /** Of `without.held`: how far it may be off. */
  readonly error: { readonly low: number; readonly high: number; readonly model: number; readonly measurement: number };
  readonly advice: readonly AdviceLine[];
}

/** Seconds after the reservation that the report shows besides `lead`. */
const AFTER = [10, 60, 600] as const;

/** @throws BERTH_USAGE naming what of the inputs is wrong */
export function advise(given: GivenInputs = {}, measured?: Measured): AdviceReport {
  const inputs = readInputs(given);
  const room = roomOf(inputs);
  const hold = holdTime(inputs);
  const loads = loadsOf(inputs, hold);
  const busy = busyShares(inputs, room, loads);
  const heldAfter = (seconds: number) => {
    const { first, second } = busyShares(inputs, room, loads, survival(inputs, seconds));
    return room.inside.first * first + room.inside.second * second;
  };
  const free = room.free.first + room.free.second;
  const held = heldAfter(0);
  const { foreign } = room;
  const waiting = hold === 0 ? 0 : (inputs.timeWait * TIME_WAIT) / hold;
  const exhausted = exhaustion(inputs, room);
  return {
    source: measured === undefined ? 'given' : 'measured',
    inputs,
    ...(measured === undefined ? {} : { measured }),
    range: {
      size: room.size,
      free,
      freeShare: free / room.size,
      exposed: room.inside.first + room.inside.second,
    },
    connections: { held: inputs.rate * hold, seconds: hold, timeWait: waiting },
    busy: { ...busy, firstParity: inputs.range.first % 2 === 0 ? 'even' : 'odd' },
    without: chanceOf(inputs, held, foreign, true),
    reservation: {
      ...chanceOf(inputs, heldAfter(inputs.lead), foreign, true),
      after: AFTER.map((seconds) => ({ seconds, held: heldAfter(seconds) })),
    },
    everything: { ...chanceOf(inputs, 0, foreign, false), shared: held * (1 - waiting), released: held * waiting },
    exhaustion: exhausted,
    error: errorOf(held, measured),
    advice: adviceLines(inputs, room, exhausted),
  };
}

function chanceOf({ creations, hosts }: Inputs, held: number, foreign: number, outage: boolean): Chance {
  // A port that another program listens on is held by no connection: the two exclude each other.
  const refused = Math.min(1, held + foreign);
  const perDay = creations * refused;
  return {
    held,
    foreign,
    perDay,
    perDayAllHosts: perDay * hosts,
    quietDay: Math.exp(-perDay * hosts),
    outagesPerDay: outage ? perDay * hosts : 0,
  };
}

/** Of a look at `held` connections the number itself is off by its root: two standard deviations. */
function errorOf(held: number, measured: Measured | undefined): AdviceReport['error'] {
  const measurement = measured === undefined ? 0 : 2 / Math.sqrt(Math.max(1, measured.held));
  const model = MODEL_ERROR.relative;
  const off = held === 0 ? 0 : Math.max(held * Math.hypot(model, measurement), MODEL_ERROR.absolute);
  return { low: Math.max(0, held - off), high: Math.min(1, held + off), model, measurement };
}
