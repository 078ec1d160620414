/** The model of `berth advise`: its formulas, its limits, and what it makes of a look at a host. */
import { readFileSync } from 'node:fs';
import fc from '../support/fast-check.js';
import { describe, expect, it } from 'vitest';
import { advise } from '../../src/advise/advise.js';
import { fewestServers, largestLoad, loss, losses } from '../../src/advise/erlang.js';
import { inputsSchema, readInputs, type GivenInputs } from '../../src/advise/inputs.js';
import { busyShares, holdTime, loadsOf, roomOf, survival } from '../../src/advise/model.js';
import { countParity, parsePlaces } from '../../src/advise/places.js';
import { parsePorts } from '../../src/model/ports.js';

describe("Erlang's loss formula", () => {
  it.each([
    // Tables of teletraffic theory: load, servers, loss.
    [1, 1, 0.5],
    [1, 2, 0.2],
    [5, 10, 0.018385],
    [10, 10, 0.214582],
    [100, 100, 0.0757],
    [0, 5, 0],
    [0, 0, 1],
    [3, 0, 1],
  ])('%d connections on %d ports', (load, servers, expected) => {
    expect(loss(load, servers)).toBeCloseTo(expected, 4);
  });

  it('many numbers of servers in one pass are as one by one', () => {
    expect(losses(7, [3, 9, 30])).toEqual([loss(7, 3), loss(7, 9), loss(7, 30)]);
  });

  it('does not overflow, and is dry where there is more than room', () => {
    expect(loss(20_000, 60_000)).toBe(0);
    expect(loss(60_000, 28_000)).toBeCloseTo(1 - 28_000 / 60_000, 3);
  });

  it('largest load and fewest servers are each the other way round', () => {
    expect(largestLoad(100, 0.0757)).toBeCloseTo(100, 0);
    expect(fewestServers(100, 0.0758)).toBe(100);
    expect(largestLoad(0, 0.1)).toBe(0);
    expect(fewestServers(0, 0.1)).toBe(0);
  });
});

const base: GivenInputs = {
  range: { first: 20_000, last: 20_999 },
  listeners: 0,
  ports: '20000-20999',
  rate: 250,
  lifetime: 1,
  timeWait: 0,
  destinations: 1,
};
const busy = (over: GivenInputs) => advise({ ...base, ...over }).busy;

describe('which ports are held', () => {
  it('the parity of the first port of the range comes first', () => {
    expect(busy({})).toMatchObject({ first: expect.closeTo(0.5, 6) as number, second: 0, firstParity: 'even' });
    expect(busy({ range: { first: 20_001, last: 21_000 } }).firstParity).toBe('odd');
  });

  it('destinations share ports with each other', () => {
    expect(busy({ rate: 400, destinations: 8 }).first).toBeCloseTo(1 - 0.9 ** 8, 4);
    expect(busy({ rate: 400, destinations: [{ count: 8, share: 1 }] })).toEqual(busy({ rate: 400, destinations: 8 }));
  });

  it('a destination that finds no port of the first parity goes on to the other', () => {
    const { first, second } = busy({ rate: 700 });
    expect(first * 500 + second * 500).toBeCloseTo(700, 3);
    expect(first).toBeGreaterThan(0.98);
  });

  it('bind(2) before connect(2) takes the other parity', () => {
    expect(busy({ binding: 'bind', destinations: 10 })).toMatchObject({
      first: expect.closeTo(0, 6) as number,
      second: expect.closeTo(0.5, 6) as number,
    });
  });

  it('of an odd number of ports the last is never given', () => {
    const room = roomOf(readInputs({ ...base, range: { first: 20_000, last: 20_010 }, ports: '20010' }));
    expect(room).toMatchObject({ size: 10, free: { first: 5, second: 5 }, inside: { first: 0, second: 0 } });
  });

  it('TIME_WAIT counts a minute', () => {
    expect(holdTime(readInputs({ ...base, lifetime: 2, timeWait: 0.5 }))).toBe(32);
  });

  it('never more than all, never less than nothing, and the more the more connections there are', () => {
    const inputs = fc.record({
      rate: fc.double({ min: 0, max: 2000, noNaN: true }),
      lifetime: fc.double({ min: 0, max: 100, noNaN: true }),
      timeWait: fc.double({ min: 0, max: 1, noNaN: true }),
      destinations: fc.integer({ min: 1, max: 50 }),
      listeners: fc.integer({ min: 0, max: 60_000 }),
      binding: fc.constantFrom('connect' as const, 'bind' as const),
      lead: fc.double({ min: 0, max: 200, noNaN: true }),
    });
    fc.assert(
      fc.property(inputs, (given) => {
        const { without, reservation, everything, range } = advise({
          ...given,
          range: { first: 30_000, last: 32_999 },
        });
        expect(without.held).toBeGreaterThanOrEqual(0);
        expect(without.held).toBeLessThanOrEqual(range.exposed + 1e-9);
        expect(reservation.held).toBeLessThanOrEqual(without.held + 1e-9);
        expect(everything.held).toBe(0);
        const more = advise({ ...given, rate: given.rate * 1.5, range: { first: 30_000, last: 32_999 } });
        expect(more.without.held).toBeGreaterThanOrEqual(without.held - 1e-9);
      }),
      { numRuns: 60 },
    );
  });
});

describe('where listeners are', () => {
  it('lists, ranges, weights, lbagent', () => {
    expect(parsePlaces('80=1,443=3')).toEqual([
      { first: 80, last: 80, weight: 0.25 },
      { first: 443, last: 443, weight: 0.75 },
    ]);
    expect(parsePlaces('lbagent')).toEqual([{ first: 1, last: 65_535, weight: 1 }]);
    expect(parsePlaces('1-10,20').map(({ weight }) => weight)).toEqual([10 / 11, 1 / 11]);
  });

  it.each(['', '0', '80=x', '9-8', '65536', '80=0', 'lbagents', '80;90'])('refuses %j', (text) => {
    expect(() => parsePlaces(text)).toThrow(/does not say where/);
  });

  it('counts parities', () => {
    expect([countParity(parsePorts('2-5,9'), 0), countParity(parsePorts('2-5,9'), 1)]).toEqual([2, 3]);
    expect(countParity(parsePorts('0-65535'), 0)).toBe(32_768);
  });

  it('listeners take ports from connections, known ones exactly', () => {
    const half = roomOf(readInputs({ ...base, listeners: 500 }));
    expect(half.free).toEqual({ first: 250, second: 250 });
    const known = roomOf(readInputs({ ...base, present: '20000-20099,80', foreign: '20500', reserved: '20600' }));
    expect(known.free).toEqual({ first: 448, second: 450 });
    expect(known.foreign).toBeCloseTo(1 / 900, 9);
    expect(advise({ ...base, present: '20000-20999', listeners: 1000 }).exhaustion.failing).toBe(1);
  });

  it('a port out of the range, or reserved, is never held', () => {
    expect(advise({ ...base, ports: '8000-8999' }).without.held).toBe(0);
    expect(advise({ ...base, reserved: '20000-20999' }).without.held).toBe(0);
  });
});

describe('what a reservation leaves', () => {
  const inputs = (over: GivenInputs) => readInputs({ ...base, ...over });
  it.each([
    ['exponential lives', { lifetime: 10 }, 10, Math.exp(-1)],
    ['fixed lives', { lifetime: 10, lifetimes: 'fixed' as const }, 5, 0.5],
    ['TIME_WAIT alone', { lifetime: 0, timeWait: 1 }, 15, 0.75],
    ['TIME_WAIT over', { lifetime: 0, timeWait: 1 }, 61, 0],
    ['lives that end in TIME_WAIT', { lifetime: 60, lifetimes: 'fixed' as const, timeWait: 1 }, 60, 0.5],
  ])('%s', (_, over, seconds, expected) => {
    expect(survival(inputs(over), seconds)).toBeCloseTo(expected, 6);
  });

  it('begins with all of it', () => {
    expect(survival(inputs({ timeWait: 0.3 }), 0)).toBe(1);
    const given = inputs({});
    const room = roomOf(given);
    expect(busyShares(given, room, loadsOf(given, 1), 1)).toEqual(busyShares(given, room, loadsOf(given, 1)));
  });
});

describe('when connections run dry', () => {
  const dry = (over: GivenInputs) => advise({ ...base, ...over }).exhaustion;
  it('at about as many connections as there are ports, of one destination', () => {
    expect(dry({}).perDestination).toBe(1000);
    expect(dry({}).rate).toBeCloseTo(largestLoad(1000, 0.001), 0);
    expect(dry({ destinations: 4 }).rate).toBeCloseTo(4 * largestLoad(1000, 0.001), -1);
    expect(dry({ rate: 1200 }).failing).toBeCloseTo(loss(1200, 1000), 9);
  });

  it('lifetimes and listeners to go', () => {
    const { lifetime = 0, listeners = 0 } = dry({});
    expect(advise({ ...base, lifetime }).exhaustion.failing).toBeCloseTo(0.001, 4);
    expect(advise({ ...base, listeners }).exhaustion.failing).toBeLessThanOrEqual(0.00101);
    expect(advise({ ...base, listeners: listeners + 5 }).exhaustion.failing).toBeGreaterThan(0.001);
  });

  it('tcp_tw_reuse gives ports back after a second', () => {
    expect(dry({ timeWait: 1, timeWaitReuse: true }).load).toBe(500);
    expect(dry({ timeWait: 1 }).load).toBe(250 * 61);
  });
});

describe('advice', () => {
  const lines = (over: GivenInputs) => advise({ ...base, ...over }).advice.filter(({ changes }) => changes);
  it('a range beside the listeners, where there is one', () => {
    const [range] = advise({ ports: '30000-39999' }).advice;
    expect(range).toMatchObject({ line: 'net.ipv4.ip_local_port_range = 40000 65535', changes: true });
    expect(advise({ ports: '8000-8999' }).advice[0]).toMatchObject({ changes: false });
    expect(advise({}).advice[0]).toMatchObject({ line: 'net.ipv4.ip_local_port_range = 32768 60999', changes: false });
  });

  it('a wider one, where there is none and what is left is too small', () => {
    expect(advise({ listeners: 40_000, rate: 2000, destinations: 10 }).advice[0]).toMatchObject({
      line: 'net.ipv4.ip_local_port_range = 10240 65535',
    });
  });

  it("Berth's own settings where they matter", () => {
    expect(lines({ own: 0.5 }).map(({ line }) => line)).toContain('conflicts: { share: all }');
    expect(lines({ listeners: 600 }).map(({ line }) => line)).toContain('reserve: { maxShare: 0.7 }');
  });

  it('all six tunables, and the delay grows with the listeners', () => {
    const six = (listeners: number) => advise({ listeners }).advice.filter(({ file }) => file === 'lbagent.conf');
    expect(six(2000).map(({ changes }) => changes)).toEqual([false, false, false, false, false, false]);
    expect(six(20_000).find(({ changes }) => changes)?.line).toBe('api_run_delay_milliseconds = 1000');
  });
});

describe('hosts and days', () => {
  it('as many as there are', () => {
    const one = advise({ ...base, creations: 10 }).without;
    expect(one.perDay).toBeCloseTo(2.5, 4);
    const { without, everything } = advise({ ...base, creations: 10, hosts: 1000, foreign: '20001' });
    expect(without.outagesPerDay).toBe(without.perDayAllHosts);
    expect(everything).toMatchObject({ held: 0, foreign: 0.001, outagesPerDay: 0 });
    expect(everything.perDayAllHosts).toBeCloseTo(10, 9);
  });
});

describe('inputs', () => {
  it.each([
    [{ rate: -1 }, 'rate'],
    [{ destinations: [{ count: 1, share: 0.4 }] }, 'destinations'],
    [{ range: { first: 5, last: 4 } }, 'range'],
    [{ ports: 'x' }, 'ports'],
    [{ reserved: '1-' }, 'reserved'],
    [{ what: 1 }, 'what'],
    ['text', 'inputs'],
  ])('%j is refused by name', (given, name) => {
    expect(() => readInputs(given)).toThrow(new RegExp(`advise cannot work with what was given: .*${name}`));
  });

  it('docs/advise.md lists them all, with their defaults', () => {
    const page = readFileSync(new URL('../../docs/advise.md', import.meta.url), 'utf8');
    const defaults = readInputs({}) as unknown as Record<string, unknown>;
    for (const [key, { description = '' }] of Object.entries(inputsSchema.shape)) {
      const value = JSON.stringify(defaults[key] ?? '').replaceAll('"', '');
      expect(page).toContain(`| \`${key}\` | ${value === '' ? '' : `${value} `}| ${description} |`);
    }
  });
});
