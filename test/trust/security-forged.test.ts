/** A journal, ledger or `current` that says what Berth never wrote there: nobody is ended, and nobody's ports are released. */
import { spawn } from 'node:child_process';
import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openBerth, type Berth } from '../../src/berth.js';
import { Journal, type JournalEntry } from '../../src/reload/journal.js';
import { recordAttempts } from '../support/attempts.js';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';
import { readProcess } from '../support/process-table.js';

const why = cannotRun();
type After = Exclude<JournalEntry, { kind: 'begin' }>;
interface Target {
  readonly pid: number;
  readonly startTicks: string;
}
const HUGE = Number.MAX_SAFE_INTEGER;

/** Records of a transaction that never was, with a process of somebody else's in it. */
const FORGED: Readonly<Record<string, (target: Target) => [number, Target | undefined, ...After[]]>> = {
  'started somebody': (target) => [9, undefined, { kind: 'handing-over' }, { kind: 'started', ...target }],
  'replaced somebody': (target) => [1, target, { kind: 'handing-over' }, { kind: 'verified' }, { kind: 'committing' }],
  'was about to retire somebody': (target) => [1, target, { kind: 'committing' }, { kind: 'retiring', ...target }],
  'a huge generation': (target) => [HUGE, undefined, { kind: 'handing-over' }, { kind: 'started', ...target }],
  'a huge pid': () => [9, { pid: HUGE, startTicks: '9'.repeat(400) }, { kind: 'handing-over' }],
  'reserved all ports': () => [9, undefined, { kind: 'reserving', ports: '1-65535' }, { kind: 'reserved' }],
  'paths that lead out': () => [
    ...([9, undefined] as const),
    { kind: 'handing-over', handoff: '/etc/passwd', pidFile: '../../../etc/passwd' },
    { kind: 'committing', pidFile: '../../../etc/passwd' },
  ],
};

describe.skipIf(why !== undefined)('forged', () => {
  const [binary = { version: '', path: '' }] = why === undefined ? haproxyBinaries() : [];
  let lab: Lab;
  let berth: Berth;
  beforeEach(async () => {
    lab = await Lab.open();
    berth = await openBerth({
      settings: { stateDir: lab.path('state'), netns: lab.netns, haproxy: { binary: binary.path } },
      environment: {},
    });
    await berth.reload([lab.write('a.cfg', configuration(['127.0.0.1:8001']))]);
  });
  afterEach(async () => {
    await berth.close();
    await lab.close();
  });

  test('records have nobody else’s process ended, no foreign port released and no file written', async () => {
    const reserved = 'net.ipv4.ip_local_reserved_ports';
    await lab.exec('sysctl', ['-qw', `${reserved}=40000,50000-50010`]);
    const other = spawn('nsenter', [`--net=${lab.netns}`, '--', 'sleep', '600']);
    const target = { pid: other.pid ?? 0, startTicks: readProcess(other.pid ?? 0)?.startTicks ?? '' };
    const passwd = readFileSync('/etc/passwd', 'utf8');
    const inodes = lab.listeners().get('127.0.0.1:8001');
    const succeeded: string[] = [];
    for (const [name, make] of Object.entries(FORGED)) {
      const [generation, old, ...records] = make(target);
      rmSync(lab.path('state/journal'));
      const journal = await Journal.open(lab.path('state/journal'));
      await journal.begin({ kind: 'begin', transaction: name, generation, mode: 'standalone', ...(old && { old }) });
      await journal.append(...records);
      await journal.close();
      const said = await berth.reload([lab.path('a.cfg')]).then(
        () => '',
        (error: unknown) => String((error as { code?: string }).code),
      );
      if (other.exitCode !== null || other.signalCode !== null) succeeded.push(`${name}: a process was ended`);
      if (said !== '' && !said.startsWith('BERTH_')) succeeded.push(`${name}: ${said}`);
      if (said === 'BERTH_INTERNAL') succeeded.push(`${name}: ${said}`);
      if (lab.listeners().get('127.0.0.1:8001')?.join() !== inodes?.join()) succeeded.push(`${name}: the listener`);
    }
    for (const to of ['../../etc', '/etc', 'generations/../../..', 'generations/1/root']) {
      rmSync(lab.path('state/current'));
      symlinkSync(to, lab.path('state/current'));
      const error: unknown = await berth.reload([lab.path('a.cfg')]).catch((thrown: unknown) => thrown);
      if ((error as { code?: string }).code !== 'BERTH_STATE_DIR') succeeded.push(`current -> ${to}`);
    }
    const ports = (await lab.exec('sysctl', ['-n', reserved])).trim();
    if (!/\b40000\b.*\b50000-50010\b/.test(ports)) succeeded.push(`reserved: ${ports}`);
    if (readFileSync('/etc/passwd', 'utf8') !== passwd) succeeded.push('/etc/passwd was written');
    other.kill('SIGKILL');
    recordAttempts({
      name: 'forged records',
      promise:
        'Whatever the journal says, nobody’s process but a HAProxy is ended, no foreign reservation released, no path followed.',
      what: 'by a forged journal and a forged `current`',
      tried: Object.keys(FORGED).length + 4,
      succeeded,
      haproxy: binary,
    });
    expect(succeeded).toEqual([]);
  });

  test.each([
    '{"version":1,"reserved":{"x:1":"1-65535"}}',
    `{"version":1,"reserved":{"x:1":"${'1,'.repeat(1 << 20)}1"}}`,
  ])('a ledger of another boot (%#) releases nothing', async (text) => {
    await lab.exec('sysctl', ['-qw', 'net.ipv4.ip_local_reserved_ports=40000']);
    writeFileSync(lab.path('state/ledger.json'), text, { mode: 0o600 });
    await berth.reload([lab.path('a.cfg')]).catch(() => undefined);
    expect((await lab.exec('sysctl', ['-n', 'net.ipv4.ip_local_reserved_ports'])).trim()).toContain('40000');
  });
});
