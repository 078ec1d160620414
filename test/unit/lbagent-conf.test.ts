/** lbagent.conf in both of its forms, and what becomes of it in the settings. */
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { explainSettings, loadInstances, loadSettings } from '../../src/settings.js';
import { readLbagentConf } from '../../src/settings/lbagent-conf.js';
import { settingsDirectory, settingsFile } from '../support/settings-file.js';

const refused = (message: RegExp): unknown =>
  expect.objectContaining({ code: 'BERTH_SETTINGS', message: expect.stringMatching(message) as string });

const none = join(settingsDirectory, 'none');
const conf = (text: string) => readLbagentConf(settingsFile(text));
const settings = (text: string) =>
  loadSettings({ defaultFile: none, flags: { lbagent: { conf: settingsFile(text) } } });

/** As an lbagent host has it: most of it is not ours. */
const LINES = `
# lbagent
region = 'LocalTest'
auth_url = https://127.0.0.1:30500/v3   # keystone
[haproxy]
; a comment of another kind
haproxy_bin = "/usr/local/sbin/haproxy"
base_data_dir='/srv/lb agent'
data_preserve_n = 2
api_lbagent_hb_interval=60
api-run-delay-milliseconds = 50 # ms
log_level = debug
data_preserve_n = 99
`;

const YAML = `
region: LocalTest
BaseDataDir: "/srv/lb agent"
HaproxyBin: /usr/local/sbin/haproxy
DataPreserveN: 2
api_lbagent_hb_interval: "60"
ApiRunDelayMilliseconds: 50
networks: [{ ifname: eth0, DataPreserveN: 7 }]
`;

describe('readLbagentConf', () => {
  it.each([
    ['lines', LINES],
    ['YAML', YAML],
  ])('%s', (_, text) => {
    expect(conf(text)).toMatchObject({
      BaseDataDir: '/srv/lb agent',
      HaproxyBin: '/usr/local/sbin/haproxy',
      DataPreserveN: 2,
      ApiLbagentHbInterval: 60,
      ApiRunDelayMilliseconds: 50,
      ApiSyncIntervalSeconds: 10,
      ApiListBatchSize: 1024,
      ApiLbagentHbTimeoutRelaxation: 120,
    });
  });

  it.each(['', '# nothing\n', 'region = x\n', '[section]\n', '- a\n', 'just words\n'])(
    '%j leaves all defaults',
    (text) => {
      expect(conf(text)).toMatchObject({ BaseDataDir: '/opt/cloud/workspace/lbagent', HaproxyBin: 'haproxy' });
    },
  );

  it('a carriage return behind a comment and much white space before it', () => {
    expect(
      conf(`data_preserve_n = 3${' '.repeat(100_000)}#\rx\nregion =${' '.repeat(100_000)}#\u2028\n`),
    ).toMatchObject({
      DataPreserveN: 3,
    });
  });

  it('CRLF, tabs, and quotes within', () => {
    expect(conf('\tbase_data_dir\t=\t/a\r\nDataPreserveN = 3\r\n')).toMatchObject({
      BaseDataDir: '/a',
      DataPreserveN: 3,
    });
    expect(conf(`haproxy_bin = "/opt/it's #1/haproxy" # new`).HaproxyBin).toBe("/opt/it's #1/haproxy");
  });

  it.each([
    ['x = 1\ndata_preserve_n = many\n', /line 2: data_preserve_n = "many": must be a whole number/],
    ['data_preserve_n = -1\n', /data_preserve_n = "-1"/],
    ['data_preserve_n =\n', /data_preserve_n = ""/],
    ['api_list_batch_size = 1e3\n', /must be a whole number/],
    ['base_data_dir = lbagent\n', /must be an absolute path/],
    ['base_data_dir = \n', /must be an absolute path/],
    ['haproxy_bin = ""\n', /must be a path, or a name in PATH/],
    ['DataPreserveN: [1]\n', /line 1: DataPreserveN = \[1\]/],
    ['DataPreserveN: 1.5\n', /must be a whole number/],
    ['BaseDataDir: /a\nBaseDataDir: /b\n', /not YAML/],
    ['a: '.repeat(1000), /deep nesting/],
  ])('refuses %j', (text, message) => {
    expect(() => conf(text)).toThrow(refused(message));
  });

  it('a file that cannot be read', () => {
    expect(() => readLbagentConf(none)).toThrow(refused(/ENOENT/));
    expect(() => readLbagentConf(settingsDirectory)).toThrow(refused(/it is a directory/));
  });

  it('a long line of anything is read at once', () => {
    for (const piece of [' ', '=', 'a', '"', "a ='", '#', 'a= ']) conf(`${piece.repeat(200_000)}\nx = 1`);
  });
});

describe('the setting lbagent.conf', () => {
  it('becomes sources, paths and intervals', () => {
    expect(settings(LINES)).toMatchObject({
      sources: ['/srv/lb agent/configs/haproxy.conf.d'],
      haproxy: {
        binary: '/usr/local/sbin/haproxy',
        pidFile: '/srv/lb agent/run/haproxy.pid',
        workingDirectory: '/srv/lb agent/configs/haproxy.conf.d',
      },
      reconcile: { intervalMs: 10_000, delayMs: 50, heartbeatMs: 60_000, toleranceMs: 120_000 },
      dataPreserveN: 2,
      batchSize: 1024,
    });
  });

  it('goes under all that is said to Berth itself, and over the defaults', () => {
    const path = settingsFile(LINES);
    const file = settingsFile(`lbagent: { conf: ${path} }\ndataPreserveN: 5\n`);
    const rows = explainSettings({ file, environment: { BERTH_RECONCILE_DELAY_MS: '7' } });
    const row = (key: string) => rows.find((one) => one.key === key);
    expect(row('dataPreserveN')).toMatchObject({ value: 5, where: `${file} line 2` });
    expect(row('reconcile.delayMs')).toMatchObject({ value: 7, origin: 'environment' });
    expect(row('reconcile.heartbeatMs')).toEqual({
      key: 'reconcile.heartbeatMs',
      value: 60_000,
      origin: 'lbagent.conf',
      where: `${path} line 10, ApiLbagentHbInterval`,
    });
    expect(row('batchSize')?.where).toBe(`${path}, lbagent's default of ApiListBatchSize`);
    expect(row('lbagent.conf')).toMatchObject({ value: path, origin: 'file' });
  });

  it('each instance may have its own; one for two is refused', () => {
    const [a, b] = ['/a', '/b'].map((dir) => settingsFile(`base_data_dir = ${dir}\n`)) as [string, string];
    const file = settingsFile(`instances: { a: { lbagent: { conf: ${a} } }, b: { lbagent: { conf: ${b} } } }`);
    expect([...loadInstances({ file }).values()].map(({ haproxy }) => haproxy.pidFile)).toEqual([
      '/a/run/haproxy.pid',
      '/b/run/haproxy.pid',
    ]);
    const shared = settingsFile(`lbagent: { conf: ${a} }\ninstances: { a: , b: }`);
    expect(() => loadInstances({ file: shared })).toThrow(refused(/a and b have one haproxy\.pidFile, \/a\/run/));
  });

  it('the drop-in is not its own haproxy, by whatever name', () => {
    const link = join(settingsDirectory, 'haproxy');
    const dropIn = join(settingsDirectory, 'berth-haproxy');
    writeFileSync(dropIn, '');
    symlinkSync(dropIn, link);
    for (const binary of ['berth-haproxy', '/usr/bin/berth-haproxy', link]) {
      expect(settings(`haproxy_bin = ${binary}\n`).haproxy.binary).toBe('haproxy');
    }
    expect(settings('haproxy_bin = haproxy-2.4\n').haproxy.binary).toBe('haproxy-2.4');
  });

  it('what Berth cannot take is refused with its line and its option', () => {
    const message = /line 1, ApiSyncIntervalSeconds: reconcile\.intervalMs = 0: /;
    expect(() => settings('api_sync_interval_seconds = 0\n')).toThrow(refused(message));
  });
});
