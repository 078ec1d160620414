import { describe, expect, it, vi } from 'vitest';
import type { Envelope } from '../../src/cli/envelope.js';
import { run } from '../../src/cli/run.js';
import { BerthError, ERROR_TABLE } from '../../src/errors.js';
import { EXIT_STATUSES } from '../../src/cli/exits.js';
import * as sample from './cli-samples.js';

function json(host: sample.TestHost): Envelope {
  expect(host.out().endsWith('\n')).toBe(true);
  return JSON.parse(host.out()) as Envelope;
}

describe('exit statuses', () => {
  it.each([
    [['preflight', 'a.cfg'], {}, 0],
    [['preflight', 'a.cfg'], { preflight: { ...sample.preflight, ok: false } }, 3],
    [['preflight', 'a.cfg'], { preflight: { ...sample.preflight, ok: false, check: { ok: false, messages: [] } } }, 4],
    [['plan', 'a.cfg'], {}, 0],
    [['plan', 'a.cfg'], { plan: { ...sample.plan, check: { ok: false, messages: ['no'] } } }, 4],
    [['plan', 'a.cfg'], { plan: withQuarantine() }, 3],
    [['reload', 'a.cfg'], {}, 0],
    [['reload', 'a.cfg'], { reload: sample.inPart }, 3],
    [['reload', '--dry-run', 'a.cfg'], { plan: withQuarantine() }, 3],
    [['rollback'], {}, 0],
    [['rollback', '7'], { rollback: sample.inPart }, 3],
    [['stop'], {}, 0],
    [['history'], {}, 0],
    [['diff', '41', '42'], {}, 0],
    [['status'], {}, 0],
    [['status'], { status: { ...sample.status, ok: false } }, 3],
    [['reserve', '58824'], {}, 0],
    [['release', '58824'], {}, 0],
    [['reservations'], {}, 0],
    [['doctor'], {}, 3],
    [['advise'], {}, 0],
    [['completion', 'bash'], {}, 0],
  ])('berth %j %# exits as documented', async (words, answers, expected) => {
    const methods = Object.fromEntries(
      Object.entries(answers).map(([name, report]) => [name, () => Promise.resolve(report)]),
    );
    const host = sample.testHost(sample.sampleBerth(methods));
    expect(await run(words, host)).toBe(expected);
    expect(host.err()).toBe('');
  });

  it('every status of the error table has words, and no other', () => {
    const ofErrors = new Set(Object.values(ERROR_TABLE).map(({ exit }) => exit as number));
    const inWords = EXIT_STATUSES.map(([status]) => status);
    expect(new Set(inWords)).toEqual(new Set([0, ...ofErrors]));
  });
});

function withQuarantine() {
  const step = {
    bind: sample.bind(8080),
    verdict: sample.foreign.verdict,
    rungs: ['quarantine'],
    reason: 'nginx[812]',
  };
  return { ...sample.plan, plan: { ...sample.plan.plan, quarantine: [step] } };
}

describe('--json', () => {
  it('answers with one envelope, before or after the verb', async () => {
    for (const words of [
      ['status', '--json'],
      ['--json', 'status'],
    ]) {
      const host = sample.testHost();
      expect(await run(words, host)).toBe(0);
      expect(json(host)).toEqual({
        berth: '0.1.0',
        schema: 1,
        verb: 'status',
        ok: true,
        exit: 0,
        result: sample.status,
      });
    }
  });

  it('answers as plan under reload --dry-run, and never reloads', async () => {
    const reload = vi.fn();
    const host = sample.testHost(sample.sampleBerth({ reload }));
    await run(['reload', '--json', '-n', 'a.cfg'], host);
    expect(json(host)).toMatchObject({ verb: 'plan', result: sample.plan });
    expect(reload).not.toHaveBeenCalled();
  });

  it('carries an error with its code, step, advice, details and cause', async () => {
    const cause = Object.assign(new Error('no'), { code: 'EACCES', errno: -13, syscall: 'openat', path: '/x' });
    const error = new BerthError('BERTH_STATE_DIR', '/x cannot be used', { step: 'state', cause, details: { a: 1 } });
    const host = sample.testHost(sample.sampleBerth({ history: () => Promise.reject(error) }));
    expect(await run(['history', '--json'], host)).toBe(9);
    expect(json(host)).toEqual({
      berth: '0.1.0',
      schema: 1,
      verb: 'history',
      ok: false,
      exit: 9,
      error: {
        code: 'BERTH_STATE_DIR',
        step: 'state',
        message: '/x cannot be used',
        advice: ERROR_TABLE.BERTH_STATE_DIR.advice,
        details: { a: 1 },
        cause: { code: 'EACCES', errno: 13, syscall: 'openat', path: '/x' },
      },
    });
    expect(host.err()).toContain('berth: /x cannot be used\n');
    expect(host.err()).toContain('openat: EACCES /x');
  });

  it('carries a wrong command line too', async () => {
    const host = sample.testHost();
    expect(await run(['reload', '--json'], host)).toBe(2);
    expect(json(host)).toMatchObject({ verb: 'reload', ok: false, exit: 2, error: { code: 'BERTH_USAGE' } });
  });

  it('does not take a file of that name for the option', async () => {
    const host = sample.testHost(sample.sampleBerth({ plan: () => Promise.reject(new Error('x')) }));
    expect(await run(['plan', '--', '--json'], host)).toBe(70);
    expect(host.out()).toBe('');
  });
});

describe('a wrong command line', () => {
  it.each([
    [['relod'], "unknown command 'relod' (Did you mean reload?)"],
    [['reload'], "missing required argument 'config'"],
    [['history', 'x'], 'too many arguments'],
    [['reload', '--frob', 'x'], "unknown option '--frob'"],
    [['reload', '--on-unsolved', 'explode', 'x'], 'Allowed choices are quarantine, abort'],
    [['reload', '--deadline', '-1', 'x'], '0 or larger'],
    [['reload', '--max-share', '120%', 'x'], 'share from 0 to 1'],
    [['reload', '--keep', '1.5', 'x'], 'whole number'],
    [['reload', '--set', 'nokey', 'x'], 'key=value'],
    [['rollback', '0'], "'0' is no generation number"],
    [['diff', '1', 'x'], "'x' is no generation number"],
    [['release'], 'release wants a list of ports, or --all'],
    [['release', '--all', '80'], 'release wants a list of ports, or --all'],
    [['completion', 'tcsh'], 'Allowed choices are bash, zsh, fish'],
  ])('berth %j says %j', async (words, text) => {
    const host = sample.testHost();
    expect(await run(words, host)).toBe(2);
    expect(host.out()).toBe('');
    expect(host.err()).toContain('berth: ');
    expect(host.err()).toContain(text);
    expect(host.err()).toContain('BERTH_USAGE');
    expect(host.opened).toEqual([]);
  });

  it('prints the help on standard error where there is no verb, and on standard output where it was asked for', async () => {
    const without = sample.testHost();
    expect(await run([], without)).toBe(2);
    expect(without.err()).toContain('Usage: berth');
    const asked = sample.testHost();
    expect(await run(['help', 'reload'], asked)).toBe(0);
    expect(asked.out()).toContain('Usage: berth reload');
    expect(asked.err()).toBe('');
  });
});

describe('options', () => {
  const settingsOf = async (...words: string[]) => {
    const host = sample.testHost();
    await run(words, host);
    return host.opened[0];
  };

  it('become settings', async () => {
    const opened = await settingsOf(
      ...['reload', '--state-dir', '/s', '--netns', '1234', '--haproxy', 'haproxy-3', '--pid-file', '/run/h.pid'],
      ...['--master-socket', '/run/m.sock', '--mode', 'standalone', '--settings', 'b.yaml', '--wait', '--no-share'],
      ...['--destroy', 'off', '--deadline', '1.5', '--on-unsolved', 'abort', '--harden', 'source', '--no-reserve'],
      ...['--max-share', '25%', '--keep', '0', 'a.cfg'],
    );
    expect(opened).toMatchObject({
      settingsFile: 'b.yaml',
      settings: {
        stateDir: '/s',
        netns: '1234',
        haproxy: { binary: 'haproxy-3', pidFile: '/run/h.pid', masterSocket: '/run/m.sock', mode: 'standalone' },
        lockWaitMs: 86_400_000,
        conflicts: {
          share: 'off',
          destroy: 'off',
          wait: { enabled: true, deadlineMs: 1500 },
          onUnsolved: 'abort',
        },
        harden: 'source',
        reserve: { enabled: false, maxShare: 0.25 },
        dataPreserveN: 0,
      },
    });
  });

  it('not given leave the settings alone', async () => {
    expect((await settingsOf('status'))?.settings).toEqual({});
    expect(await settingsOf('status')).not.toHaveProperty('settingsFile');
  });

  it('--deadline 0 does not wait', async () => {
    expect((await settingsOf('plan', '--deadline', '0', 'x'))?.settings).toEqual({
      conflicts: { wait: { enabled: false } },
    });
  });

  it('--set nests keys, reads JSON, goes over the named options, and cannot reach a prototype', async () => {
    const opened = await settingsOf(
      ...['plan', '--set', 'reserve.maxShare=0.3', '--set', 'haproxy.extraArguments=["-dL"]', '--max-share', '0.1'],
      ...['--set', 'haproxy.binary=/opt/h=1', '--set', 'constructor.prototype.polluted=1', 'x'],
    );
    expect(opened?.settings).toEqual({
      reserve: { maxShare: 0.3 },
      haproxy: { extraArguments: ['-dL'], binary: '/opt/h=1' },
      constructor: { prototype: { polluted: 1 } },
    });
    expect({}).not.toHaveProperty('polluted');
  });

  it('-C and the operands reach the verb', async () => {
    const reload = vi.fn(() => Promise.resolve(sample.reload));
    await run(['reload', '-C', '/conf', 'a.cfg', 'b.d'], sample.testHost(sample.sampleBerth({ reload })));
    expect(reload).toHaveBeenCalledWith(['a.cfg', 'b.d'], { workingDirectory: '/conf' });
  });

  it('release joins lists; --all releases everything; diff takes the serving generation', async () => {
    const release = vi.fn(() => Promise.resolve({ ...sample.reservations, added: '', removed: '' }));
    const diff = vi.fn(() => Promise.resolve(sample.diff));
    const berth = sample.sampleBerth({ release, diff });
    await run(['release', '80', '90-91'], sample.testHost(berth));
    await run(['release', '--all'], sample.testHost(berth));
    await run(['diff', '40'], sample.testHost(berth));
    expect(release.mock.calls).toEqual([['80,90-91'], [undefined]]);
    expect(diff).toHaveBeenCalledWith(40, 42);
  });
});

describe('interrupts', () => {
  it('the first aborts, the second is asked for patience, the third ends; the status is 130', async () => {
    const host: sample.TestHost = sample.testHost(
      sample.sampleBerth({
        reload: () => {
          const signal = host.opened[0]?.signal;
          host.interrupt();
          expect(signal?.aborted).toBe(true);
          expect(host.exits).toEqual([]);
          host.interrupt();
          expect(host.exits).toEqual([]);
          host.interrupt();
          expect(host.exits).toEqual([130]);
          return Promise.reject(new DOMException('aborted', 'AbortError'));
        },
      }),
    );
    expect(await run(['reload', 'a.cfg'], host)).toBe(130);
    expect(host.err()).toMatch(/undoing[^]*finishing[^]*ended at once[^]*BERTH_INTERRUPTED/);
    expect(host.listening()).toBe(0);
  });

  it('too late to undo: the reload is reported as it ended', async () => {
    const host: sample.TestHost = sample.testHost(
      sample.sampleBerth({
        reload: () => {
          host.interrupt();
          return Promise.resolve(sample.reload);
        },
      }),
    );
    expect(await run(['reload', 'a.cfg'], host)).toBe(0);
    expect(host.out()).toContain('Generation 42 serves 2001 listeners');
  });
});

describe('Berth', () => {
  it('is closed after success and after failure', async () => {
    const close = vi.fn(() => Promise.resolve());
    await run(['status'], sample.testHost(sample.sampleBerth({ close })));
    await run(['status'], sample.testHost(sample.sampleBerth({ close, status: () => Promise.reject(new Error('x')) })));
    expect(close).toHaveBeenCalledTimes(2);
  });

  it('a defect is told with its stack', async () => {
    const host = sample.testHost(sample.sampleBerth({ status: () => Promise.reject(new TypeError('oops')) }));
    expect(await run(['status'], host)).toBe(70);
    expect(host.err()).toMatch(/BERTH_INTERNAL[^]*TypeError: oops\n\s+at /);
  });
});
