import { describe, expect, it } from 'vitest';
import { BerthError } from '../../src/errors.js';
import { capabilities, descriptorLimit } from '../../src/kernel/limits.js';
import type { Bind, Listeners } from '../../src/model/bind.js';
import { examine, type HostFacts } from '../../src/reload/doctor.js';
import type { HAProxy, HAProxyBuild, RunningHAProxy } from '../../src/reload/env.js';
import type { Finding } from '../../src/reload/reports.js';
import { loadSettings } from '../../src/settings.js';
import { bind, inet, row } from '../support/binds.js';
import { fakeKernel, processInfo, type Staged } from '../support/fake-kernel.js';

const build: HAProxyBuild = {
  binary: '/usr/sbin/haproxy',
  version: '2.6.12',
  major: 2,
  minor: 6,
  features: ['OPENSSL'],
};
const running: RunningHAProxy = { mode: 'standalone', worker: processInfo(100), draining: [], foundBy: 'pid-file' };
const haproxy = (more: Partial<HAProxy> = {}) =>
  ({ build: () => Promise.resolve(build), find: () => Promise.resolve(running), ...more }) as HAProxy;

const every = new Set([
  'CAP_KILL',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_ADMIN',
  'CAP_NET_RAW',
  'CAP_SYS_PTRACE',
  'CAP_SYS_ADMIN',
]);
const host = (held: ReadonlySet<string> = every, hard = 1_000_000): HostFacts => ({
  capabilities: () => Promise.resolve(held),
  descriptorLimit: () => Promise.resolve({ soft: 1024, hard }),
});

const sysctl = {
  'net.ipv4.ip_nonlocal_bind': '0',
  'net.ipv4.tcp_migrate_req': '0',
  'net.ipv4.ip_unprivileged_port_start': '1024',
  'kernel.yama.ptrace_scope': '1',
  'fs.nr_open': '1048576',
  'fs.file-max': '9223372036854775807',
};
const quiet: Staged = {
  sysctl,
  rows: [row('LISTEN', '10.0.0.1:443', undefined, { inode: 1 })],
  socketsOf: { 100: [1] },
};

function listeners(binds: readonly Bind[], maxconn?: number): Listeners {
  const global = {
    masterWorker: false,
    noReusePort: false,
    statsSockets: [],
    ...(maxconn === undefined ? {} : { maxconn }),
  };
  return { binds, unknown: [], global, files: [], warnings: [] };
}

interface Options {
  readonly kernel?: Staged;
  readonly haproxy?: HAProxy;
  readonly flags?: Record<string, unknown>;
  readonly listeners?: Listeners;
  readonly host?: HostFacts;
  readonly unsourced?: Parameters<typeof examine>[4];
}

async function report(options: Options = {}) {
  const kernel = fakeKernel({ ...quiet, ...options.kernel });
  const settings = loadSettings({ flags: options.flags ?? {} });
  const more = { host: options.host ?? host(), ...options.unsourced };
  const { ok, findings } = await examine(kernel, options.haproxy ?? haproxy(), settings, options.listeners, more);
  const ids = findings.map(({ id }) => id);
  expect(new Set(ids).size, ids.join()).toBe(ids.length);
  return { ok, findings, of: (id: string): Finding | undefined => findings.find((finding) => finding.id === id) };
}

describe('examine', () => {
  it('a calm host has no problem and no warning', async () => {
    const { ok, findings } = await report();
    expect(ok).toBe(true);
    expect(findings.filter(({ level }) => level === 'problem' || level === 'warning')).toEqual([]);
  });

  it('names the ephemeral range, what lies in it, and what is not reserved', async () => {
    const binds = [bind('10.0.0.1:80'), bind('10.0.0.1:40000'), bind('10.0.0.1:40001')];
    const { of } = await report({ listeners: listeners(binds), kernel: { reserved: '40001' } });
    expect(of('ephemeral-range')?.facts).toEqual(['28232 ports; 2 of 3 listener ports lie among them']);
    expect(of('overlap')).toMatchObject({ level: 'warning', facts: ['not reserved: 40000'] });
    expect(of('source')).toMatchObject({ level: 'note', advice: expect.stringContaining('--harden source') as string });
  });

  it('says which sections have no source, or that all have one', async () => {
    const binds = listeners([bind('10.0.0.1:40000')]);
    const line = { section: 'backend b', file: 'h.cfg', line: 7, added: 'source 0.0.0.0' };
    const { of } = await report({ listeners: binds, unsourced: { unsourced: [line] } });
    expect(of('source')?.facts).toContain('h.cfg:7 backend b');
    expect((await report({ listeners: binds, unsourced: { unsourced: [] } })).of('source')).toMatchObject({
      level: 'ok',
    });
  });

  it('warns of a reserved share over the limit', async () => {
    const { of } = await report({ kernel: { reserved: '32768-50000' } });
    expect(of('reserved-share')).toMatchObject({
      level: 'warning',
      title: '61.0 % of the ephemeral range is reserved',
    });
  });

  it('holds the descriptor limits against maxconn and listeners', async () => {
    const wanted = listeners([bind('10.0.0.1:80', { sockets: 4 })], 20_480);
    const low = await report({ listeners: wanted, host: host(every, 20_000) });
    expect(low.ok).toBe(false);
    expect(low.of('descriptors')).toMatchObject({ level: 'problem' });
    expect(low.of('descriptors')?.facts[0]).toBe(
      'HAProxy may open 20000 descriptors and needs 40964: 2 × maxconn 20480 + 4 listeners',
    );
    const raised = host(new Set([...every, 'CAP_SYS_RESOURCE']), 20_000);
    expect((await report({ listeners: wanted, host: raised })).of('descriptors')).toMatchObject({ level: 'ok' });
  });

  it('names the missing capabilities and what each is for, only where it is needed', async () => {
    const none = host(new Set());
    const facts = async (options: Options) =>
      (await report({ ...options, host: none })).of('capabilities')?.facts.join('\n');
    const least = await facts({
      flags: { conflicts: { share: 'off', destroy: 'off' } },
      listeners: listeners([bind('10.0.0.1:8080')]),
    });
    expect(least).toBe('CAP_KILL to end the old HAProxy where it runs as another user');
    const all = await facts({
      flags: { netns: '7' },
      listeners: listeners([bind(inet('10.0.0.1%eth0:80', { transparent: true }))]),
    });
    expect(all).toMatch(/CAP_NET_BIND_SERVICE to guard ports below 1024/);
    expect(all).toMatch(/CAP_NET_ADMIN .*conflicts\.destroy/);
    expect(all).toMatch(/CAP_NET_ADMIN to guard transparent binds/);
    expect(all).toMatch(/CAP_NET_RAW .*interface/);
    expect(all).toMatch(/CAP_SYS_PTRACE to share ports/);
    expect(all).toMatch(/CAP_SYS_ADMIN .*namespace 7/);
  });

  it('Yama 3 forbids sharing; no Yama is fine', async () => {
    const scoped = (value: string) => report({ kernel: { sysctl: { ...sysctl, 'kernel.yama.ptrace_scope': value } } });
    expect((await scoped('3')).of('yama')).toMatchObject({ level: 'warning' });
    expect((await scoped('2')).of('yama')).toMatchObject({ level: 'ok' });
    expect((await report({ kernel: { sysctl: {} } })).of('yama')).toMatchObject({ level: 'ok' });
  });

  it('tells stale, draining and unrelated HAProxy processes apart', async () => {
    const rows = [
      row('LISTEN', '10.0.0.1:443', undefined, { inode: 1 }),
      row('LISTEN', '10.0.0.1:443', undefined, { inode: 2 }),
      row('LISTEN', '10.0.0.1:9000', undefined, { inode: 3 }),
    ];
    const haproxies = [
      processInfo(100),
      processInfo(201),
      processInfo(202, { residentBytes: 10_485_760 }),
      processInfo(203),
      processInfo(204),
      processInfo(205, { ppid: 204 }),
    ];
    const socketsOf = { 100: [1], 201: [2], 202: [7, 8], 203: [3], 204: [], 205: [3] };
    const { ok, of } = await report({ kernel: { rows, haproxies, socketsOf } });
    expect(ok).toBe(false);
    expect(of('stale-haproxy')).toMatchObject({ level: 'problem' });
    expect(of('stale-haproxy')?.facts).toEqual([
      'haproxy[201], started 2026-11-22T10:00:00.000Z listens on 10.0.0.1:443/tcp',
    ]);
    expect(of('draining-haproxy')?.facts).toEqual([
      'haproxy[202], started 2026-11-22T10:00:00.000Z, 2 sockets, 10 MiB',
    ]);
    expect(of('unrelated-haproxy')?.facts).toHaveLength(2);
  });

  it('sysctls that matter, for the families that are bound', async () => {
    const { of } = await report({
      listeners: listeners([bind('[::1]:80')]),
      kernel: { sysctl: { ...sysctl, 'net.ipv6.ip_nonlocal_bind': '1' } },
    });
    expect(of('nonlocal-bind-ipv6')).toMatchObject({ level: 'ok', facts: ['net.ipv6.ip_nonlocal_bind = 1'] });
    expect(of('nonlocal-bind-ipv4')).toBeUndefined();
    expect(of('tcp-migrate-req')).toMatchObject({ level: 'note' });
  });

  it('says that SOCK_DESTROY cannot be known beforehand, where it is allowed', async () => {
    expect((await report()).of('socket-destroy')).toMatchObject({ level: 'note' });
    expect((await report({ flags: { conflicts: { destroy: 'off' } } })).of('socket-destroy')).toBeUndefined();
  });

  it('what cannot be examined is a finding, and the rest is examined all the same', async () => {
    const missing = new BerthError('BERTH_HAPROXY_MISSING', 'no haproxy in PATH', { step: 'build' });
    const broken = haproxy({ build: () => Promise.reject(missing), find: () => Promise.resolve(undefined) });
    const { ok, of } = await report({ haproxy: broken });
    expect(ok).toBe(false);
    expect(of('haproxy-binary')).toMatchObject({ level: 'problem', facts: ['no haproxy in PATH'] });
    expect(of('haproxy-running')).toMatchObject({ level: 'note' });
    expect(of('ephemeral-range')).toMatchObject({ level: 'ok' });
  });
});

describe('limits of this process', () => {
  it('are read', async () => {
    expect((await descriptorLimit(process.pid))?.hard).toBeGreaterThan(0);
    expect(await descriptorLimit(2 ** 22 + 1)).toBeUndefined();
    const held = await capabilities();
    for (const name of held) expect(name).toMatch(/^CAP_/);
  });
});
