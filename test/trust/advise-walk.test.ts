/**
 * 2000 and 20000 listeners, 1 to 1000 hosts: the formulas against the kernel's own choice of ports, walked step by step for
 * each host with a seed of its own.
 */
import { afterAll, describe, expect, it, vi } from 'vitest';
import { advise } from '../../src/advise/advise.js';
import { binomialError, Comparisons } from '../support/advise-lab.js';
import { form } from '../support/figures.js';
import { PortWalk } from '../support/port-walk.js';
import { randomOf } from '../support/random.js';

const table = new Comparisons();
const DEFAULT = { first: 32_768, last: 60_999 };
/** So that a walk over all of it takes no time. */
const NARROW = { first: 32_768, last: 34_815 };
const CREATIONS = 20;

interface Case {
  readonly range: typeof DEFAULT;
  readonly hosts: number;
  readonly listeners: number;
  readonly destinations: number;
  readonly rate: number;
  readonly lifetime: number;
}

const most = form === 'full' ? 1000 : 40;
const CASES: readonly Case[] = [
  ...[1, 10, most].flatMap((hosts) =>
    [2000, 20_000].map((listeners) => {
      return { range: DEFAULT, hosts, listeners, destinations: 20, rate: 25, lifetime: 40 };
    }),
  ),
  // One destination that wants more than the half of the ports, and more than there are.
  { range: NARROW, hosts: 1, listeners: 2000, destinations: 1, rate: 40, lifetime: 40 },
  { range: NARROW, hosts: 1, listeners: 20_000, destinations: 1, rate: 40, lifetime: 40 },
];

vi.setConfig({ testTimeout: 120_000 });

describe('hosts by their numbers', () => {
  it.each(CASES)('$hosts hosts, $listeners listeners, $destinations destinations, $rate a second', (one) => {
    const { range, hosts, listeners, destinations, rate, lifetime } = one;
    let [held, met, states, attempts, failed] = [0, 0, 0, 0, 0];
    for (let host = 0; host < hosts; host++) {
      const { closed, free, random } = portsOfHost(listeners, 1 + host + 1000 * listeners);
      const walk = new PortWalk({ seed: host, range, closed, destinations, rate, lifetime });
      walk.run(5 * lifetime);
      walk.attempts = walk.failed = 0;
      // A host alone tries as often as many together.
      for (let day = 0; day < Math.max(1, 50 / hosts); day++) {
        walk.run(day === 0 ? 1 : lifetime);
        for (let i = 0; i < CREATIONS; i++) if (walk.isHeld(free[Math.floor(random() * free.length)] ?? 0)) met++;
        held += walk.heldPorts() / free.length;
        states++;
      }
      attempts += walk.attempts;
      failed += walk.failed;
    }
    const given = { range, listeners, destinations, rate, lifetime, timeWait: 0, creations: CREATIONS, hosts };
    const { without, exhaustion } = advise(given);
    const name = `${hosts} ${hosts === 1 ? 'host' : 'hosts'}, ${listeners} listeners, ${rate * lifetime} connections, ${range.last - range.first + 1} ports`;
    const tries = states * CREATIONS;
    const agreed = [
      // The states are off by the root of the connections in them.
      table.add(
        `ports held: ${name}`,
        without.held,
        held / states,
        (3.3 * without.held) / Math.sqrt(rate * lifetime * states),
      ),
      table.add(`new listeners on held ports: ${name}`, without.held, met / tries, binomialError(without.held, tries)),
    ];
    if (exhaustion.failing > 0.001) {
      const error = binomialError(failed / attempts, attempts / 1000);
      agreed.push(table.add(`connects that fail: ${name}`, exhaustion.failing, failed / attempts, error));
    }
    expect(agreed).toEqual(agreed.map(() => true));
    expect(without.perDayAllHosts).toBeCloseTo(without.held * CREATIONS * hosts, 9);
  });
});

/** Listeners anywhere, as users of lbagent choose them; and where the next one may be. */
function portsOfHost(listeners: number, seed: number) {
  const random = randomOf(seed);
  const ports = Array.from({ length: 65_535 }, (_, i) => i + 1);
  for (let i = 0; i < listeners; i++) {
    const other = i + Math.floor(random() * (ports.length - i));
    [ports[i], ports[other]] = [ports[other] ?? 0, ports[i] ?? 0];
  }
  return { closed: new Set(ports.slice(0, listeners)), free: ports.slice(listeners), random };
}

afterAll(() =>
  table.record(
    'hosts',
    'What `berth advise` says of many hosts holds for 2000 and for 20000 listeners, on one host and on a thousand.',
    "Predicted against the kernel's choice of ports, walked with seeds; 20 new listeners a host",
  ),
);
