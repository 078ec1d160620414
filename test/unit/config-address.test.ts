import fc from '../support/fast-check.js';
import { describe, expect, it } from 'vitest';
import { parseBareEndpoint } from '../../src/haproxy/address.js';
import { formatIPv6, parseIP } from '../../src/haproxy/ip.js';

describe('IP addresses', () => {
  it.each([
    ['10.0.0.1', '10.0.0.1'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['FD00:0:0:0:0:0:0:1', 'fd00::1'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['1:0:2:0:3:0:4:0', '1:0:2:0:3:0:4:0'],
    ['0:0:1::', '0:0:1::'],
    ['::ffff:10.0.0.1', '::ffff:10.0.0.1'],
    ['::ffff:a00:1', '::ffff:10.0.0.1'],
    ['::10.0.0.1', '::10.0.0.1'],
    ['64:ff9b::10.0.0.1', '64:ff9b::a00:1'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ])('%s is %s', (text, canonical) => {
    expect(parseIP(text, 0)?.address).toBe(canonical);
  });

  it.each([
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '256.1.1.1',
    '1..2.3',
    '.1.2.3',
    '1.2.3.',
    '1:2',
    ':1',
    '1:',
    ':::',
    '1::2::3',
  ])('%s is none', (text) => {
    expect(parseIP(text, 0)).toBeUndefined();
  });
  it.each([
    '1:2:3:4:5:6:7:8:9',
    '12345::',
    'fe80::1%lo',
    'g::',
    '[::1',
    '[*]',
    '::1.2.3',
    '1:2:3:4:5:6:7:1.2.3.4',
    '::1:1.2.3.4:5',
  ])('%s is none', (text) => {
    expect(parseIP(text, 0)).toBeUndefined();
  });

  it('come out as they went in, written anew', () => {
    const groups = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), {
      minLength: 8,
      maxLength: 8,
    });
    fc.assert(
      fc.property(groups, (values) => {
        const text = formatIPv6(values);
        expect(parseIP(values.map((value) => value.toString(16)).join(':'), 6)?.address).toBe(text);
        expect(parseIP(text, 6)?.address).toBe(text);
      }),
    );
  });
});

describe('bare endpoints', () => {
  it('are addresses with a transport', () => {
    const base = { kind: 'inet', v6only: false, transparent: false };
    expect(parseBareEndpoint('tcp:169.254.0.101:58824')).toEqual([
      { ...base, transport: 'tcp', family: 4, address: '169.254.0.101', port: 58824 },
    ]);
    expect(parseBareEndpoint('udp:[::1]:53')).toEqual([
      { ...base, transport: 'udp', family: 6, address: '::1', port: 53 },
    ]);
    expect(parseBareEndpoint('tcp:*:80')).toEqual([
      { ...base, transport: 'tcp', family: 4, address: '0.0.0.0', port: 80 },
    ]);
    expect(parseBareEndpoint('tcp:10.0.0.1:8000-8010').map(({ port }) => port)).toEqual(
      Array.from({ length: 11 }, (_unused, i) => 8000 + i),
    );
  });

  it.each([
    'tcp',
    'tcp:',
    'tcp:80',
    'tcp:10.0.0.1',
    'tcp:10.0.0.1:0',
    'tcp:10.0.0.1:80x',
    'tcp:a.example:80',
    '10.0.0.1:80',
    'tcp:1.1.1.1:9-8',
    'tcp:10.0.0.1:4294967376',
  ])('refuse %s', (text) => {
    expect(() => parseBareEndpoint(text)).toThrow(`'${text}' is no endpoint`);
  });

  it('are not repeated whole where they are refused', () => {
    const refused = () => parseBareEndpoint(`tcp:${'x'.repeat(100_000)}!:80`);
    expect(refused).toThrow(/^.{1,500}$/s);
  });
});
