import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { environmentName, loadSettings, settingsJsonSchema } from '../../src/settings.js';
import { editDistance, nearest } from '../../src/settings/nearest.js';
import { leaves } from '../../src/settings/read.js';

const directory = mkdtempSync(join(tmpdir(), 'berth-settings-'));
afterAll(() => rmSync(directory, { recursive: true }));

let files = 0;
function file(text: string): string {
  const path = join(directory, `${++files}.yaml`);
  writeFileSync(path, text);
  return path;
}

const refused = (message: RegExp): unknown =>
  expect.objectContaining({ code: 'BERTH_SETTINGS', message: expect.stringMatching(message) as string });

describe('defaults', () => {
  it('are complete and safe', () => {
    expect(loadSettings()).toEqual({
      stateDir: '/var/lib/berth',
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
      timeouts: { checkMs: 120000, startMs: 120000, handoffMs: 10000, reloadMs: 120000, settleMs: 50 },
      config: { maxBytes: 67108864 },
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
    ['zzz: 1\n', /there is no setting zzz; known here: stateDir, netns/],
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
  ])('%j', (text, message) => {
    expect(() => loadSettings({ file: file(text) })).toThrow(refused(message));
  });

  it('a file that cannot be read', () => {
    expect(() => loadSettings({ file: join(directory, 'none.yaml') })).toThrow(refused(/none\.yaml.*ENOENT/));
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
