import fc from '../support/fast-check.js';
import { describe, expect, it } from 'vitest';
import { bindConflicts, duplicateBinds } from '../../src/model/conflicts.js';
import { endpointKey, formatEndpoint, isWildcard, overlap, same, v4Mapped } from '../../src/model/endpoint.js';
import type { Bind } from '../../src/model/bind.js';
import { socketEndpoint } from '../../src/model/socket.js';
import { bind, inet, row, unix } from '../support/binds.js';

const v6only = (text: string) => inet(text, { v6only: true });

describe('formatEndpoint', () => {
  it.each([
    [inet('169.254.0.101:58824'), '169.254.0.101:58824/tcp'],
    [inet('[::1]:80'), '[::1]:80/tcp'],
    [inet('[::]:80', { v6only: true }), '[::]:80/tcp v6only'],
    [inet('10.0.0.1%eth0:53/udp'), '10.0.0.1%eth0:53/udp'],
    [inet('[fe80::1]%eth0:80'), '[fe80::1]%eth0:80/tcp'],
    [inet('10.0.0.1:80', { namespace: 'blue' }), '10.0.0.1:80/tcp in namespace blue'],
    [unix('/run/x.sock'), 'unix@/run/x.sock'],
    [unix('name', true), 'abns@name'],
  ])('%#: %j', (endpoint, text) => expect(formatEndpoint(endpoint)).toBe(text));
});

describe('endpointKey and same', () => {
  it('an IPv6 specific address is the same place with and without v6only, a wildcard is not', () => {
    expect(same(inet('[::1]:80'), v6only('[::1]:80'))).toBe(true);
    expect(same(inet('[::]:80'), v6only('[::]:80'))).toBe(false);
  });

  it('tells transport, address, port, device and namespace apart, not transparent', () => {
    const places = [
      inet('10.0.0.1:80'),
      inet('10.0.0.1:80/udp'),
      inet('10.0.0.2:80'),
      inet('10.0.0.1:81'),
      inet('10.0.0.1%a:80'),
      inet('10.0.0.1:80', { namespace: 'a' }),
      unix('/a'),
      unix('/a', true),
    ];
    expect(new Set(places.map(endpointKey)).size).toBe(places.length);
    expect(same(inet('10.0.0.1:80'), inet('10.0.0.1:80', { transparent: true }))).toBe(true);
  });

  it('a row of the socket table is the place of its listener', () => {
    expect(same(socketEndpoint(row('LISTEN', '[fd00::1]:80', undefined, { v6only: true })), inet('[fd00::1]:80'))).toBe(
      true,
    );
    expect(same(socketEndpoint(row('LISTEN', '[::]:80')), inet('[::]:80'))).toBe(true);
    expect(
      same(
        socketEndpoint({ ...row('LISTEN', '10.0.0.1:80'), namespace: 'blue' }),
        inet('10.0.0.1:80', { namespace: 'blue' }),
      ),
    ).toBe(true);
  });
});

it('v4-mapped addresses', () => {
  expect(v4Mapped('::ffff:10.0.0.1')).toBe('10.0.0.1');
  expect(v4Mapped('::ffff:a00:1')).toBe('10.0.0.1');
  expect(v4Mapped('::fffe:a00:1')).toBeUndefined();
  expect(v4Mapped('10.0.0.1')).toBeUndefined();
  expect(isWildcard(inet('[::ffff:0.0.0.0]:80'))).toBe(true);
  expect(isWildcard(inet('[::1]:80'))).toBe(false);
});

describe('overlap, as the kernel answered (holder, probe)', () => {
  it.each([
    ['10.0.0.1:80', '10.0.0.1:80', true],
    ['10.0.0.1:80', '10.0.0.2:80', false],
    ['10.0.0.1:80', '10.0.0.1:81', false],
    ['10.0.0.1:80', '10.0.0.1:80/udp', false],
    ['10.0.0.1:80', '0.0.0.0:80', true],
    ['10.0.0.1:80', '[::]:80', true],
    ['10.0.0.1:80', '[::]:80 v6only', false],
    ['10.0.0.1:80', '[::1]:80', false],
    ['0.0.0.0:80', '[::]:80', true],
    ['0.0.0.0:80', '[::]:80 v6only', false],
    ['0.0.0.0:80', '[::1]:80', false],
    ['[::]:80', '[::1]:80', true],
    ['[::]:80 v6only', '[::1]:80', true],
    ['[::]:80 v6only', '[::]:80', true],
    ['[::1]:80', '[::]:80', true],
    ['[::1]:80', '[::2]:80', false],
    ['[::ffff:10.0.0.1]:80', '10.0.0.1:80', true],
    ['[::ffff:10.0.0.1]:80', '10.0.0.2:80', false],
    ['[::ffff:10.0.0.1]:80', '[::]:80', true],
    ['[::ffff:10.0.0.1]:80', '[::]:80 v6only', false],
    ['0.0.0.0%lo:80', '10.0.0.1:80', true],
    ['0.0.0.0%lo:80', '10.0.0.1%lo:80', true],
    ['0.0.0.0%lo:80', '10.0.0.1%eth0:80', false],
    ['0.0.0.0:80', '10.0.0.1%eth0:80', true],
  ])('%s and %s: %s', (a, b, expected) => {
    const read = (text: string) => (text.endsWith(' v6only') ? v6only(text.slice(0, -7)) : inet(text));
    expect(overlap(read(a), read(b))).toBe(expected);
    expect(overlap(read(b), read(a))).toBe(expected);
  });

  it('namespaces and unix sockets', () => {
    expect(overlap(inet('10.0.0.1:80', { namespace: 'a' }), inet('10.0.0.1:80'))).toBe(false);
    expect(overlap(unix('/a'), unix('/a'))).toBe(true);
    expect(overlap(unix('/a'), inet('10.0.0.1:80'))).toBe(false);
  });
});

describe('bindConflicts, as HAProxy 2.6 answered', () => {
  const alone = (at: Parameters<typeof bind>[0]) => bind(at, { reusePort: false });

  it('with SO_REUSEPORT nothing on TCP or UDP conflicts', () => {
    const binds = [
      '10.0.0.1:81',
      '10.0.0.1:81',
      '*:81'.replace('*', '0.0.0.0'),
      '[::]:81',
      '10.0.0.1:81/udp',
      '0.0.0.0:81/udp',
    ];
    expect(
      bindConflicts(
        binds.map((text) => bind(text)),
        2,
      ),
    ).toEqual([]);
  });

  it.each([
    ['10.0.0.1:81', '10.0.0.1:81'],
    ['0.0.0.0:81', '10.0.0.1:81'],
    ['10.0.0.1:81', '0.0.0.0:81'],
    ['[::]:81', '10.0.0.1:81'],
    ['[fd00::1]:81', '[::]:81'],
    ['[::ffff:10.0.0.1]:81', '10.0.0.1:81'],
    ['10.0.0.1%lo:81', '10.0.0.1:81'],
  ])('under noreuseport %s and %s conflict', (a, b) => {
    const [first, second] = [alone(a), alone(b)];
    expect(bindConflicts([first, second], 2)).toEqual([expect.objectContaining({ first, second })]);
  });

  it('under noreuseport other addresses, v6only beside IPv4, other devices and UDP do not', () => {
    const binds = ['10.0.0.1:81', '10.0.0.2:81', '10.0.0.3%a:81', '10.0.0.3%b:81', '10.0.0.1:81/udp', '0.0.0.0:81/udp'];
    expect(bindConflicts([...binds.map(alone), alone(v6only('[::]:81'))], 2)).toEqual([]);
  });

  it('an abstract name conflicts, a path is only replaced', () => {
    const [a, b, c, d] = [bind(unix('n', true)), bind(unix('n', true)), bind(unix('/p')), bind(unix('/p'))];
    expect(bindConflicts([a, b, c, d], 2)).toEqual([expect.objectContaining({ first: a, second: b })]);
    expect(duplicateBinds([a, b, c, d])).toEqual([expect.objectContaining({ first: c, second: d })]);
  });

  it('shards under noreuseport conflict with themselves before 3.0', () => {
    const sharded = bind('10.0.0.1:81', { reusePort: false, sockets: 2 });
    expect(bindConflicts([sharded], 2)).toHaveLength(1);
    expect(bindConflicts([sharded], 3)).toEqual([]);
  });

  it('finds exactly the binds that overlap an earlier one', () => {
    const address = fc.constantFrom('10.0.0.1', '10.0.0.2', '0.0.0.0', '[::]', '[::1]', '[::ffff:10.0.0.1]');
    const one = fc
      .tuple(address, fc.constantFrom('', '%a', '%b'), fc.constantFrom(80, 81), fc.boolean(), fc.boolean())
      .map(([host, device, port, only, reusePort]) =>
        bind(inet(`${host}${device}:${port}`, { v6only: only && host === '[::]' }), { reusePort }),
      );
    fc.assert(
      fc.property(fc.array(one, { maxLength: 12 }), (binds) => {
        const excludes = (a: Bind, b: Bind) => overlap(a.endpoint, b.endpoint) && !(a.reusePort && b.reusePort);
        const expected = binds.filter((b, i) => binds.slice(0, i).some((a) => excludes(a, b)));
        const found = bindConflicts(binds, 3);
        expect(found.map(({ second }) => second)).toEqual(expected);
        for (const { first, second } of found) expect(excludes(first, second)).toBe(true);
      }),
    );
  });

  it('20000 binds on one port', () => {
    const binds = Array.from({ length: 20000 }, (_, i) => alone(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}:80`));
    expect(bindConflicts(binds, 2)).toEqual([]);
    expect(bindConflicts([...binds, alone('[::]:80')], 2)).toHaveLength(1);
  });
});
