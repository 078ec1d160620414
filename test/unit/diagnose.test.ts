import { describe, expect, it } from 'vitest';
import type { InetEndpoint } from '../../src/model/endpoint.js';
import type { SocketRow } from '../../src/model/socket.js';
import type { Verdict } from '../../src/model/verdict.js';
import { diagnose, type DiagnosisContext } from '../../src/reload/diagnose.js';
import type { ProbeResult, RunningHAProxy } from '../../src/reload/env.js';
import { inet, owner, row } from '../support/binds.js';
import { fakeKernel, processInfo, type Staged } from '../support/fake-kernel.js';

const OURS = 100;
const running: RunningHAProxy = {
  mode: 'standalone',
  worker: processInfo(OURS),
  draining: [],
  foundBy: 'pid-file',
};
const haproxy = (pid: number) => [owner(pid, 'haproxy')];
const busy = (at: string | InetEndpoint): ProbeResult => ({
  endpoint: typeof at === 'string' ? inet(at) : at,
  outcome: 'busy',
});
const beside = (at: string): ProbeResult => ({ endpoint: inet(at), outcome: 'beside' });

async function verdictOf(
  result: ProbeResult,
  staged: Staged,
  context: DiagnosisContext = { running },
): Promise<Verdict> {
  const [answer] = await diagnose(fakeKernel(staged), [result], context);
  expect(answer?.endpoint).toBe(result.endpoint);
  return answer!.verdict;
}

const at = '10.0.0.1:40000';
const outgoing = (more: Partial<SocketRow> = {}) => row('ESTABLISHED', at, '10.0.0.9:443', { inode: 7, ...more });

describe('busy: HAProxy could not bind it either', () => {
  it('an outgoing connection of the HAProxy that is being reloaded is shareable, and does not drain', async () => {
    const verdict = await verdictOf(busy(at), { rows: [outgoing()], owners: { 7: haproxy(OURS) } });
    expect(verdict).toEqual({ kind: 'shareable', holders: [{ socket: outgoing(), owners: haproxy(OURS) }] });
  });

  it('of an older HAProxy that listens no more: draining, since when if known', async () => {
    const staged: Staged = { rows: [outgoing()], owners: { 7: haproxy(200) }, socketsOf: { 200: [7, 8] } };
    const since = '2026-11-22T14:02:00.000Z';
    const draining = { kind: 'shareable', holders: [{ draining: {}, socket: { inode: 7 } }] };
    expect(await verdictOf(busy(at), staged)).toMatchObject(draining);
    const told = await verdictOf(busy(at), staged, { running, stoppedAt: new Map([[200, since]]) });
    expect(told).toMatchObject({ holders: [{ draining: { since } }] });
    const known = { running: { ...running, draining: [processInfo(200)] } };
    expect(await verdictOf(busy(at), { ...staged, socketsOf: {} }, known)).toMatchObject(draining);
  });

  it('of another HAProxy that does listen, or may not be looked into: not said to drain', async () => {
    const listener = row('LISTEN', '10.0.0.1:80', undefined, { inode: 8 });
    const staged: Staged = { rows: [outgoing(), listener], owners: { 7: haproxy(200) }, socketsOf: { 200: [7, 8] } };
    for (const kernel of [staged, { ...staged, socketsOf: {} }]) {
      const verdict = await verdictOf(busy(at), kernel);
      expect(verdict).toEqual({ kind: 'shareable', holders: [{ socket: outgoing(), owners: haproxy(200) }] });
    }
  });

  it.each(['SYN_SENT', 'CLOSE_WAIT', 'FIN_WAIT2', 'ESTABLISHED'] as const)('%s of any process', async (state) => {
    const verdict = await verdictOf(busy(at), { rows: [outgoing({ state })], owners: { 7: [owner(300, 'curl')] } });
    expect(verdict).toMatchObject({ kind: 'shareable', holders: [{ owners: [{ comm: 'curl' }] }] });
  });

  it('TIME_WAIT and orphans expire, by the longest of them', async () => {
    const rows = [
      outgoing({ state: 'TIME_WAIT', inode: 0, expiresMs: 12_000 }),
      row('FIN_WAIT2', at, '10.0.0.8:443', { inode: 0, expiresMs: 41_000 }),
      row('LAST_ACK', at, '10.0.0.7:443', { inode: 0 }),
    ];
    expect(await verdictOf(busy(at), { rows })).toEqual({
      kind: 'expiring',
      holders: rows.map((socket) => ({ socket, owners: [] })),
      expiresMs: 41_000,
    });
  });

  it('without the timers (/proc has none) no time is named', async () => {
    const verdict = await verdictOf(busy(at), { rows: [outgoing({ state: 'TIME_WAIT', inode: 0 })] });
    expect(verdict).not.toHaveProperty('expiresMs');
  });

  it('living connections beside TIME_WAIT: shareable, the living ones first, so that both are dealt with', async () => {
    const dead = row('TIME_WAIT', at, '10.0.0.8:443', { inode: 0, expiresMs: 12_000 });
    const verdict = await verdictOf(busy(at), { rows: [dead, outgoing()], owners: { 7: haproxy(OURS) } });
    expect(verdict).toMatchObject({
      kind: 'shareable',
      holders: [{ socket: { state: 'ESTABLISHED' } }, { socket: { state: 'TIME_WAIT' } }],
    });
  });

  it('a connection whose owner cannot be seen: busy, with the connection', async () => {
    const verdict = await verdictOf(busy(at), { rows: [outgoing({ uid: 99 })] });
    expect(verdict).toEqual({ kind: 'busy', holders: [{ socket: outgoing({ uid: 99 }), owners: [] }] });
  });

  it('a listener of somebody else is taken, whatever else is on the port', async () => {
    const listener = row('LISTEN', at, undefined, { inode: 8 });
    const staged: Staged = { rows: [outgoing(), listener], owners: { 8: [owner(5, 'nginx')], 7: haproxy(OURS) } };
    expect(await verdictOf(busy(at), staged)).toEqual({
      kind: 'taken',
      stale: false,
      holders: [{ socket: listener, owners: [owner(5, 'nginx')] }],
    });
  });

  it('a listener of a HAProxy that is not the one being reloaded is stale, also where none runs', async () => {
    const staged: Staged = { rows: [row('LISTEN', at)], owners: { 1000: haproxy(200) }, socketsOf: { 200: [1000] } };
    expect(await verdictOf(busy(at), staged)).toMatchObject({ kind: 'taken', stale: true });
    expect(await verdictOf(busy(at), staged, {})).toMatchObject({ kind: 'taken', stale: true });
  });

  it('a listener whose owner cannot be seen is taken by nobody we can name', async () => {
    expect(await verdictOf(busy(at), { rows: [row('LISTEN', at)] })).toMatchObject({
      kind: 'taken',
      stale: false,
      holders: [{ owners: [] }],
    });
  });

  it('a bound but silent socket is taken', async () => {
    const verdict = await verdictOf(busy(at), { rows: [row('BOUND', at)], owners: { 1000: [owner(5, 'python3')] } });
    expect(verdict).toMatchObject({ kind: 'taken', stale: false, holders: [{ socket: { state: 'BOUND' } }] });
  });

  it('our own HAProxy under noreuseport, listening or paused', async () => {
    for (const state of ['LISTEN', 'BOUND'] as const) {
      const verdict = await verdictOf(busy(at), { rows: [row(state, at)], owners: { 1000: haproxy(OURS) } });
      expect(verdict).toMatchObject({ kind: 'ours' });
    }
  });

  it('the master counts as ours', async () => {
    const context = { running: { ...running, mode: 'master-worker' as const, master: processInfo(99) } };
    const staged: Staged = { rows: [row('LISTEN', at)], owners: { 1000: haproxy(99) } };
    expect(await verdictOf(busy(at), staged, context)).toMatchObject({ kind: 'ours' });
  });

  it('a socket reset and not closed stands in no table: busy, nobody named', async () => {
    expect(await verdictOf(busy(at), {})).toEqual({ kind: 'busy', holders: [] });
  });
});

describe('what counts as in the way', () => {
  const inTheWay = async (endpoint: string | InetEndpoint, socket: SocketRow) => {
    const verdict = await verdictOf(busy(endpoint), { rows: [socket], owners: { [socket.inode]: haproxy(OURS) } });
    return 'holders' in verdict && verdict.holders.length > 0;
  };

  it('another address of this host does not', async () => {
    expect(await inTheWay('10.0.0.2:40000', outgoing())).toBe(false);
  });

  it.each(['0.0.0.0:40000', '[::]:40000', '[::ffff:10.0.0.1]:40000'])(
    'a wildcard or mapped bind %s meets it',
    async (to) => {
      expect(await inTheWay(to, outgoing())).toBe(true);
    },
  );

  it('a v6only wildcard and an IPv6 address do not', async () => {
    expect(await inTheWay(inet('[::]:40000', { v6only: true }), outgoing())).toBe(false);
    expect(await inTheWay('[::1]:40000', outgoing())).toBe(false);
  });

  it('wildcard, dual-stack and v4-mapped holders do', async () => {
    for (const holder of ['0.0.0.0:40000', '[::]:40000', '[::ffff:10.0.0.1]:40000']) {
      expect(await inTheWay(at, row('LISTEN', holder)), holder).toBe(true);
    }
    expect(await inTheWay(at, row('LISTEN', '[::]:40000', undefined, { v6only: true }))).toBe(false);
    expect(await inTheWay(at, row('ESTABLISHED', '[::ffff:10.0.0.1]:40000', '[::ffff:10.0.0.9]:443'))).toBe(true);
  });

  it('another device does not, no device does', async () => {
    expect(await inTheWay(inet(at, { device: 'a' }), row('LISTEN', at, undefined, { device: 'b' }))).toBe(false);
    expect(await inTheWay(inet(at, { device: 'a' }), row('LISTEN', at))).toBe(true);
  });

  it('UDP does not meet TCP', async () => {
    expect(await inTheWay(at, row('UNCONN', `${at}/udp`))).toBe(false);
  });

  it('connections that our own listener accepted are left out, outgoing ones from another address are not', async () => {
    const rows = [
      row('LISTEN', at, undefined, { inode: 8 }),
      row('ESTABLISHED', at, '10.9.9.9:1', { inode: 9 }),
      row('ESTABLISHED', '10.0.0.2:40000', '10.9.9.9:2', { inode: 10 }),
    ];
    const owners = { 8: haproxy(OURS), 9: haproxy(OURS), 10: haproxy(OURS) };
    const kernel = fakeKernel({ rows, owners });
    const [answer] = await diagnose(kernel, [busy('0.0.0.0:40000')], { running });
    expect(answer?.verdict).toMatchObject({ kind: 'shareable', holders: [{ socket: { inode: 10 } }] });
    expect(kernel.calls.owners).toEqual([[8, 10]]);
  });
});

describe('beside: HAProxy could bind it, strictly it is not free', () => {
  it.each([
    ['TIME_WAIT that carries SO_REUSEADDR', row('TIME_WAIT', at, '10.0.0.9:1', { inode: 0 }), 0],
    ['a connection that was shared', outgoing(), OURS],
    ['a bound socket with SO_REUSEADDR', row('BOUND', at), 300],
  ])('%s: harmless', async (_, socket, pid) => {
    const verdict = await verdictOf(beside(at), { rows: [socket], owners: { [socket.inode]: [owner(pid, 'x')] } });
    expect(verdict).toMatchObject({ kind: 'harmless', holders: [{ socket }] });
  });

  it('our own HAProxy listens there, or is paused: ours', async () => {
    for (const state of ['LISTEN', 'BOUND'] as const) {
      expect(await verdictOf(beside(at), { rows: [row(state, at)], owners: { 1000: haproxy(OURS) } })).toMatchObject({
        kind: 'ours',
      });
    }
  });

  it('a HAProxy that was forgotten listens there: taken, it would get a part of the connections', async () => {
    const staged: Staged = { rows: [row('LISTEN', at)], owners: { 1000: haproxy(200) }, socketsOf: { 200: [1000] } };
    expect(await verdictOf(beside(at), staged)).toMatchObject({ kind: 'taken', stale: true });
  });

  it('beside ours and a forgotten one: taken', async () => {
    const rows = [row('LISTEN', at, undefined, { inode: 1 }), row('LISTEN', at, undefined, { inode: 2 })];
    const staged: Staged = { rows, owners: { 1: haproxy(OURS), 2: haproxy(200) }, socketsOf: { 200: [2] } };
    expect(await verdictOf(beside(at), staged)).toMatchObject({
      kind: 'taken',
      stale: true,
      holders: [{ socket: rows[1] }],
    });
  });

  it('another program with SO_REUSEPORT and our uid: taken, not stale', async () => {
    const staged: Staged = { rows: [row('LISTEN', at)], owners: { 1000: [owner(5, 'nginx')] } };
    expect(await verdictOf(beside(at), staged)).toMatchObject({ kind: 'taken', stale: false });
  });

  it('sockets that two processes hold during a handover are ours', async () => {
    const owners = { 1000: [...haproxy(200), ...haproxy(OURS)] };
    expect(
      await verdictOf(beside(at), { rows: [row('LISTEN', at)], owners, socketsOf: { 200: [1000] } }),
    ).toMatchObject({
      kind: 'ours',
    });
  });

  it('what is gone when looked for is harmless', async () => {
    expect(await verdictOf(beside(at), {})).toEqual({ kind: 'harmless', holders: [] });
  });
});

describe('UDP', () => {
  it('ours, a guard of our own, a stranger, a connected one', async () => {
    const socket = row('UNCONN', '10.0.0.1:53/udp');
    const probe = busy('10.0.0.1:53/udp');
    expect(await verdictOf(probe, { rows: [socket], owners: { 1000: haproxy(OURS) } })).toMatchObject({ kind: 'ours' });
    expect(await verdictOf(probe, { rows: [socket], owners: { 1000: [owner(5, 'named')] } })).toMatchObject({
      kind: 'taken',
    });
    const connected = row('ESTABLISHED', '10.0.0.1:53/udp', '10.0.0.9:53/udp');
    expect(await verdictOf(probe, { rows: [connected], owners: { 1000: [owner(5, 'dig')] } })).toMatchObject({
      kind: 'shareable',
    });
  });

  it('guards of ours are no obstacle', async () => {
    const staged: Staged = { rows: [row('BOUND', at)], owners: { 1000: [owner(42, 'node')] } };
    expect(await verdictOf(busy(at), staged, { running, self: 42 })).toMatchObject({ kind: 'harmless' });
  });
});

describe('failed: errno by errno', () => {
  const failed = (endpoint: InetEndpoint, errno: string, syscall = 'bind'): ProbeResult => ({
    endpoint,
    outcome: 'failed',
    failure: { errno, syscall },
  });
  const why = (result: ProbeResult, sysctl: Record<string, string> = {}) => verdictOf(result, { sysctl });

  it('EACCES below the unprivileged ports', async () => {
    expect(await why(failed(inet('10.0.0.1:80'), 'EACCES'))).toEqual({
      kind: 'forbidden',
      errno: 'EACCES',
      need: 'CAP_NET_BIND_SERVICE: port 80 is below net.ipv4.ip_unprivileged_port_start = 1024',
    });
    const low = { 'net.ipv4.ip_unprivileged_port_start': '80' };
    expect(await why(failed(inet('10.0.0.1:80'), 'EACCES'), low)).toMatchObject({
      need: expect.stringContaining('security module') as string,
    });
  });

  it('EPERM of a device or of a transparent bind', async () => {
    expect(await why(failed(inet('10.0.0.1%eth0:8080'), 'EPERM', 'setsockopt'))).toMatchObject({
      need: expect.stringContaining('CAP_NET_RAW: the bind is tied to the device eth0') as string,
    });
    expect(await why(failed(inet('10.0.0.1:80', { transparent: true }), 'EPERM', 'setsockopt'))).toMatchObject({
      need: expect.stringContaining('CAP_NET_ADMIN') as string,
    });
  });

  it('EADDRNOTAVAIL with and without ip_nonlocal_bind, by family', async () => {
    const v4 = { 'net.ipv4.ip_nonlocal_bind': '1', 'net.ipv6.ip_nonlocal_bind': '0' };
    expect(await why(failed(inet(at), 'EADDRNOTAVAIL'), v4)).toEqual({ kind: 'not-local', nonlocalBind: true });
    expect(await why(failed(inet('[fd00::1]:80'), 'EADDRNOTAVAIL'), v4)).toEqual({
      kind: 'not-local',
      nonlocalBind: false,
    });
    expect(await why(failed(inet('[fd00::1]:80'), 'EADDRNOTAVAIL'))).toEqual({
      kind: 'not-local',
      nonlocalBind: false,
    });
  });

  it.each([
    ['EMFILE', 'this process has no file descriptor left'],
    ['ENFILE', 'the system has no file descriptor left'],
    ['ENODEV', 'there is no network device eth0'],
    ['EAFNOSUPPORT', 'this kernel, or this container, has no IPv4'],
    ['ENOBUFS', 'the kernel has no memory left for a socket'],
    ['EIO', 'the kernel refuses the socket'],
  ])('%s', async (errno, reason) => {
    expect(await why(failed(inet('10.0.0.1%eth0:80'), errno, 'socket'))).toEqual({
      kind: 'unusable',
      errno,
      syscall: 'socket',
      why: reason,
    });
  });

  it('a link-local address without an interface', async () => {
    expect(await why(failed(inet('[fe80::1]:80'), 'EINVAL'))).toMatchObject({
      why: 'a link-local address needs an interface',
    });
  });
});

it('looks at the tables once for all endpoints, and not at all where nothing is contested', async () => {
  const kernel = fakeKernel({});
  const free: ProbeResult = { endpoint: inet(at), outcome: 'free' };
  expect(await diagnose(kernel, [free])).toEqual([{ endpoint: free.endpoint, verdict: { kind: 'free' } }]);
  expect(kernel.calls).toEqual({ bound: 0, dumps: [], owners: [] });

  const rows = [1, 2, 3].map((n) => row('ESTABLISHED', `10.0.0.1:4000${n}`, '10.0.0.9:1', { inode: n }));
  const many = fakeKernel({ rows, owners: { 1: haproxy(OURS), 2: haproxy(OURS), 3: haproxy(OURS) } });
  const results = [
    busy('10.0.0.1:40001'),
    free,
    busy('10.0.0.1:40002'),
    beside('10.0.0.1:40003'),
    busy('10.0.0.1:9/udp'),
  ];
  const verdicts = await diagnose(many, results, { running });
  expect(verdicts.map(({ verdict }) => verdict.kind)).toEqual(['shareable', 'free', 'shareable', 'harmless', 'busy']);
  expect(many.calls).toEqual({ bound: 1, dumps: ['tcp 40001,40002,40003', 'udp 9'], owners: [[1, 2, 3]] });
});
