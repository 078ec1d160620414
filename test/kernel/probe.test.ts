import { fstatSync, readdirSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openKernel, type OpenKernel } from '../../src/kernel/kernel.js';
import type { ProbeResult } from '../../src/reload/env.js';
import { endpoint } from '../support/endpoints.js';
import { startHolder, type Holder } from '../support/holder.js';
import { describeInNamespaces, makeNamespace, type Namespace } from '../support/netns.js';

const KEEP = { keep: true };
const LOOK = { keep: false };

describeInNamespaces('probe', () => {
  let netns: Namespace;
  let kernel: OpenKernel;
  let holder: Holder;
  const guards: number[] = [];

  beforeEach(async () => {
    netns = await makeNamespace();
    kernel = await openKernel({ netns: netns.path });
    holder = await startHolder(netns);
  });

  afterEach(async () => {
    kernel.close(guards.splice(0));
    await kernel.closeNamespace();
    await netns.remove();
  });

  async function outcome(...args: Parameters<typeof endpoint>): Promise<ProbeResult['outcome']> {
    return (await kernel.probe([endpoint(...args)], LOOK))[0]!.outcome;
  }

  async function guard(...args: Parameters<typeof endpoint>): Promise<ProbeResult> {
    const [result] = await kernel.probe([endpoint(...args)], KEEP);
    if (result?.guard !== undefined) guards.push(result.guard);
    return result!;
  }

  test('a free port is free, again and again', async () => {
    expect(await outcome(40000)).toBe('free');
    expect(await outcome(40000)).toBe('free');
  });

  test('a guard is bound and silent: it never listens', async () => {
    const { guard: descriptor } = await guard(40000);
    const rows = await kernel.boundSockets();
    const row = rows.find(({ inode }) => inode === fstatSync(descriptor!).ino);
    expect(row).toMatchObject({ state: 'BOUND', localAddress: '127.0.0.1', localPort: 40000 });
    expect(rows.filter(({ state }) => state === 'LISTEN')).toEqual([]);
  });

  test('HAProxy binds beside a guard, others do not', async () => {
    await guard(40000);
    expect(await outcome(40000)).toBe('beside');
    await expect(holder.listen('127.0.0.1', 40000)).resolves.toMatchObject({ port: 40000 });
    expect(await outcome(40000)).toBe('busy');
  });

  test('a foreign listener (SO_REUSEADDR) is busy on its address, on the wildcard and on dual stack, not elsewhere', async () => {
    await holder.listen('127.0.0.1', 40000);
    expect(await outcome(40000)).toBe('busy');
    expect(await outcome(40000, { address: '0.0.0.0' })).toBe('busy');
    expect(await outcome(40000, { address: '::' })).toBe('busy');
    expect(await outcome(40000, { address: '::', v6only: true })).toBe('free');
    expect(await outcome(40000, { address: '127.0.0.2' })).toBe('free');
    expect(await outcome(40000, { address: '::1' })).toBe('free');
    expect(await outcome(40000, { transport: 'udp' })).toBe('free');
  });

  test('wildcard guards stand in the way of specific addresses, v6only ones of IPv6 alone', async () => {
    expect((await guard(40000, { address: '::' })).outcome).toBe('free');
    expect(await outcome(40000)).toBe('beside');
    expect((await guard(40001, { address: '::', v6only: true })).outcome).toBe('free');
    expect(await outcome(40001)).toBe('free');
    expect(await outcome(40001, { address: '::1' })).toBe('beside');
  });

  test('an outgoing connection makes its port busy, for HAProxy too', async () => {
    const { port } = await holder.listen('127.0.0.1');
    const connection = await holder.connect('127.0.0.1', port);
    expect(await outcome(connection.port)).toBe('busy');
    expect((await kernel.probe([endpoint(connection.port)], { keep: false, asHAProxy: true }))[0]!.outcome).toBe(
      'busy',
    );
  });

  test('UDP: busy where anybody has it; a guard leaves later sockets their datagrams', async () => {
    const { port } = await holder.udp('127.0.0.1');
    expect(await outcome(port, { transport: 'udp' })).toBe('busy');
    expect((await guard(41000, { transport: 'udp' })).outcome).toBe('free');
    expect(await outcome(41000, { transport: 'udp' })).toBe('busy');
    expect(await outcome(41000)).toBe('free');
  });

  test('what stands in the way by name: address, device, namespace', async () => {
    const results = await kernel.probe(
      [
        endpoint(40000, { address: '192.0.2.1' }),
        endpoint(40000, { address: '192.0.2.1', transparent: true }),
        endpoint(40000, { address: '2001:db8::1' }),
        endpoint(40000, { address: '2001:db8::1', transparent: true }),
        endpoint(40000, { device: 'nope0' }),
        endpoint(40000, { device: 'lo' }),
        endpoint(40000, { namespace: 'berth-no-such-namespace' }),
        endpoint(40000, { address: 'nonsense' }),
      ],
      LOOK,
    );
    expect(results.map(({ outcome: is, failure }) => failure?.errno ?? is)).toEqual([
      'EADDRNOTAVAIL',
      'free',
      'EADDRNOTAVAIL',
      'free',
      'ENODEV',
      'free',
      'ENOENT',
      'EINVAL',
    ]);
    expect(results[0]!.failure!.syscall).toBe('bind');
    expect(results[4]!.failure!.syscall).toBe('setsockopt(SO_BINDTODEVICE)');
  });

  test('2000 endpoints: results in their order, one guard each, no descriptor lost', async () => {
    const before = readdirSync('/proc/self/fd').length;
    const endpoints = Array.from({ length: 2000 }, (_, i) =>
      endpoint(20000 + i, { address: `127.0.0.${1 + (i % 200)}` }),
    );
    const first = await kernel.probe(endpoints, KEEP);
    expect(first.every(({ outcome: is }) => is === 'free')).toBe(true);
    expect(first.map((result) => result.endpoint)).toEqual(endpoints);
    expect(new Set(first.map((result) => result.guard)).size).toBe(2000);
    const second = await kernel.probe(endpoints, LOOK);
    expect(second.every(({ outcome: is, guard: descriptor }) => is === 'beside' && descriptor === undefined)).toBe(
      true,
    );
    kernel.close(first.map((result) => result.guard!));
    expect(readdirSync('/proc/self/fd').length).toBe(before);
    expect((await kernel.probe(endpoints, LOOK)).every(({ outcome: is }) => is === 'free')).toBe(true);
  });
});
