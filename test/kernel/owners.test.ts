import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openKernel, type OpenKernel } from '../../src/kernel/kernel.js';
import { parseCgroup, parseStat, processInfo, signalProcess } from '../../src/kernel/process.js';
import { endpoint } from '../support/endpoints.js';
import { startHolder, type Holder } from '../support/holder.js';
import { describeInNamespaces, makeNamespace, type Namespace } from '../support/netns.js';

describeInNamespaces('owners and shared ports', () => {
  let netns: Namespace;
  let kernel: OpenKernel;
  let holder: Holder;

  beforeEach(async () => {
    netns = await makeNamespace();
    kernel = await openKernel({ netns: netns.path });
    holder = await startHolder(netns);
  });

  afterEach(async () => {
    await kernel.closeNamespace();
    await netns.remove();
  });

  async function incident() {
    const backend = await holder.listen('127.0.0.1');
    const connection = await holder.connect('127.0.0.1', backend.port);
    const rows = await kernel.socketsOnPorts('tcp', [connection.port]);
    const row = rows.find(({ localPort, remotePort }) => localPort === connection.port && remotePort === backend.port)!;
    return { connection, row };
  }

  test('a connection is traced to its process and descriptor, with a hint and without', async () => {
    const { row } = await incident();
    expect(row.state).toBe('ESTABLISHED');
    for (const hint of [[], [holder.pid], [1]]) {
      const [owner] = (await kernel.owners([row.inode, 0], hint)).get(row.inode)!;
      // `node`, or `MainThread`: Node 24 names its main thread.
      const comm = readFileSync(`/proc/${holder.pid}/comm`, 'utf8').trim();
      expect(owner).toMatchObject({ pid: holder.pid, comm });
      expect(owner!.startTicks).toMatch(/^\d+$/);
      expect((await kernel.socketsOf(holder.pid)).get(row.inode)).toEqual([owner!.fd]);
    }
    expect((await kernel.owners([4294967295])).size).toBe(0);
    expect((await kernel.socketsOf(4_000_000)).size).toBe(0);
  });

  test('sharing a held port: HAProxy can bind it, the connection still carries data both ways', async () => {
    const { connection, row } = await incident();
    const [owner] = (await kernel.owners([row.inode])).get(row.inode)!;
    expect((await kernel.probe([endpoint(connection.port)], { keep: false }))[0]!.outcome).toBe('busy');
    await kernel.share(owner!, row);
    const [guard] = await kernel.probe([endpoint(connection.port)], { keep: true, asHAProxy: true });
    expect(guard!.outcome).toBe('beside');
    expect(await holder.echo(connection.id, 'still here')).toEqual({ text: 'still here' });
    // The TIME_WAIT inherits the option: the port stays bindable after the connection's end.
    kernel.close([guard!.guard!]);
    await holder.end(connection.id);
    expect((await kernel.probe([endpoint(connection.port)], { keep: false }))[0]!.outcome).toBe('beside');
  });

  test('another socket, another process, a foreign descriptor: nothing is touched', async () => {
    const { row } = await incident();
    const [owner] = (await kernel.owners([row.inode])).get(row.inode)!;
    await expect(kernel.share({ ...owner!, startTicks: '1' }, row)).rejects.toMatchObject({
      code: 'BERTH_KERNEL',
      cause: { code: 'ESRCH' },
    });
    await expect(kernel.share(owner!, { ...row, inode: row.inode + 1 })).rejects.toMatchObject({
      cause: { code: 'ESTALE' },
    });
    await expect(kernel.share({ ...owner!, fd: 999 }, row)).rejects.toMatchObject({ cause: { code: 'ESTALE' } });
    await expect(kernel.share({ ...owner!, fd: 1 }, row)).rejects.toMatchObject({ cause: { code: 'ESTALE' } });
    expect((await kernel.probe([endpoint(row.localPort)], { keep: false }))[0]!.outcome).toBe('busy');
  });

  test('duplicates keep a listener alive after its process has died', async () => {
    const { port } = await holder.listen('127.0.0.1');
    const row = (await kernel.boundSockets()).find(({ localPort }) => localPort === port)!;
    const owner = (await kernel.process(holder.pid))!;
    const copies = await kernel.duplicate(owner, [row.inode, 4294967295]);
    expect([...copies.keys()]).toEqual([row.inode]);
    expect(signalProcess(owner.pid, owner.startTicks, 9)).toBe(true);
    await holder.exited;
    expect(await processInfo(owner.pid)).toBeUndefined();
    expect((await kernel.boundSockets()).find(({ localPort }) => localPort === port)?.inode).toBe(row.inode);
    expect([...(await kernel.socketsOf(process.pid)).get(row.inode)!]).toEqual([...copies.values()]);
    kernel.close([...copies.values()]);
    expect((await kernel.socketsOf(process.pid)).has(row.inode)).toBe(false);
    expect((await kernel.boundSockets()).find(({ localPort }) => localPort === port)).toBeUndefined();
    await expect(kernel.duplicate(owner, [row.inode])).rejects.toMatchObject({ cause: { code: 'ESRCH' } });
    expect(signalProcess(owner.pid, owner.startTicks, 0)).toBe(false);
  });

  test('processes are found by name and by namespace; a signal needs the right start time', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'berth-comm-'));
    const binary = join(directory, 'haproxy');
    copyFileSync('/bin/sleep', binary);
    const inside = netns.spawn(binary, '1000');
    const outside = spawn(binary, ['1000']);
    try {
      await once(outside, 'spawn');
      const named = async () => (await kernel.haproxyProcesses()).find(({ pid }) => pid === inside.pid);
      while (!(await named())) await new Promise(setImmediate);
      const found = await kernel.haproxyProcesses();
      expect(found.map(({ pid }) => pid)).toEqual([inside.pid]);
      expect(found[0]).toMatchObject({ comm: 'haproxy', argv: [binary, '1000'], exe: binary, uid: process.geteuid!() });
      expect(found[0]!.netns).toBe(String(kernel.inode));
      expect(signalProcess(found[0]!.pid, '12', 0)).toBe(false);
      expect(signalProcess(found[0]!.pid, found[0]!.startTicks, 0)).toBe(true);
    } finally {
      outside.kill('SIGKILL');
      rmSync(directory, { recursive: true });
    }
  });
});

describe('facts about processes', () => {
  test('a command name with spaces and parentheses does not move the fields', () => {
    const rest = Array.from({ length: 30 }, (_, i) => String(100 + i)).join(' ');
    expect(parseStat(`42 (a) S) (b c) S 7 ${rest}`)).toEqual({ comm: 'a) S) (b c', ppid: 7, startTicks: '117' });
    expect(parseStat(`42 (gone) Z 7 ${rest}`)).toBeUndefined();
    expect(parseStat('')).toBeUndefined();
    expect(parseStat(`42 (a) S x ${rest}`)).toBeUndefined();
    expect(parseStat(`42 (a) S 7 ${rest.replace('117', '-')}`)).toBeUndefined();
  });

  test('this process', async () => {
    const info = (await processInfo(process.pid))!;
    const stat = readFileSync('/proc/self/stat', 'utf8');
    expect(info.startTicks).toBe(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
    expect(Math.abs(Date.parse(info.startedAt) - (Date.now() - process.uptime() * 1000))).toBeLessThan(2500);
    expect(info).toMatchObject({ pid: process.pid, ppid: process.ppid, cwd: process.cwd(), uid: process.geteuid!() });
    expect(info.openFiles).toBeGreaterThan(3);
    expect(await processInfo(4_000_000)).toBeUndefined();
  });

  test('units and containers from cgroup paths', () => {
    const id = '0123456789ab'.padEnd(64, 'c');
    expect(parseCgroup('0::/system.slice/haproxy.service\n')).toBe('haproxy.service');
    expect(parseCgroup('0::/user.slice/user-0.slice/session-3.scope\n')).toBe('session-3.scope');
    expect(parseCgroup(`0::/system.slice/docker-${id}.scope\n`)).toBe('container 0123456789ab');
    expect(parseCgroup(`0::/kubepods.slice/x/cri-containerd-${id}.scope`)).toBe('container 0123456789ab');
    expect(parseCgroup('12:cpu:/a\n1:name=systemd:/system.slice/haproxy.service\n0::/\n')).toBe('haproxy.service');
    expect(parseCgroup('0::/\n')).toBeUndefined();
    expect(parseCgroup('')).toBeUndefined();
  });
});
