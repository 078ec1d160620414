import fc from '../support/fast-check.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatIPv6 } from '../../src/kernel/address.js';
import { openKernel, type OpenKernel } from '../../src/kernel/kernel.js';
import type { SocketRow } from '../../src/model/socket.js';
import { endpoint } from '../support/endpoints.js';
import { startHolder, type Holder } from '../support/holder.js';
import { describeInNamespaces, makeNamespace, type Namespace } from '../support/netns.js';

/** What both sources tell, as text; bound-and-silent TCP sockets are in sock_diag only. */
function comparable(rows: readonly SocketRow[]): string[] {
  return rows
    .filter(({ state }) => state !== 'BOUND')
    .map((row) =>
      [
        row.transport,
        row.family,
        row.state,
        `${row.localAddress}:${row.localPort}`,
        `${row.remoteAddress}:${row.remotePort}`,
        row.inode,
        row.uid,
        row.expiresMs === undefined ? 'stays' : 'expires',
      ].join(' '),
    )
    .sort();
}

describeInNamespaces('socket tables', () => {
  let netns: Namespace;
  let kernel: OpenKernel;
  let byProc: OpenKernel;
  let holder: Holder;
  const ports: number[] = [];

  beforeAll(async () => {
    netns = await makeNamespace();
    kernel = await openKernel({ netns: netns.path, tables: 'sock_diag' });
    byProc = await openKernel({ netns: netns.path, tables: 'proc' });
    holder = await startHolder(netns);
    for (const host of ['127.0.0.1', '0.0.0.0', '::1', '::']) {
      const { port } = await holder.listen(host);
      const kept = await holder.connect(host === '::1' ? '::1' : '127.0.0.1', port);
      const ended = await holder.connect(host === '::' ? '127.0.0.1' : host === '0.0.0.0' ? '127.0.0.1' : host, port);
      await holder.echo(ended.id, 'hello');
      await holder.end(ended.id);
      ports.push(port, kept.port, ended.port, (await holder.udp(host)).port);
    }
  });

  afterAll(async () => {
    await kernel.closeNamespace();
    await byProc.closeNamespace();
    await netns.remove();
  });

  test('sock_diag and /proc tell the same sockets', async () => {
    for (const transport of ['tcp', 'udp'] as const) {
      const all = Array.from({ length: 65535 }, (_, i) => i + 1);
      const [diag, proc] = [await kernel.socketsOnPorts(transport, all), await byProc.socketsOnPorts(transport, all)];
      expect(comparable(diag)).toEqual(comparable(proc));
      expect(diag.length).toBeGreaterThan(3);
    }
    expect(comparable(await kernel.boundSockets())).toEqual(comparable(await byProc.boundSockets()));
    expect((await byProc.snapshot()).fromProc).toBe(true);
    expect(comparable((await kernel.snapshot()).rows())).toEqual(comparable((await byProc.snapshot()).rows()));
  });

  test('the inodes of those that listen are the inodes of the rows', async () => {
    const rows = await kernel.boundSockets([], { silent: false });
    for (const transport of ['tcp', 'udp'] as const) {
      const wanted = rows.filter((row) => row.transport === transport).map(({ inode }) => inode);
      expect(wanted.length).toBeGreaterThan(0);
      for (const each of [kernel, byProc])
        expect((await each.listeningInodes(transport)).toSorted()).toEqual(wanted.toSorted());
    }
    expect(await kernel.listeningInodes('tcp', 'berth-no-such-namespace')).toEqual([]);
  });

  test('a port filter gives what filtering the whole table gives', async () => {
    const all = (await kernel.snapshot()).rows();
    const one = fc.oneof(fc.constantFrom(...ports), fc.integer({ min: 1, max: 65535 }));
    const near = fc.constantFrom(...ports).chain((port) => fc.integer({ min: port - 3, max: port + 3 }));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(one, near), { maxLength: 60 }), async (wanted) => {
        const expected = all.filter(({ localPort }) => wanted.includes(localPort));
        expect(comparable(await kernel.socketsOnPorts('tcp', wanted))).toEqual(comparable(expected));
      }),
      { numRuns: 200 },
    );
  });

  test('more ports than a filter can hold, ranges and every second port', async () => {
    const all = (await kernel.snapshot()).rows();
    for (const odd of [0, 1]) {
      const wanted = Array.from({ length: 65535 }, (_, i) => i + 1).filter((port) => port % 2 === odd);
      const expected = all.filter(({ localPort }) => localPort % 2 === odd);
      expect(comparable(await kernel.socketsOnPorts('tcp', wanted))).toEqual(comparable(expected));
    }
    expect(await kernel.socketsOnPorts('tcp', [])).toEqual([]);
  });

  test('rows tell v6only, device, cookie and time left', async () => {
    const results = await kernel.probe(
      [
        endpoint(50000, { address: '::', v6only: true }),
        endpoint(50001, { address: '::' }),
        endpoint(50002, { device: 'lo' }),
      ],
      { keep: true },
    );
    const rows = await kernel.boundSockets();
    const row = (port: number) => rows.find(({ localPort }) => localPort === port);
    expect(row(50000)).toMatchObject({ state: 'BOUND', v6only: true, localAddress: '::' });
    expect(row(50001)).toMatchObject({ state: 'BOUND', v6only: false });
    expect(row(50002)).toMatchObject({ device: 'lo' });
    expect(row(50002)?.cookie).toMatch(/^\d+$/);
    kernel.close(results.map(({ guard }) => guard!));
    const waiting = (await kernel.snapshot()).rows().filter(({ state }) => state === 'TIME_WAIT');
    expect(waiting.length).toBe(4);
    for (const { expiresMs, inode } of waiting) {
      expect(expiresMs).toBeGreaterThan(0);
      expect(expiresMs).toBeLessThanOrEqual(61_000);
      expect(inode).toBe(0);
    }
  });

  test('TIME_WAIT is destroyed by its cookie, and only by it', async () => {
    const waiting = (await kernel.snapshot()).rows().find(({ state }) => state === 'TIME_WAIT')!;
    const onPort = async () =>
      (await kernel.socketsOnPorts('tcp', [waiting.localPort])).filter(({ state }) => state === 'TIME_WAIT').length;
    expect(await onPort()).toBe(1);
    await kernel.destroy({ ...waiting, cookie: String(BigInt(waiting.cookie!) + 1n) });
    expect(await onPort()).toBe(1);
    await expect(kernel.destroy({ ...waiting, cookie: undefined! })).rejects.toMatchObject({ code: 'BERTH_KERNEL' });
    await kernel.destroy(waiting);
    expect(await onPort()).toBe(0);
    const [probe] = await kernel.probe([endpoint(waiting.localPort, { address: waiting.localAddress })], {
      keep: false,
    });
    expect(probe?.outcome).toBe('free');
    await kernel.destroy(waiting);
  });
});

test('IPv6 addresses are written as RFC 5952 has them', () => {
  const bytes = (text: string) => Uint8Array.from(text.match(/../g)!, (byte) => parseInt(byte, 16));
  const cases = {
    '00000000000000000000000000000000': '::',
    '00000000000000000000000000000001': '::1',
    '20010db8000000000000000000000001': '2001:db8::1',
    '20010db8000000010001000100010001': '2001:db8:0:1:1:1:1:1',
    '20010000000000010000000000000001': '2001:0:0:1::1',
    '20010db8000000000001000000000001': '2001:db8::1:0:0:1',
    fe800000000000000000000000000000: 'fe80::',
    '00000000000000000000ffff7f000001': '::ffff:127.0.0.1',
    '00010000000000000000000000000000': '1::',
    '0001000200030004000500060007000a': '1:2:3:4:5:6:7:a',
  };
  for (const [hex, text] of Object.entries(cases)) expect(formatIPv6(bytes(hex), 0)).toBe(text);
});
