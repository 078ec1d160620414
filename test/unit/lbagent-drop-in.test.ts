/** What the drop-in does about each outcome, by what lbagent will do about its exit status. */
import { describe, expect, it } from 'vitest';
import { BerthError, type ErrorCode } from '../../src/errors.js';
import { CANNOT_START, runDropIn, type DropInBerth, type DropInDeps } from '../../src/lbagent/drop-in.js';
import type { ReloadEvent, ReloadReport, StatusReport } from '../../src/reload/reports.js';

const CALL = {
  pidFile: '/run/h.pid',
  workingDirectory: '/conf',
  sources: ['/conf'],
  finish: [17],
  extraArguments: [],
};

const SERVED: ReloadReport = {
  outcome: 'served',
  generation: 7,
  mode: 'standalone',
  haproxy: { pid: 18, oldPid: 17, version: '3.2' },
  listeners: { served: 2, kept: 2, sameSocket: 2, opened: 0, closed: 0 },
  secured: [],
  quarantined: [],
  reserved: { added: '', removed: '' },
  repairs: [],
  phases: [],
  warnings: [],
};

const failure = (code: ErrorCode, step = 'check') => new BerthError(code, `what is the matter: ${code}`, { step });

interface Scene {
  /** What the reload answers, or fails with; a list: one after the other. */
  readonly reload?: ReloadReport | Error | readonly (ReloadReport | Error)[];
  /** How far it gets. */
  readonly phases?: readonly string[];
  /** pid of the HAProxy that serves; undefined: none. */
  readonly serving?: number;
  readonly paused?: boolean;
  readonly opening?: BerthError;
  readonly agent?: Agent | BerthError;
  readonly strict?: boolean;
  readonly finish?: readonly number[];
}

type Agent = Partial<DropInBerth>;

async function play(scene: Scene) {
  const said: string[] = [];
  const asked: unknown[] = [];
  const answers = [scene.reload ?? SERVED].flat();
  let observer: (event: ReloadEvent) => void = () => undefined;
  let closed = 0;
  const status = () => {
    if (scene.serving === undefined) return Promise.resolve({} as StatusReport);
    const running = { pid: scene.serving, listening: scene.paused ? 0 : 2 };
    return Promise.resolve({ running } as StatusReport);
  };
  const berth: DropInBerth = {
    reload: (sources, options) => {
      asked.push({ sources, ...options });
      for (const name of scene.phases ?? []) observer({ type: 'phase', name, state: 'begin' });
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer as ReloadReport);
    },
    status,
    close: () => {
      closed += 1;
      return Promise.resolve();
    },
  };
  const deps: DropInDeps = {
    connectAgent: () =>
      scene.agent instanceof Error
        ? Promise.reject(scene.agent)
        : Promise.resolve(scene.agent && { ...berth, ...scene.agent }),
    openBerth: (heard) => {
      observer = heard;
      return scene.opening ? Promise.reject(scene.opening) : Promise.resolve(berth);
    },
    adopt: () => Promise.resolve(),
    say: (line) => said.push(line),
    strict: scene.strict ?? false,
  };
  const exit = await runDropIn({ ...CALL, finish: scene.finish ?? CALL.finish }, deps);
  return { exit, said, asked, closed };
}

describe('a reload that succeeds', () => {
  it('is silent, and asks for the last good generation where it cannot', async () => {
    expect(await play({})).toEqual({
      exit: 0,
      said: [],
      asked: [
        {
          sources: ['/conf'],
          workingDirectory: '/conf',
          reason: 'lbagent: reload',
          orLastGood: true,
          ifChanged: false,
        },
      ],
      closed: 1,
    });
    expect((await play({ finish: [] })).asked).toMatchObject([{ reason: 'lbagent: start' }]);
  });

  it('names each listener that had to be left out, and succeeds', async () => {
    const quarantined = [
      {
        name: '10.0.0.1:80/tcp',
        section: 'listen x',
        place: { file: '/conf/a.cfg', line: 3 },
        verdict: { kind: 'taken' },
        sentence: '10.0.0.1:80/tcp held by nginx[5]',
      },
    ] as unknown as ReloadReport['quarantined'];
    const { exit, said } = await play({ reload: { ...SERVED, outcome: 'served-in-part', quarantined }, strict: true });
    expect(exit).toBe(0);
    expect(said).toEqual(['10.0.0.1:80/tcp (listen x, /conf/a.cfg:3) is left out, the others serve: held by nginx[5]']);
  });

  it('hands on the warnings', async () => {
    expect((await play({ reload: { ...SERVED, warnings: ['old'] } })).said).toEqual(['warning: old']);
  });
});

describe('a configuration that cannot go live', () => {
  const codes: ErrorCode[] = [
    'BERTH_CONFIG_REFUSED',
    'BERTH_CONFIG_CONFLICT',
    'BERTH_UNSERVABLE',
    'BERTH_RELOAD_FAILED',
    'BERTH_VERIFY_FAILED',
    'BERTH_HANDOFF',
    'BERTH_TIMEOUT',
    'BERTH_LOCKED',
    'BERTH_INTERRUPTED',
  ];

  it.each(codes)('leaves the one that serves alone: %s', async (code) => {
    const { exit, said } = await play({ reload: failure(code), serving: 17 });
    expect(exit).toBe(0);
    expect(said[0]).toBe(`what is the matter: ${code}`);
    expect(said.at(-1)).toBe('haproxy[17] goes on serving the configuration before; see berth status');
  });

  it.each([
    ['BERTH_CONFIG_REFUSED', 4],
    ['BERTH_RELOAD_FAILED', 8],
    ['BERTH_LOCKED', 7],
    // 130 would be a signal to the script.
    ['BERTH_INTERRUPTED', 1],
  ] as const)('fails where the settings ask for it: %s', async (code, status) => {
    expect((await play({ reload: failure(code), serving: 17, strict: true })).exit).toBe(status);
  });

  it('serves the last good generation where nothing serves', async () => {
    const error = { code: 'BERTH_CONFIG_REFUSED', step: 'check', message: 'unknown keyword', advice: 'Correct it' };
    const reload = { ...SERVED, insteadOf: { sources: ['/conf'], error } };
    const { exit, said } = await play({ reload });
    expect(exit).toBe(0);
    expect(said).toEqual([
      'unknown keyword',
      'Correct it (BERTH_CONFIG_REFUSED)',
      'generation 7 serves instead, a copy of the last good one; see berth status',
    ]);
    expect((await play({ reload, strict: true })).exit).toBe(4);
  });

  it('is left to the real haproxy where nothing serves and there is none', async () => {
    const { exit, said } = await play({ reload: failure('BERTH_CONFIG_REFUSED'), phases: ['read', 'reserve'] });
    expect(exit).toBe(CANNOT_START);
    expect(said.at(-1)).toBe('no HAProxy serves; the real haproxy tries it');
  });

  it('a HAProxy that listens on nothing does not serve', async () => {
    expect((await play({ reload: failure('BERTH_RELOAD_FAILED'), serving: 17, paused: true })).exit).toBe(CANNOT_START);
  });

  it('is not started by anybody after an interruption', async () => {
    expect((await play({ reload: failure('BERTH_INTERRUPTED') })).exit).toBe(1);
  });
});

describe('trouble of Berth’s own', () => {
  it.each(['BERTH_SETTINGS', 'BERTH_ADDON', 'BERTH_PERMISSION'] as const)(
    'before it is open is for the real haproxy: %s',
    async (code) => {
      const { exit, said } = await play({ opening: failure(code), serving: 17 });
      expect(exit).toBe(CANNOT_START);
      expect(said.at(-1)).toBe('the real haproxy does it');
    },
  );

  it.each(['BERTH_STATE_DIR', 'BERTH_STATE_WRITE', 'BERTH_JOURNAL', 'BERTH_INTERNAL', 'BERTH_KERNEL'] as const)(
    'before it has touched anything is for the real haproxy: %s',
    async (code) => {
      const scene = { reload: failure(code), serving: 17, phases: ['read', 'plan', 'stage', 'check'] };
      expect((await play(scene)).exit).toBe(CANNOT_START);
    },
  );

  it('later on leaves the one that serves alone', async () => {
    const scene = { reload: failure('BERTH_STATE_WRITE'), serving: 17, phases: ['read', 'plan', 'stage', 'reserve'] };
    expect((await play(scene)).exit).toBe(0);
  });

  it('is told with what went before it', async () => {
    expect((await play({ reload: new Error('out of order'), serving: 17 })).said.join('\n')).toMatch(
      /out of order\n.*BERTH_INTERNAL.*\nError: out of order\n[^]*the real haproxy does it/,
    );
  });
});

describe('where an agent runs', () => {
  const unchanged = (pid?: number) => ({
    outcome: 'unchanged' as const,
    ...(pid === undefined ? {} : { haproxy: { pid } }),
  });

  it('it does the job, once for the same files', async () => {
    const asked: unknown[] = [];
    const reload: Agent['reload'] = (sources, { ifChanged }) => {
      asked.push({ sources, ifChanged });
      return Promise.resolve(unchanged(17));
    };
    const { exit, said, asked: alone } = await play({ agent: { reload } });
    expect([exit, said, asked, alone]).toEqual([0, [], [{ sources: ['/conf'], ifChanged: true }], []]);
  });

  it('it is asked again where these files were live with a HAProxy that is gone', async () => {
    const asked: boolean[] = [];
    const reload: Agent['reload'] = (_, { ifChanged }) => {
      asked.push(ifChanged);
      return Promise.resolve(ifChanged ? unchanged() : SERVED);
    };
    expect((await play({ agent: { reload } })).exit).toBe(0);
    expect(asked).toEqual([true, false]);
  });

  it('its refusal counts', async () => {
    const agent = { reload: () => Promise.reject(failure('BERTH_CONFIG_REFUSED')) };
    const { exit, asked } = await play({ agent, serving: 17 });
    expect([exit, asked]).toEqual([0, []]);
  });

  it.each([failure('BERTH_AGENT', 'agent'), failure('BERTH_TIMEOUT', 'agent')])(
    'and goes away in the middle, it is done without',
    async (error) => {
      const { exit, said, asked } = await play({ agent: { reload: () => Promise.reject(error) } });
      expect(exit).toBe(0);
      expect(said).toEqual([`${error.message}; doing it without the agent`]);
      expect(asked).toHaveLength(1);
    },
  );

  it('and cannot be asked, it is done without', async () => {
    const { exit, said, asked } = await play({ agent: failure('BERTH_AGENT', 'agent') });
    expect(exit).toBe(0);
    expect(said).toEqual(['the agent cannot be asked: what is the matter: BERTH_AGENT']);
    expect(asked).toHaveLength(1);
  });
});
