import { chmodSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseBuild } from '../../src/haproxy/check.js';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';

const skip = cannotRun() !== undefined;
const binaries = skip ? [] : haproxyBinaries();

describe.skipIf(skip)('the binary', () => {
  let lab: Lab;

  beforeEach(async () => {
    lab = await Lab.open();
  });

  afterEach(async () => {
    await lab.close();
  });

  it.each(binaries)('$version tells its version and features', async ({ version, path }) => {
    const build = await lab.haproxy({ binary: path }).build();
    expect(`${build.major}.${build.minor}`).toBe(version);
    expect(build.version.startsWith(`${version}.`)).toBe(true);
    expect(build.binary).toBe(path);
    expect(build.features).toEqual(expect.arrayContaining(['OPENSSL', 'THREAD', 'TPROXY']));
    expect(build.features).not.toContain('KQUEUE');
  });

  const script = (name: string, text: string) => {
    const path = lab.write(name, `#!/bin/sh\n${text}\n`);
    chmodSync(path, 0o755);
    return path;
  };

  it('is asked again only after it has changed', async () => {
    const binary = script('haproxy', 'echo "HAProxy version 2.8.1-1 2025/01/01"');
    const room = lab.haproxy({ binary });
    expect(await room.build()).toBe(await room.build());
    script('haproxy', 'echo "HAProxy version 3.4.0 2026/06/01 - later"');
    expect(await room.build()).toMatchObject({ version: '3.4.0', major: 3, minor: 4 });
  });

  it('that is missing, not executable or another program is named', async () => {
    const missing = { code: 'BERTH_HAPROXY_MISSING' };
    const build = (binary: string, environment = process.env) => lab.haproxy({ binary, environment }).build();
    await expect(build('haproxy', { PATH: lab.directory })).rejects.toMatchObject({
      ...missing,
      message: `haproxy is not in PATH (${lab.directory})`,
    });
    await expect(build(lab.path('nothing'))).rejects.toMatchObject(missing);
    await expect(build(lab.directory)).rejects.toMatchObject(missing);
    await expect(build(lab.write('text', 'x'))).rejects.toMatchObject(missing);
    await expect(build('/bin/true')).rejects.toMatchObject({
      ...missing,
      message: expect.stringContaining('/bin/true is not HAProxy') as unknown,
    });
    await expect(build(script('other', 'echo "nginx version: 1.2"; exit 0'))).rejects.toMatchObject(missing);
  });

  it('that is too old is unsuitable', async () => {
    const old = script('old', 'echo "HA-Proxy version 2.0.33-1 2023/02/14 - https://haproxy.org/"');
    await expect(lab.haproxy({ binary: old }).build()).rejects.toMatchObject({
      code: 'BERTH_HAPROXY_UNSUITABLE',
      message: `${old} is HAProxy 2.0.33-1; Berth needs 2.2 or later`,
    });
  });

  it('without a feature list is read by its build options', () => {
    const text = 'HA-Proxy version 2.2.9 2021/02/06\n  OPTIONS = USE_PCRE2=1 USE_OPENSSL=1 USE_LUA= USE_ZLIB=0\n';
    expect(parseBuild('x', text)?.features).toEqual(['OPENSSL', 'PCRE2']);
    expect(parseBuild('x', 'usage: cat')).toBeUndefined();
  });
});

describe.skipIf(skip).each(binaries)('haproxy -c of $version', ({ path: binary }) => {
  let lab: Lab;

  beforeEach(async () => {
    lab = await Lab.open();
  });

  afterEach(async () => {
    await lab.close();
  });

  const check = (text: string, more = {}) =>
    lab.haproxy({ binary, ...more }).check(lab.command([lab.write('a.cfg', text)]));

  it('accepts what it accepts, an address that is not here included, and binds nothing', async () => {
    const { ok, messages } = await check(configuration(['10.77.0.9:8080']));
    expect(ok).toBe(true);
    expect(messages.filter(({ level }) => level === 'ALERT')).toEqual([]);
    expect(lab.listeners().size).toBe(0);
  });

  it('accepts with a warning, and says it', async () => {
    const { ok, messages } = await check(`${configuration(['127.0.0.1:8080'])}listen empty\n  mode tcp\n`);
    expect(ok).toBe(true);
    expect(messages.some(({ level, text }) => level === 'WARNING' && text.includes('empty'))).toBe(true);
  });

  it('refuses with file and line', async () => {
    const text = `${configuration(['127.0.0.1:8080'])}listen x\n  bnid 127.0.0.1:1\n  bind 127.0.0.1:99999\n`;
    const { ok, messages } = await check(text);
    const line = text.split('\n').findIndex((words) => words.includes('bnid')) + 1;
    expect(ok).toBe(false);
    expect(messages).toContainEqual(expect.objectContaining({ level: 'ALERT', file: lab.path('a.cfg'), line }));
    expect(messages).toContainEqual(
      expect.objectContaining({ level: 'ALERT', file: lab.path('a.cfg'), line: line + 1 }),
    );
  });

  it('is ended after its limit', async () => {
    await lab.exec('mkfifo', [lab.path('hang.cfg')]);
    const room = lab.haproxy({ binary, checkTimeoutMs: 200 });
    await expect(room.check(lab.command([lab.path('hang.cfg')]))).rejects.toMatchObject({ code: 'BERTH_TIMEOUT' });
  });
});
