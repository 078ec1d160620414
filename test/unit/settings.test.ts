import { chmodSync, chownSync, mkdirSync, symlinkSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import fc from '../support/fast-check.js';
import { describe, expect, it } from 'vitest';
import {
  changedSettings,
  environmentName,
  explainSettings,
  loadSettings as load,
  policySchema,
  settingsJsonSchema,
  withPolicy,
  type InstanceSources,
} from '../../src/settings.js';
import { editDistance, nearest } from '../../src/settings/nearest.js';
import { leaves } from '../../src/settings/read.js';
import { settingsDirectory as directory, settingsFile as file } from '../support/settings-file.js';

/** Without the settings of the host that the test runs on. */
const none = join(directory, 'none.yaml');
const loadSettings = (sources: InstanceSources = {}) => load({ defaultFile: none, ...sources });

const refused = (message: RegExp): unknown =>
  expect.objectContaining({ code: 'BERTH_SETTINGS', message: expect.stringMatching(message) as string });

describe('defaults', () => {
  it('are complete and safe', () => {
    expect(loadSettings()).toEqual({
      stateDir: '/var/lib/berth',
      sources: [],
      haproxy: { binary: 'haproxy', mode: 'auto', extraArguments: [] },
      reserve: { enabled: true, maxShare: 0.5 },
      conflicts: {
        share: 'haproxy',
        wait: { enabled: true, deadlineMs: 5000 },
        destroy: 'dead',
        onUnsolved: 'quarantine',
      },
      harden: 'off',
      dataPreserveN: 8,
      timeouts: { checkMs: 120000, startMs: 120000, reloadMs: 120000, settleMs: 50 },
      config: { maxBytes: 67108864 },
      reconcile: { intervalMs: 10000, delayMs: 10, heartbeatMs: 10000, toleranceMs: 120000 },
      keeper: 'auto',
      restart: { backOffMs: 1000, maxBackOffMs: 60000, limit: 10, windowMs: 600000 },
      drain: { hardStopAfterMs: 0, warnAfterMs: 3600000, maxOldProcesses: 0, strays: 'report' },
      batchSize: 1024,
      lbagent: { strict: false },
      agent: {
        socket: '/run/berth/berth.sock',
        group: 'berth',
        readers: 'group',
        maxBodyBytes: 1048576,
        requestTimeoutMs: 30000,
        logLevel: 'info',
      },
      lockWaitMs: 0,
    });
  });
});

describe('sources', () => {
  it('flags win over the environment, the environment over the file, the file over the defaults', () => {
    const path = file('dataPreserveN: 1\nharden: source\nconflicts:\n  destroy: all\n  wait: { deadlineMs: 1 }\n');
    const environment = { BERTH_DATA_PRESERVE_N: '2', BERTH_CONFLICTS_DESTROY: 'off', PATH: '/bin' };
    const flags = { dataPreserveN: 3, conflicts: { share: undefined } };
    const settings = loadSettings({ file: path, environment, flags });
    expect(settings.dataPreserveN).toBe(3);
    expect(settings.conflicts).toEqual({
      share: 'haproxy',
      wait: { enabled: true, deadlineMs: 1 },
      destroy: 'off',
      onUnsolved: 'quarantine',
    });
    expect(settings.harden).toBe('source');
  });

  it('an empty file sets nothing', () => {
    expect(loadSettings({ file: file('') })).toEqual(loadSettings());
    expect(loadSettings({ file: file('# nothing\n') })).toEqual(loadSettings());
  });

  it('the environment spells numbers, truth values and lists; text stays text', () => {
    const settings = loadSettings({
      environment: {
        BERTH_RESERVE_ENABLED: 'false',
        BERTH_RESERVE_MAX_SHARE: '0.25',
        BERTH_HAPROXY_EXTRA_ARGUMENTS: '[-q, -n, "100"]',
        BERTH_HAPROXY_BINARY: '123',
        BERTH_NETNS: '4711',
        BERTH_TIMEOUTS_SETTLE_MS: '0',
      },
    });
    expect(settings.reserve).toEqual({ enabled: false, maxShare: 0.25 });
    expect(settings.haproxy.extraArguments).toEqual(['-q', '-n', '100']);
    expect(settings.haproxy.binary).toBe('123');
    expect(settings.netns).toBe('4711');
    expect(settings.timeouts.settleMs).toBe(0);
  });

  it('a pid as netns may be a number', () => {
    expect(loadSettings({ flags: { netns: 4711 } }).netns).toBe('4711');
  });
});

describe('refusals name the source, the key and the value', () => {
  it.each([
    ['conflicts:\n  wiat: {}\n', /\.yaml line 2: there is no setting conflicts\.wiat; did you mean conflicts\.wait\?/],
    ['dataPreserve: 3\n', /there is no setting dataPreserve; did you mean dataPreserveN\?/],
    ['maxShare: 0.3\n', /there is no setting maxShare; did you mean reserve\.maxShare\?/],
    ['zzz: 1\n', /there is no setting zzz; known here: stateDir, netns.*instances/],
    ['reserve:\n  maxShare: 2\n', /line 2: reserve\.maxShare = 2: /],
    ['harden: sauce\n', /line 1: harden = "sauce": .*"off"\|"source"/],
    ['stateDir: var/lib\n', /stateDir = "var\/lib": must be an absolute path/],
    ['dataPreserveN: 1.5\n', /dataPreserveN = 1\.5: /],
    ['dataPreserveN: -1\n', /dataPreserveN = -1: /],
    ['reserve: yes please\n', /reserve = "yes please": must hold keys and values/],
    ['- a\n', /the settings = \["a"\]: must hold keys and values/],
    ['haproxy: { extraArguments: [-sf, "1"] }\n', /extraArguments .*must not hold what Berth gives/],
    ['a: b: c\n', /not YAML: /],
    ['harden: off\nharden: source\n', /not YAML: Map keys must be unique/],
    ['__proto__: 1\n', /there is no setting __proto__/],
    ['constructor: 1\n', /there is no setting constructor/],
    ['conflicts: { __proto__: { share: all } }\n', /there is no setting conflicts\.__proto__/],
    ['intsances: {}\n', /did you mean instances\?/],
    ['timeouts: { handoffMs: 1 }\n', /there is no setting timeouts\.handoffMs/],
    ['<<: { harden: off }\n', /there is no setting <</],
  ])('%j', (text, message) => {
    expect(() => loadSettings({ file: file(text) })).toThrow(refused(message));
  });

  it('a key of any length is not repeated', () => {
    const path = file(`${'k'.repeat(1000)}: 1\n`);
    expect(() => loadSettings({ file: path })).toThrow(
      expect.objectContaining({ details: expect.objectContaining({ key: 'k'.repeat(200) }) as unknown }) as Error,
    );
  });

  it('a file that cannot be read', () => {
    expect(() => loadSettings({ file: none })).toThrow(refused(/none\.yaml.*ENOENT/));
  });

  it('environment and flags', () => {
    const environment = (name: string, value: string) => () => loadSettings({ environment: { [name]: value } });
    expect(environment('BERTH_RESERVE_MAX_SHARE', 'half')).toThrow(
      refused(/environment BERTH_RESERVE_MAX_SHARE: .*"half"/),
    );
    expect(environment('BERTH_STATEDIR', '/x')).toThrow(refused(/BERTH_STATEDIR; did you mean BERTH_STATE_DIR/));
    expect(environment('BERTH_ADDON', '/x')).not.toThrow();
    expect(environment('BERTH_HAPROXY_BINARIES', '/x')).not.toThrow();
    expect(() => loadSettings({ flags: { lockWait: 1 } })).toThrow(refused(/options: .*did you mean lockWaitMs/));
  });
});

describe('which file', () => {
  const [one, two, three] = ['1', '2', '3'].map((n) => file(`dataPreserveN: ${n}\n`)) as [string, string, string];
  const read = (sources: InstanceSources) => loadSettings(sources).dataPreserveN;

  it('the one named, else that of BERTH_SETTINGS, else the default one where it exists', () => {
    const environment = { BERTH_SETTINGS: two };
    expect(read({ file: one, environment, defaultFile: three })).toBe(1);
    expect(read({ environment, defaultFile: three })).toBe(2);
    expect(read({ defaultFile: three })).toBe(3);
    expect(read({ defaultFile: join(one, 'none.yaml') })).toBe(8);
    expect(read({ environment: { BERTH_SETTINGS: '' }, defaultFile: three })).toBe(8);
  });

  it('one that is named must exist, the default one must be right', () => {
    expect(() => read({ environment: { BERTH_SETTINGS: none } })).toThrow(refused(/ENOENT/));
    expect(() => read({ defaultFile: file('a: b: c') })).toThrow(refused(/not YAML/));
  });
});

describe('hostile files', () => {
  const refuses = (path: string, message: RegExp) =>
    expect(() => loadSettings({ file: path })).toThrow(refused(message));

  it('a directory, a FIFO, a device', () => {
    refuses(directory, /it is a directory, not a file/);
    const fifo = join(directory, 'fifo');
    execFileSync('mkfifo', [fifo]);
    refuses(fifo, /it is a FIFO, a socket or a device/);
    refuses('/dev/zero', /it is a FIFO, a socket or a device/);
  });

  it('one that others can write, read as root', ({ skip }) => {
    if (process.geteuid?.() !== 0) {
      if (process.env['BERTH_MUST_RUN'] === '1') throw new Error('this test needs root');
      skip('only root has to fear what others write');
    }
    const path = file('harden: source\n');
    for (const mode of [0o666, 0o606]) {
      chmodSync(path, mode);
      refuses(path, /others can write it \(mode 6.6\)/);
    }
    chmodSync(path, 0o664);
    expect(loadSettings({ file: path }).harden).toBe('source');
    chownSync(path, 1000, 1000);
    refuses(path, /mode 664/);
    chmodSync(path, 0o640);
    expect(loadSettings({ file: path }).harden).toBe('source');
  });

  it('by a symlink, as a mounted ConfigMap is', () => {
    mkdirSync(join(directory, 'data'));
    symlinkSync(file('harden: source\n'), join(directory, 'data', 'berth.yaml'));
    expect(loadSettings({ file: join(directory, 'data', 'berth.yaml') }).harden).toBe('source');
  });

  it('larger than 1 MiB, also where fstat says 0', () => {
    expect(loadSettings({ file: file('#'.repeat(1024 * 1024)) }).harden).toBe('off');
    refuses(file('#'.repeat(1024 * 1024 + 1)), /larger than 1048576 bytes/);
    // A file of /proc has no size; it is read, and is not YAML of settings.
    refuses('/proc/self/status', /not YAML|no setting/);
  });

  it('not UTF-8', () => {
    refuses(file(Buffer.from([0x61, 0x3a, 0xff, 0xfe])), /not text in UTF-8/);
    expect(loadSettings({ file: file('\ufeffharden: source\n') }).harden).toBe('source');
  });

  const levels = Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(9).fill(`*a${i}`).join(', ')}]`);
  it.each([
    ['aliases that multiply', ['a0: &a0 [x]', ...levels].join('\n'), /alias/],
    ['a value that holds itself', 'sources: &a [*a]\n', /sources = a value that holds itself/],
    ['a group that holds itself', 'conflicts: &a { wait: *a }\n', /there is no setting conflicts\.wait\.wait/],
    ['deep lists', '['.repeat(1000), /deep nesting/],
    ['deep lists, all closed', '['.repeat(400_000) + ']'.repeat(400_000), /deep nesting/],
    ['deep groups', '{a: '.repeat(100_000), /deep nesting/],
    ['deep lists of dashes', '- '.repeat(1000), /deep nesting/],
    ['deep keys', '? '.repeat(1000), /deep nesting/],
    ['deep values', ': '.repeat(1000), /deep nesting/],
    ['deep values in a group', `{ ${': '.repeat(5000)}`, /deep nesting/],
    ['deep values in a group, a line each', `{ ${':\n'.repeat(5000)}`, /deep nesting/],
    ['deep blocks', Array.from({ length: 400 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'), /line 130: deep nesting/],
    ['brackets that close nothing first', `a: ${']'.repeat(1000)}${'['.repeat(1000)}`, /not YAML/],
    ['keys without end', Array.from({ length: 100_000 }, (_, i) => `k${i}: 1`).join('\n'), /more than 50000 words/],
    ['two documents', 'harden: off\n---\nharden: source\n', /multiple documents/],
    ['a tag', 'harden: !source off\n', /Unresolved tag/],
    ['a key that is a list', '? [a]\n: b\n', /keys must be strings/],
    ['NUL in a path', 'stateDir: "/var\\0/lib"\n', /must be an absolute path/],
    ['a long value', `harden: ${'x'.repeat(500_000)}\n`, /^.{0,300}$/],
    ['a long list', `sources: [${'x,'.repeat(10_000)}]\n`, /^.{0,400}$/],
    ['a long key', `${'x'.repeat(1000)}: 1\n`, /^.{0,1500}$/],
  ])('%s', (_, text, message) => refuses(file(text), message));

  it('a variable that nests as deeply', () => {
    const environment = { BERTH_SOURCES: '['.repeat(1000) };
    expect(() => loadSettings({ environment })).toThrow(refused(/environment BERTH_SOURCES/));
  });

  it('any text ends in settings or in BERTH_SETTINGS', () => {
    const word = fc.constantFrom(
      'harden',
      'instances',
      'web',
      ':',
      ' ',
      '\n',
      '  ',
      '[',
      ']',
      '{',
      '}',
      '-',
      '&a',
      '*a',
      '"',
      '|',
      '#',
      '1',
      ',',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(word, { maxLength: 40 }).map((words) => words.join('')),
        ),
        (text) => {
          try {
            loadSettings({ file: file(text) });
          } catch (error) {
            expect(error).toMatchObject({ code: 'BERTH_SETTINGS' });
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('explainSettings', () => {
  it('says of every setting where it comes from', () => {
    const path = file('harden: source\nconflicts:\n  share: all\n  destroy: all\n');
    const environment = { BERTH_CONFLICTS_DESTROY: 'off' };
    const rows = explainSettings({ file: path, environment, flags: { dataPreserveN: 3 } });
    expect(rows.map(({ key }) => key)).toEqual(leaves().map(([key]) => key.join('.')));
    const row = (key: string) => rows.find((one) => one.key === key);
    expect(row('harden')).toEqual({ key: 'harden', value: 'source', origin: 'file', where: `${path} line 1` });
    expect(row('conflicts.share')).toMatchObject({ value: 'all', where: `${path} line 3` });
    expect(row('conflicts.destroy')).toMatchObject({ value: 'off', where: 'environment BERTH_CONFLICTS_DESTROY' });
    expect(row('dataPreserveN')).toMatchObject({ value: 3, origin: 'option' });
    expect(row('batchSize')).toEqual({ key: 'batchSize', value: 1024, origin: 'default', where: 'default' });
    expect(row('netns')).toMatchObject({ value: undefined, origin: 'default' });
  });
});

describe('changedSettings', () => {
  it('names every key that differs, and no other', () => {
    const before = loadSettings();
    const flags = {
      sources: ['/a'],
      conflicts: { wait: { deadlineMs: 1 } },
      agent: { logLevel: 'debug' },
      keeper: 'auto',
    };
    expect(changedSettings(before, loadSettings({ flags }))).toEqual([
      'sources',
      'conflicts.wait.deadlineMs',
      'agent.logLevel',
    ]);
    expect(changedSettings(before, loadSettings())).toEqual([]);
  });
});

describe('policySchema', () => {
  it('takes what one reload may have differently, without defaults', () => {
    const policy = { conflicts: { wait: { deadlineMs: 1 } }, harden: 'source', reserve: { maxShare: 0.1 } };
    expect(policySchema.parse(policy)).toEqual(policy);
    expect(policySchema.parse({})).toEqual({});
    const settings = withPolicy(loadSettings(), policySchema.parse(policy));
    expect(changedSettings(loadSettings(), settings)).toEqual([
      'reserve.maxShare',
      'conflicts.wait.deadlineMs',
      'harden',
    ]);
  });

  it.each([
    { stateDir: '/x' },
    { haproxy: { binary: '/bin/sh' } },
    { reserve: { enable: true } },
    { conflicts: { wait: { deadlineMs: -1 } } },
    { timeouts: { checkMs: '1' } },
    { harden: 'sauce' },
    { lbagent: { conf: '/x' } },
    [],
    null,
  ])('refuses %j', (policy) => {
    expect(policySchema.safeParse(policy).success).toBe(false);
  });

  it('has nothing of the prototype', () => {
    const policy = policySchema.safeParse(JSON.parse('{"__proto__": {"harden": "source"}}'));
    if (policy.success) expect(withPolicy(loadSettings(), policy.data)).toEqual(loadSettings());
    expect({}).not.toHaveProperty('harden');
  });
});

it('every setting has a name in the environment, a description and a place in the JSON schema', () => {
  const names = leaves().map(([path]) => environmentName(path));
  expect(new Set(names).size).toBe(names.length);
  expect(names).toContain('BERTH_CONFLICTS_WAIT_DEADLINE_MS');
  interface Node {
    properties?: Record<string, Node>;
    description?: string;
  }
  const nodeAt = (path: readonly string[]) => {
    let node: Node | undefined = settingsJsonSchema();
    for (const key of path) node = node?.properties?.[key];
    return node;
  };
  for (const [path] of leaves()) {
    const node = nodeAt(path);
    expect(node?.description, path.join('.')).toMatch(/\w/);
  }
});

describe('nearest', () => {
  it('finds the slip and leaves strangers alone', () => {
    expect(nearest('deadlineMS', ['deadlineMs', 'enabled'])).toBe('deadlineMs');
    expect(nearest('enbaled', ['deadlineMs', 'enabled'])).toBe('enabled');
    expect(nearest('colour', ['deadlineMs', 'enabled'])).toBeUndefined();
  });

  it('editDistance counts slips', () => {
    expect(editDistance('wiat', 'wait')).toBe(1);
    expect(editDistance('', 'abc')).toBe(3);
    const word = fc.string({ maxLength: 8 });
    fc.assert(
      fc.property(word, word, fc.string({ minLength: 1, maxLength: 1 }), (a, b, letter) => {
        expect(editDistance(a, b)).toBe(editDistance(b, a));
        expect(editDistance(a, b) === 0).toBe(a === b);
        expect(editDistance(a + b, a + letter + b)).toBe(1);
      }),
    );
  });
});
