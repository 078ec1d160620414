/** Several HAProxies on one host, each a section of the settings file. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { explainSettings, loadAgentSettings, loadInstances, loadSettings } from '../../src/settings.js';
import { settingsDirectory, settingsFile } from '../support/settings-file.js';

const refused = (message: RegExp): unknown =>
  expect.objectContaining({ code: 'BERTH_SETTINGS', message: expect.stringMatching(message) as string });

const TWO = `
stateDir: /srv/berth
conflicts: { destroy: 'off', wait: { deadlineMs: 7 } }
agent: { logLevel: debug }
instances:
  web:
    sources: [/etc/haproxy/web]
    haproxy: { pidFile: /run/web.pid }
    conflicts: { wait: { enabled: false } }
  api:
    stateDir: /elsewhere
    harden: source
`;

describe('instances', () => {
  it('top level, then section, then environment, then flags', () => {
    const file = settingsFile(TWO);
    const web = loadSettings({ file, instance: 'web', environment: { BERTH_HARDEN: 'source' } });
    expect(web.conflicts).toMatchObject({ destroy: 'off', wait: { enabled: false, deadlineMs: 7 } });
    expect(web).toMatchObject({
      sources: ['/etc/haproxy/web'],
      haproxy: { pidFile: '/run/web.pid' },
      harden: 'source',
    });
    const api = loadSettings({ file, instance: 'api', flags: { harden: 'off' } });
    expect(api).toMatchObject({ sources: [], harden: 'off', conflicts: { wait: { enabled: true } } });
  });

  it('each has a state directory below that of the top level, unless it names one', () => {
    const file = settingsFile(TWO);
    expect(loadSettings({ file, instance: 'web' }).stateDir).toBe('/srv/berth/web');
    expect(loadSettings({ file, instance: 'api' }).stateDir).toBe('/elsewhere');
    expect(loadSettings({ file: settingsFile('instances: { web: }') }).stateDir).toBe('/var/lib/berth/web');
    const where = (instance: string) => explainSettings({ file, instance })[0]?.where;
    expect(where('web')).toBe(`${file} line 2`);
    expect(where('api')).toBe(`${file} line 11`);
  });

  it('loadInstances gives them in the order of the file', () => {
    const instances = loadInstances({ file: settingsFile(TWO) });
    expect([...instances.keys()]).toEqual(['web', 'api']);
    for (const { agent } of instances.values()) expect(agent.logLevel).toBe('debug');
  });

  it('a file without, and no file, have the one called default', () => {
    for (const sources of [
      { file: settingsFile('harden: source') },
      { defaultFile: join(settingsDirectory, 'none') },
    ]) {
      expect([...loadInstances(sources)]).toEqual([['default', loadSettings(sources)]]);
      expect(loadSettings({ ...sources, instance: 'default' })).toEqual(loadSettings(sources));
    }
  });

  it('which one is meant', () => {
    const ask = (text: string, instance?: string) => () => loadSettings({ file: settingsFile(text), instance });
    expect(ask(TWO)).toThrow(refused(/there are 2 instances: web, api/));
    expect(ask(TWO, 'wbe')).toThrow(refused(/there is no instance wbe; did you mean web\?/));
    expect(ask(TWO, 'default')).toThrow(refused(/there is no instance default; there is web, api/));
    expect(ask('harden: off', 'web')).toThrow(refused(/there is no instance web; there is default/));
    expect(ask('instances: { toString: }', 'toString')).toThrow(refused(/a name is made of/));
    expect(ask('instances: { web: }', 'constructor')).toThrow(refused(/no instance constructor/));
    expect(ask('instances: { constructor: }', 'constructor')).not.toThrow();
  });

  it('the agent has its settings whichever instances there are', () => {
    expect(loadAgentSettings({ file: settingsFile(TWO) }).logLevel).toBe('debug');
    expect(loadAgentSettings({ file: settingsFile(TWO), environment: { BERTH_AGENT_SOCKET: '/s' } }).socket).toBe('/s');
  });

  it.each([
    ['instances: {}', /instances = {}: must hold names/],
    ['instances:', /instances = null: must hold names/],
    ['instances: [web]', /must hold names/],
    ['instances: { web: 1 }', /instances\.web = 1: must hold keys and values/],
    ['instances: { Web: }', /instances\.Web .*a name is made of/],
    ['instances: { "": }', /a name is made of/],
    ['instances: { ../etc: }', /a name is made of/],
    ['instances: { ..: }', /a name is made of/],
    ['instances: { __proto__: {} }', /a name is made of/],
    [`instances: { ${'a'.repeat(65)}: }`, /a name is made of/],
    ['instances:\n  web:\n    agent: { group: x }', /line 3: instances\.web\.agent .*stand at the top level/],
    [
      'instances:\n  web:\n    hardne: off',
      /line 3: there is no setting instances\.web\.hardne; did you mean instances\.web\.harden\?/,
    ],
    ['instances:\n  web:\n    maxShare: 1', /did you mean instances\.web\.reserve\.maxShare\?/],
    ['instances:\n  web:\n    reserve:\n      maxShare: 2', /line 4: instances\.web\.reserve\.maxShare = 2: /],
    ['instances: { web: { instances: {} } }', /there is no setting instances\.web\.instances/],
    ['instances: { web: {}, web: {} }', /unique/],
  ])('refuses %s', (text, message) => {
    const file = settingsFile(text);
    expect(() => loadInstances({ file })).toThrow(refused(message));
  });

  it('a wrong value in another section is refused with it by loadInstances only', () => {
    const file = settingsFile('instances: { web: , api: { harden: sauce } }');
    expect(() => loadInstances({ file })).toThrow(refused(/instances\.api\.harden/));
    expect(loadSettings({ file, instance: 'web' }).harden).toBe('off');
  });

  it.each([
    ['stateDir', 'instances: { web: { stateDir: /x }, api: { stateDir: /y/../x/ } }'],
    ['haproxy.pidFile', 'instances: { web: { haproxy: { pidFile: /x } }, api: { haproxy: { pidFile: /x } } }'],
    ['haproxy.pidFile', 'haproxy: { pidFile: /x }\ninstances: { web: , api: }'],
    ['haproxy.masterSocket', 'haproxy: { masterSocket: /x }\ninstances: { web: , api: }'],
  ])('two with one %s are refused, both by name', (key, text) => {
    const file = settingsFile(text);
    const message = new RegExp(`the instances web and api have one ${key.replace('.', '\\.')}, /x`);
    expect(() => loadInstances({ file })).toThrow(refused(message));
  });

  it('a state directory from the environment holds for all, which is refused', () => {
    const load = () => loadInstances({ file: settingsFile(TWO), environment: { BERTH_STATE_DIR: '/x' } });
    expect(load).toThrow(refused(/environment BERTH_STATE_DIR: the instances web and api have one stateDir/));
  });
});
