/** The command as a user runs it, on real HAProxy in a private network namespace; every answer is held to the schema. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { cannotRun, configuration, haproxyBinaries, Lab, repository } from '../support/haproxy.js';
import { schemaErrors } from '../support/json-schema.js';

interface Answer {
  readonly verb: string;
  readonly exit: number;
  readonly result?: object;
  readonly error?: object;
}

const command = join(repository, 'bin/berth');
const why = cannotRun();

beforeAll(() => {
  const { status, stderr } = spawnSync(command, ['--version'], { encoding: 'utf8' });
  expect(stderr.split('\n').filter((line) => line.includes('error'))).toEqual([]);
  expect(status).toBe(0);
});

describe('the process', () => {
  it('prints its version', () => {
    expect(spawnSync(command, ['--version'], { encoding: 'utf8' }).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it('is quiet when its reader goes away', () => {
    const script = `set -o pipefail; "$1" completion bash | head -c 1 >/dev/null; exit \${PIPESTATUS[0]}`;
    const { status, stderr } = spawnSync('bash', ['-c', script, 'bash', command], { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(status).toBe(0);
  });

  it('does not claim success where the answer could not be written', () => {
    const { status } = spawnSync('sh', ['-c', '"$1" completion bash > /dev/full', 'sh', command]);
    expect(status).toBe(11);
  });

  it('writes long answers whole into a slow pipe', () => {
    const script = '"$1" completion bash --json | (sleep 0.2; cat)';
    const { stdout } = spawnSync('sh', ['-c', script, 'sh', command], { encoding: 'utf8' });
    expect(JSON.parse(stdout)).toMatchObject({ verb: 'completion', ok: true });
  });
});

describe.skipIf(why !== undefined)(`the verbs${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  let lab: Lab;
  let state: string;
  const [haproxy] = haproxyBinaries();
  beforeEach(async () => {
    lab = await Lab.open();
    state = lab.path('state');
  });
  afterEach(() => lab.close());

  const words = (...more: string[]) => [
    ...['--state-dir', state, '--netns', lab.netns, '--haproxy', haproxy?.path ?? 'haproxy'],
    ...more,
  ];

  /** The answer under --json, held to the schema; its exit status is the process's. */
  function berth(...more: string[]): Answer {
    const { status, stdout, stderr } = spawnSync(command, words(...more, '--json'), { encoding: 'utf8' });
    expect(stdout, stderr).toMatch(/^\{.*\}\n$/);
    const answer = JSON.parse(stdout) as Answer;
    expect(schemaErrors(answer)).toEqual([]);
    expect(status).toBe(answer.exit);
    return answer;
  }

  const text = (...more: string[]) => spawnSync(command, words(...more), { encoding: 'utf8' });

  it('from preflight to rollback', () => {
    const config = lab.write('a.cfg', configuration(['127.0.0.1:8001', '127.0.0.1:40001']));
    expect(berth('preflight', config)).toMatchObject({ exit: 0, result: { ok: true } });
    expect(berth('plan', config)).toMatchObject({ exit: 0, result: { plan: { open: [{}, {}], keep: [] } } });
    expect(berth('reload', config)).toMatchObject({ exit: 0, result: { outcome: 'served', generation: 1 } });
    lab.write('a.cfg', configuration(['127.0.0.1:8001', '127.0.0.1:8002']));
    expect(berth('reload', '--dry-run', config)).toMatchObject({ verb: 'plan', result: { plan: { keep: [{}] } } });
    expect(berth('reload', config)).toMatchObject({ exit: 0, result: { generation: 2, listeners: { kept: 1 } } });
    expect(berth('status')).toMatchObject({ exit: 0, result: { ok: true, listeners: { served: 2 } } });
    expect(berth('diff', '1', '2')).toMatchObject({
      exit: 0,
      result: { listeners: { added: ['127.0.0.1:8002/tcp'], removed: ['127.0.0.1:40001/tcp'] } },
    });
    expect(berth('rollback')).toMatchObject({ exit: 0, result: { outcome: 'served', generation: 3 } });
    expect(berth('history')).toMatchObject({ exit: 0, result: { generations: [{}, {}, {}] } });
    expect([...lab.listeners().keys()]).toEqual(expect.arrayContaining(['127.0.0.1:8001', '127.0.0.1:40001']));

    expect(text('history').stdout).toMatch(/^\* 3 /m);
    expect(text('status').stdout).toMatch(/^2 of 2 listeners served/);
    expect(text('plan', config).stdout).toMatch(/^keep {2}1\n {2}127\.0\.0\.1:8001\/tcp {2}listen lb0/m);
    expect(text('preflight', config).stdout).toContain('A reload would serve all of 2 listeners');
    expect(berth('advise', '--seconds', '0').result).toMatchObject({ source: 'measured', inputs: { listeners: 2 } });
    expect(berth('doctor', config).result).toMatchObject({ findings: expect.any(Array) as unknown });
  });

  it('a listener of somebody else: told, left out, and the exit status says so', async () => {
    const holder = spawn('nsenter', [
      `--net=${lab.netns}`,
      process.execPath,
      '-e',
      "require('net').createServer().listen(8002, '127.0.0.1', () => console.log('up'))",
    ]);
    await once(holder.stdout, 'data');
    const config = lab.write('a.cfg', configuration(['127.0.0.1:8001', '127.0.0.1:8002']));
    expect(berth('preflight', 'tcp:127.0.0.1:8001-8002')).toMatchObject({
      exit: 3,
      result: { ok: false, listeners: [{ servable: true }, { servable: false, verdict: { kind: 'taken' } }] },
    });
    const told = text('preflight', config);
    expect(told.status).toBe(3);
    expect(told.stdout).toMatch(
      /^cannot {2}127\.0\.0\.1:8002\/tcp {2}listen lb1, .*a\.cfg:\d+\n {8}taken by a listener/,
    );
    expect(told.stdout).toContain(`node[${holder.pid ?? 0}]`);
    expect(berth('reload', '--on-unsolved', 'abort', config)).toMatchObject({
      exit: 3,
      error: { code: 'BERTH_UNSERVABLE' },
    });
    expect(lab.listeners().has('127.0.0.1:8001')).toBe(false);
    expect(berth('reload', config)).toMatchObject({
      exit: 3,
      ok: false,
      result: { outcome: 'served-in-part', quarantined: [{ name: '127.0.0.1:8002/tcp' }] },
    });
    expect(lab.listeners().has('127.0.0.1:8001')).toBe(true);
    expect(text('status').stdout).toContain('quarantined  127.0.0.1:8002/tcp');
  });

  it('reservations: kept apart from those of others', async () => {
    await lab.exec('sysctl', ['-qw', 'net.ipv4.ip_local_reserved_ports=50000']);
    expect(berth('reserve', '40001,40003-40004')).toMatchObject({ exit: 0, result: { added: '40001,40003-40004' } });
    expect(berth('reservations')).toMatchObject({ result: { ours: '40001,40003-40004', foreign: '50000' } });
    expect(berth('release', '40001')).toMatchObject({ exit: 0, result: { ours: '40003-40004' } });
    expect(berth('release', '--all')).toMatchObject({ result: { ours: '', foreign: '50000' } });
    expect(await lab.exec('sysctl', ['-n', 'net.ipv4.ip_local_reserved_ports'])).toBe('50000\n');
  });

  it('errors: what is wrong, and nothing changed', () => {
    const broken = lab.write('b.cfg', 'listen x\n  bind 127.0.0.1:8001\n  frobnicate\n');
    expect(berth('reload', broken)).toMatchObject({ exit: 4, error: { code: 'BERTH_CONFIG_REFUSED' } });
    expect(berth('plan', broken)).toMatchObject({ exit: 4, result: { check: { ok: false } } });
    expect(berth('reload', lab.path('none.cfg'))).toMatchObject({
      exit: 4,
      error: { code: 'BERTH_CONFIG_UNREADABLE' },
    });
    expect(berth('rollback', '7')).toMatchObject({ exit: 2, error: { code: 'BERTH_GENERATION_UNKNOWN' } });
    expect(berth('status', '--set', 'frob=1')).toMatchObject({ exit: 2, error: { code: 'BERTH_SETTINGS' } });
    expect(berth('preflight', broken, '--haproxy', '/nowhere')).toMatchObject({ exit: 6 });
    expect(lab.haproxies()).toEqual([]);
  });

  it('the second on a state directory is told who has it; --wait waits, and Ctrl-C ends that', async () => {
    const config = lab.write('a.cfg', configuration(['127.0.0.1:8001']));
    expect(berth('reload', config).exit).toBe(0);
    const lock = join(state, 'lock');
    const holder = spawn('flock', [lock, 'sh', '-c', 'echo locked; exec cat']);
    await once(holder.stdout, 'data');
    expect(berth('reload', config)).toMatchObject({ exit: 7, error: { code: 'BERTH_LOCKED' } });

    const interrupted = spawn(command, words('reload', '--wait', config));
    await listensForSignals(interrupted.pid ?? 0);
    interrupted.kill('SIGINT');
    expect(await once(interrupted, 'exit')).toEqual([130, null]);

    const patient = spawn(command, words('reload', '--wait', config));
    await listensForSignals(patient.pid ?? 0);
    holder.stdin.end();
    expect(await once(patient, 'exit')).toEqual([0, null]);
  });
});

/** Until the process catches SIGHUP, which Node does not do by itself: the mask SigCgt of proc(5), bit 0. */
async function listensForSignals(pid: number): Promise<void> {
  for (;;) {
    const mask = /^SigCgt:\s+([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
    if (BigInt(`0x${mask}`) & 1n) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
