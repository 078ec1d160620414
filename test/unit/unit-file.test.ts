/** The systemd unit: what must stand there, and a reason for every protection that systemd offers and the unit leaves off. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadSettings } from '../../src/settings.js';
import { repository } from '../support/haproxy.js';
import { unitFile, unitPath, wordsOf } from '../support/unit-file.js';

const unit = unitFile();
const valueOf = (key: string) => unit.filter(([, name]) => name === key).map(([, , value]) => value);
const seconds = (text = '') => Number(/^(\d+)s$/.exec(text)?.[1]);

describe('berth.service', () => {
  it('a stop of the agent ends the agent alone, and the OOM killer ends a HAProxy alone', () => {
    expect(valueOf('KillMode')).toEqual(['process']);
    expect(valueOf('OOMPolicy')).toEqual(['continue']);
  });

  it('the watchdog waits for two heartbeats at least, and is fed by the main process only', () => {
    expect(valueOf('Type')).toEqual(['notify']);
    expect(valueOf('NotifyAccess')).toEqual(['main']);
    expect(seconds(valueOf('WatchdogSec')[0]) * 1000).toBeGreaterThan(2 * loadSettings().reconcile.heartbeatMs);
  });

  it('starts and stops have the time that a transaction may take', () => {
    const { checkMs, startMs, settleMs } = loadSettings().timeouts;
    for (const key of ['TimeoutStartSec', 'TimeoutStopSec'])
      expect(seconds(valueOf(key)[0]) * 1000).toBeGreaterThan(checkMs + startMs + settleMs);
  });

  it('keeps what the keeper stored, and the directories of the settings', () => {
    expect(Number(valueOf('FileDescriptorStoreMax')[0])).toBeGreaterThanOrEqual(16_384);
    expect(valueOf('FileDescriptorStorePreserve')).toEqual(['restart']);
    const { stateDir, agent } = loadSettings();
    expect(`/var/lib/${valueOf('StateDirectory')[0]}`).toBe(stateDir);
    expect(agent.socket.startsWith(`/run/${valueOf('RuntimeDirectory')[0]}/`)).toBe(true);
    expect(valueOf('RuntimeDirectoryPreserve')).toEqual(['yes']);
  });

  it('leaves writable what Berth writes: the state, /run, and /proc/sys', () => {
    expect(valueOf('ProtectSystem')).toEqual(['strict']);
    expect(wordsOf('ReadWritePaths')).toContain('/run');
    expect(valueOf('ProtectKernelTunables')).toEqual([]);
  });

  it('lets through the families and calls that Berth needs', () => {
    expect(wordsOf('RestrictAddressFamilies').sort()).toEqual(['AF_INET', 'AF_INET6', 'AF_NETLINK', 'AF_UNIX']);
    expect(wordsOf('SystemCallFilter')).toEqual(['@system-service', 'chroot', 'pidfd_getfd']);
  });

  it('has root’s capabilities but for those that are needed taken away', () => {
    expect(wordsOf('CapabilityBoundingSet').sort()).toEqual([
      ...['CAP_CHOWN', 'CAP_DAC_OVERRIDE', 'CAP_FOWNER', 'CAP_KILL', 'CAP_NET_ADMIN', 'CAP_NET_BIND_SERVICE'],
      ...['CAP_SETGID', 'CAP_SETUID', 'CAP_SYS_CHROOT', 'CAP_SYS_PTRACE'],
    ]);
    expect(valueOf('NoNewPrivileges')).toEqual(['yes']);
    expect(valueOf('AmbientCapabilities')).toEqual(['']);
  });

  it('says why next to each capability', () => {
    const comments = readFileSync(unitPath, 'utf8').replace(/^[^#].*$/gm, '');
    for (const capability of wordsOf('CapabilityBoundingSet')) expect(comments).toContain(capability);
  });
});

/** What `systemd-analyze security` finds off, and why it is. Names of systemd 252 to 257. */
const OFF: Readonly<Record<string, string>> = {
  SystemCallFilter_resources: 'HAProxy sets its descriptor limit and, with cpu-map, its affinity',
  SystemCallFilter_privileged: 'HAProxy: setuid, setgid, chroot, chown',
  SystemCallFilter_mount: 'chroot alone of that group, for HAProxy',
  SystemCallFilter_debug: 'pidfd_getfd alone of that group, to share a port',
  RootDirectoryOrRootImage: 'it looks after the host',
  UserOrDynamicUser: 'HAProxy binds and changes its user as root; sockets with SO_REUSEPORT must have one user',
  CapabilityBoundingSet_CAP_KILL: 'a HAProxy with a user of its own is told to finish',
  CapabilityBoundingSet_CAP_DAC_FOWNER_IPC_OWNER: 'sockets and pid files in directories of another user',
  CapabilityBoundingSet_CAP_SYS_CHROOT: "HAProxy's chroot",
  CapabilityBoundingSet_CAP_CHOWN_FSETID_SETFCAP: "HAProxy's user and group on sockets",
  CapabilityBoundingSet_CAP_SET_UID_GID_PCAP: "HAProxy's user and group",
  CapabilityBoundingSet_CAP_SYS_PTRACE: 'who holds a port, and sharing it',
  CapabilityBoundingSet_CAP_NET_ADMIN: 'SOCK_DESTROY and transparent binds',
  CapabilityBoundingSet_CAP_NET_BIND_SERVICE_BROADCAST_RAW: 'listeners below port 1024',
  PrivateMounts: 'ProtectSystem and PrivateTmp give it one already',
  MemoryDenyWriteExecute: 'V8 compiles to memory',
  ProtectKernelTunables: 'ip_local_reserved_ports stands in /proc/sys',
  RestrictAddressFamilies_AF_NETLINK: 'NETLINK_SOCK_DIAG',
  RestrictAddressFamilies_AF_UNIX: 'the API, the stats sockets, sd_notify',
  RestrictAddressFamilies_AF_INET_INET6: 'listeners',
  ProtectProc: 'processes of every user hold ports',
  ProcSubset: 'the sysctls of /proc/sys/net',
  PrivateNetwork: 'the network of the host is what it is for',
  PrivateUsers: 'owners of sockets have names of the host',
  DeviceAllow: 'ProtectClock allows reading the clock',
  IPAddressDeny: 'HAProxy talks to everybody',
  UMask: "HAProxy's sockets get their mode from it",
};

interface Finding {
  readonly set: boolean | null;
  readonly json_field: string;
}

const analyze = spawnSync('systemd-analyze', ['--version'], { encoding: 'utf8' });
const missing = analyze.status !== 0;
if (missing && process.env['BERTH_MUST_RUN'] !== '1') console.warn('skipped: systemd-analyze is not installed');

describe.skipIf(missing && process.env['BERTH_MUST_RUN'] !== '1')('systemd-analyze', () => {
  it('verify finds nothing but what is not installed here or newer than systemd 252', () => {
    const { stderr } = spawnSync('systemd-analyze', ['verify', unitPath], { encoding: 'utf8' });
    const known = [/Unknown key.*FileDescriptorStorePreserve/, /\/usr\/bin\/berth is not executable/, /man berth\(1\)/];
    const found = stderr.split('\n').filter((line) => line.includes('berth') && !known.some((one) => one.test(line)));
    expect(found).toEqual([]);
  });

  it('security finds nothing off without a reason', () => {
    const words = ['security', '--offline=true', '--json=short', '--no-pager', unitPath];
    const findings = JSON.parse(
      execFileSync('systemd-analyze', words, { encoding: 'utf8', stdio: 'pipe' }),
    ) as Finding[];
    const off = findings.filter(({ set }) => set === false).map(({ json_field }) => json_field.replace(')', ''));
    expect(off.filter((name) => !Object.hasOwn(OFF, name))).toEqual([]);
    expect(off.length).toBeGreaterThan(10);
  });
});

describe('the other files', () => {
  const directory = join(repository, 'packaging/systemd');
  const lines = (name: string) =>
    readFileSync(join(directory, name), 'utf8')
      .split('\n')
      .filter((line) => !/^\s*(#|$)/.test(line));

  it('are these', () => {
    expect(readdirSync(directory).sort()).toEqual([
      '90-berth.conf',
      'berth.service',
      'berth.sysusers',
      'berth.tmpfiles',
    ]);
  });

  it('make the group that may act, and the directories that the settings name', () => {
    const { agent, stateDir } = loadSettings();
    expect(lines('berth.sysusers')).toEqual([`g ${agent.group} -`]);
    expect(lines('berth.tmpfiles').map((line) => line.split(' ').slice(1, 3))).toEqual([
      ['/run/berth', '0755'],
      [stateDir, '0700'],
      ['/etc/berth', '0755'],
    ]);
  });

  it('change no sysctl unasked', () => {
    expect(lines('90-berth.conf')).toEqual([]);
  });
});
