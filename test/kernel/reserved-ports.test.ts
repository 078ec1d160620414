import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openKernel, type OpenKernel } from '../../src/kernel/kernel.js';
import { namespaceKey, openLedger } from '../../src/kernel/ledger.js';
import { count, difference, formatPorts, has, NO_PORTS, parsePorts, portSet, union } from '../../src/model/ports.js';
import { startHolder } from '../support/holder.js';
import { describeInNamespaces, makeNamespace, type Namespace } from '../support/netns.js';

/** `n` ports, none beside another. */
const scattered = (first: number, n: number) => portSet(Array.from({ length: n }, (_, i) => first + 2 * i));

describeInNamespaces('reserved ports', () => {
  let netns: Namespace;
  let kernel: OpenKernel;

  beforeEach(async () => {
    netns = await makeNamespace();
    kernel = await openKernel({ netns: netns.path });
  });

  afterEach(async () => {
    await kernel.closeNamespace();
    await netns.remove();
  });

  test('the list and the range are those of the namespace', async () => {
    await netns.sysctl('net.ipv4.ip_local_port_range', '33000 37001');
    expect(await kernel.ephemeralRange()).toEqual({ first: 33000, last: 37001 });
    expect(await kernel.reservedPorts()).toEqual(NO_PORTS);
    const host = readFileSync('/proc/sys/net/ipv4/ip_local_reserved_ports', 'utf8');
    await kernel.writeReservedPorts(parsePorts('33000,34000-34010'), false);
    expect((await netns.exec('cat', '/proc/sys/net/ipv4/ip_local_reserved_ports')).trim()).toBe('33000,34000-34010');
    expect(readFileSync('/proc/sys/net/ipv4/ip_local_reserved_ports', 'utf8')).toBe(host);
  });

  test('adding leaves what is there; 5000 scattered ports arrive in full', async () => {
    const foreign = parsePorts('100,200-300,65000');
    await kernel.writeReservedPorts(foreign, false);
    const ours = scattered(40001, 5000);
    expect(formatPorts(ours).length).toBeGreaterThan(4095);
    await kernel.writeReservedPorts(ours, true);
    const now = await kernel.reservedPorts();
    expect(formatPorts(now)).toBe(formatPorts(union(foreign, ours)));
    expect(count(now)).toBe(5103);
    await kernel.writeReservedPorts(NO_PORTS, true);
    expect(formatPorts(await kernel.reservedPorts())).toBe(formatPorts(now));
    // Ours go, the others' stay.
    await kernel.writeReservedPorts(difference(now, ours), false);
    expect(formatPorts(await kernel.reservedPorts())).toBe(formatPorts(foreign));
    await kernel.writeReservedPorts(NO_PORTS, false);
    expect(await kernel.reservedPorts()).toEqual(NO_PORTS);
  });

  test('every second port of all: read in full', async () => {
    await kernel.writeReservedPorts(scattered(1, 32768), true);
    expect(count(await kernel.reservedPorts())).toBe(32768);
  });

  test('a replacement that one write cannot carry is refused, and nothing is written', async () => {
    await kernel.writeReservedPorts(parsePorts('7777'), false);
    await expect(kernel.writeReservedPorts(scattered(40001, 5000), false)).rejects.toMatchObject({
      code: 'BERTH_KERNEL',
    });
    expect(formatPorts(await kernel.reservedPorts())).toBe('7777');
  });

  test('no connection takes a reserved port while the list is rewritten 1000 times', async () => {
    await netns.sysctl('net.ipv4.ip_local_port_range', '33000 37001');
    const holder = await startHolder(netns);
    const backend = await holder.listen('127.0.0.1', 20000);
    const always = scattered(33000, 600); // even ports, which connect(2) takes first
    const sometimes = union(always, parsePorts('33001,33003'));
    await kernel.writeReservedPorts(always, false);
    const storm = holder.storm('127.0.0.1', backend.port, 1500);
    for (let i = 0; i < 500; i++) {
      await kernel.writeReservedPorts(sometimes, false);
      await kernel.writeReservedPorts(always, false);
    }
    const { ports } = await storm;
    expect(ports.length).toBeGreaterThan(100);
    expect(ports.filter((port) => has(always, port))).toEqual([]);
  });

  test('other sysctls: trimmed, undefined where there is none, refused where the name is none', async () => {
    expect(await kernel.sysctl('net.ipv4.ip_nonlocal_bind')).toBe('0');
    expect(await kernel.sysctl('net/ipv4/ip_nonlocal_bind')).toBe('0');
    expect(await kernel.sysctl('net.ipv4.no_such_sysctl')).toBeUndefined();
    for (const name of ['', '../../etc/passwd', 'net/../../etc', 'net.ipv4.x;y', '/net/ipv4']) {
      await expect(kernel.sysctl(name)).rejects.toMatchObject({ code: 'BERTH_USAGE' });
    }
  });
});

describe('ledger of reserved ports', () => {
  let directory: string;
  let path: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'berth-ledger-'));
    path = join(directory, 'ledger.json');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  test('what is recorded is read again, by namespace, of this boot only', async () => {
    const [here, there] = [await namespaceKey(1), await namespaceKey(2)];
    const ledger = await openLedger(path);
    expect(ledger.ours(here)).toEqual(NO_PORTS);
    await ledger.record('00000000-0000-0000-0000-000000000000:1', parsePorts('1'));
    await ledger.record(here, parsePorts('80,443'));
    await ledger.record(there, parsePorts('90'));
    const again = await openLedger(path);
    expect(again.warning).toBeUndefined();
    expect(formatPorts(again.ours(here))).toBe('80,443');
    expect(formatPorts(again.ours(there))).toBe('90');
    expect(again.ours('00000000-0000-0000-0000-000000000000:1')).toEqual(NO_PORTS);
    await again.record(here, NO_PORTS);
    expect((await openLedger(path)).ours(here)).toEqual(NO_PORTS);
  });

  test.each(['', '{"version":1,"reserved":{"a:1":"80', '[]', 'null', '{"version":2,"reserved":{}}', '{"version":1}'])(
    'a torn or forged ledger %j: nothing is ours, and it says so',
    async (text) => {
      writeFileSync(path, text);
      const ledger = await openLedger(path);
      expect(ledger.warning).toContain(path);
      expect(ledger.ours('a:1')).toEqual(NO_PORTS);
    },
  );

  test('a list that is none makes the whole ledger void', async () => {
    writeFileSync(path, JSON.stringify({ version: 1, reserved: { 'a:1': '80', 'a:2': '99999' } }));
    const ledger = await openLedger(path);
    expect(ledger.warning).toContain('99999');
    expect(ledger.ours('a:1')).toEqual(NO_PORTS);
  });

  test('a ledger that cannot be read or written', async () => {
    await expect(openLedger(directory)).rejects.toMatchObject({ code: 'BERTH_STATE_DIR' });
    const ledger = await openLedger(join(directory, 'missing/ledger.json'));
    await expect(ledger.record('a:1', parsePorts('80'))).rejects.toMatchObject({ code: 'BERTH_STATE_WRITE' });
  });
});
