import fc from '../support/fast-check.js';
import { describe, expect, it } from 'vitest';
import * as P from '../../src/model/ports.js';

const aPort = fc.integer({ min: 0, max: 65535 });
const aSet = fc.oneof(
  fc.uniqueArray(aPort, { maxLength: 60 }),
  fc.uniqueArray(fc.integer({ min: 100, max: 160 }), { maxLength: 50 }),
);
const asSet = (ports: readonly number[]) => P.portSet(ports);
const sorted = (ports: Iterable<number>) => [...new Set(ports)].sort((a, b) => a - b);

describe('parsePorts', () => {
  it.each([
    ['', ''],
    ['\n', ''],
    ['80\n', '80'],
    ['443,80', '80,443'],
    ['8000-8010,8005-8020', '8000-8020'],
    ['1,2,3,5', '1-3,5'],
    ['0', '0'],
    ['65535', '65535'],
    ['7-7', '7'],
  ])('reads %j as %j', (text, expected) => expect(P.formatPorts(P.parsePorts(text))).toBe(expected));

  it.each([
    '80,',
    ',80',
    '80-',
    '-80',
    '90-80',
    '65536',
    '80 90',
    '80;90',
    'http',
    '0x50',
    '1.5',
    '+80',
    '80\0',
    '999999',
  ])('refuses %j', (text) =>
    expect(() => P.parsePorts(text)).toThrow(expect.objectContaining({ code: 'BERTH_USAGE' })),
  );

  it('reads what formatPorts writes, and the text is the shortest normal form', () => {
    fc.assert(
      fc.property(aSet, (ports) => {
        const set = asSet(ports);
        expect(P.parsePorts(P.formatPorts(set))).toEqual(set);
        expect([...P.ports(set)]).toEqual(sorted(ports));
        for (const [i, range] of set.ranges.entries()) {
          expect(range[0]).toBeGreaterThan((set.ranges[i - 1]?.[1] ?? -2) + 1);
        }
      }),
    );
  });
});

describe('set arithmetic agrees with plain sets', () => {
  it('union, intersect, difference, has, count, isSubset, equal', () => {
    fc.assert(
      fc.property(aSet, aSet, aPort, (a, b, port) => {
        const [x, y] = [asSet(a), asSet(b)];
        expect([...P.ports(P.union(x, y))]).toEqual(sorted([...a, ...b]));
        expect([...P.ports(P.intersect(x, y))]).toEqual(sorted(a.filter((p) => b.includes(p))));
        expect([...P.ports(P.difference(x, y))]).toEqual(sorted(a.filter((p) => !b.includes(p))));
        expect(P.has(x, port)).toBe(a.includes(port));
        expect(a.every((p) => P.has(x, p))).toBe(true);
        expect(P.count(x)).toBe(a.length);
        expect(P.isSubset(x, y)).toBe(a.every((p) => b.includes(p)));
        expect(P.equal(x, y)).toBe(sorted(a).join() === sorted(b).join());
      }),
    );
  });

  it('refuses what is not a port', () => {
    for (const bad of [-1, 65536, 1.5, Number.NaN]) expect(() => P.portSet([bad])).toThrow(RangeError);
  });

  it('a range of ports', () => {
    expect(P.formatPorts(P.portRange(32768, 60999))).toBe('32768-60999');
    expect(P.portRange(2, 1)).toEqual(P.NO_PORTS);
  });
});

describe('coalesce', () => {
  it('fits, drops no port, and leaves alone what fits', () => {
    fc.assert(
      fc.property(fc.uniqueArray(aPort, { maxLength: 200 }), fc.integer({ min: 11, max: 300 }), (ports, budget) => {
        const set = asSet(ports);
        const fitted = P.coalesce(set, budget);
        expect(P.formatPorts(fitted).length).toBeLessThanOrEqual(budget);
        expect(P.isSubset(set, fitted)).toBe(true);
        if (P.formatPorts(set).length <= budget) expect(fitted).toEqual(set);
      }),
    );
  });

  it('closes the smallest gaps', () => {
    expect(P.formatPorts(P.coalesce(P.parsePorts('10000,10002,10004,20000,30000,40000'), 29))).toBe(
      '10000-10004,20000,30000,40000',
    );
  });

  it('does not join two single ports, which makes no text shorter', () => {
    const set = P.parsePorts('10000,10002,20000-20005,20008-20010');
    expect(P.formatPorts(P.coalesce(set, 23))).toBe('10000,10002,20000-20010');
  });

  it('closes gaps outside the ephemeral range first, because they cost nothing', () => {
    const set = P.parsePorts('1000,2000,3000,40000,40002,40004');
    expect(P.formatPorts(P.coalesce(set, 30, { first: 32768, last: 60999 }))).toBe('1000-3000,40000,40002,40004');
  });

  it('5000 scattered ports fit one page and stay within the range', () => {
    const scattered = P.portSet(Array.from({ length: 5000 }, (_, i) => 32768 + ((i * 7919) % 28232)));
    const fitted = P.coalesce(scattered);
    expect(P.formatPorts(fitted).length).toBeLessThanOrEqual(4095);
    expect(P.isSubset(scattered, fitted)).toBe(true);
    expect(P.count(fitted)).toBeLessThanOrEqual(28232);
  });

  it('needs room for one range', () => {
    expect(() => P.coalesce(P.NO_PORTS, 10)).toThrow(RangeError);
  });
});
