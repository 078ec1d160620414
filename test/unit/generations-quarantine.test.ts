import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import fc from '../support/fast-check.js';
import { describe, expect, it } from 'vitest';
import { readListeners } from '../../src/haproxy/binds.js';
import { readConfiguration } from '../../src/haproxy/config.js';
import type { Bind, Listeners } from '../../src/model/bind.js';
import { endpointKey, formatEndpoint } from '../../src/model/endpoint.js';
import { canLeaveOut, withoutBinds } from '../../src/reload/quarantine.js';
import { put, temporaryDirectory } from '../support/state.js';

const environment = { VIP: '10.9.0.1', LIST: '10.9.0.1:81', PORT: '90' };

function read(text: string, home = temporaryDirectory()): { listeners: Listeners; file: string } {
  const file = put(join(home, 'a.cfg'), text);
  const version = { major: 2, minor: 6, text: '2.6.12' };
  return { listeners: readListeners(readConfiguration([file], { environment, version })), file };
}

function leaveOut(line: string, ...ports: number[]): string {
  const { listeners, file } = read(`listen a\n  mode tcp\n${line}\n  # end\n`);
  const gone = listeners.binds.filter(({ endpoint }) => endpoint.kind === 'inet' && ports.includes(endpoint.port));
  expect(gone.length).toBeGreaterThan(0);
  const text = withoutBinds(listeners, gone, () => `listen a\n  mode tcp\n${line}\n  # end\n`).get(file) ?? '';
  const lines = text.split('\n');
  expect([lines[0], lines[1], lines[3], lines.length]).toEqual(['listen a', '  mode tcp', '  # end', 5]);
  const rest = read(text).listeners;
  const keys = (binds: readonly Bind[]): string[] => binds.map(({ endpoint }) => endpointKey(endpoint)).sort();
  expect(keys(rest.binds)).toEqual(keys(listeners.binds.filter((bind) => !gone.includes(bind))));
  expect(rest.unknown.map((each) => each.text)).toEqual(listeners.unknown.map((each) => each.text));
  return lines[2] ?? '';
}

describe('leaving binds out', () => {
  it.each([
    ['  bind 10.9.0.1:80', [80], '  # berth: quarantined: bind 10.9.0.1:80'],
    ['\tbind :80 ssl crt "a b.pem" # mine', [80], '\t# berth: quarantined: bind :80 ssl crt "a b.pem" # mine'],
    ['  bind :80,:81 name x', [80], '  bind :81 name x # berth: quarantined: 0.0.0.0:80'],
    ['  bind :80,:81,:82', [80, 82], '  bind :81 # berth: quarantined: 0.0.0.0:80 0.0.0.0:82'],
    ['  bind :80,:80', [80], '  # berth: quarantined: bind :80,:80'],
    [
      '  bind 10.9.0.1:8000-8010',
      [8005],
      '  bind 10.9.0.1:8000-8004,10.9.0.1:8006-8010 # berth: quarantined: 10.9.0.1:8005',
    ],
    ['  bind 10.9.0.1:8000-8002', [8000], '  bind 10.9.0.1:8001-8002 # berth: quarantined: 10.9.0.1:8000'],
    ['  bind ${VIP}:8000-8002,:7', [8001], '  bind ${VIP}:8000,${VIP}:8002,:7 # berth: quarantined: 10.9.0.1:8001'],
    ['  bind ${VIP}:${PORT},:7', [90], '  bind :7 # berth: quarantined: 10.9.0.1:90'],
    ['  bind "${VIP}:80,${LIST}"', [80], '  bind 10.9.0.1:81 # berth: quarantined: 10.9.0.1:80'],
    ['  bind ":80,:81" name "x y"', [81], '  bind :80 name "x y" # berth: quarantined: 0.0.0.0:81'],
    ['  bind [::1]:80-82', [81], '  bind [::1]:80,[::1]:82 # berth: quarantined: [::1]:81'],
    ['  bind ::1:80,:81', [80], '  bind :81 # berth: quarantined: [::1]:80'],
    ['  bind unix@/run/x.sock,:81', [81], '  bind unix@/run/x.sock # berth: quarantined: 0.0.0.0:81'],
    ['  bind fd@7,:81', [81], '  bind fd@7 # berth: quarantined: 0.0.0.0:81'],
    ['  bind :80,:81\r', [80], '  bind :81 # berth: quarantined: 0.0.0.0:80\r'],
  ])('%j without %j', (line, ports, expected) => {
    expect(leaveOut(line, ...ports)).toBe(expected);
  });

  it('leaves alone what cannot be left out', () => {
    const { listeners } = read('global\n  stats socket ipv4@127.0.0.1:99\nlisten a\n  mode tcp\n  bind :80\n');
    const stats = listeners.binds.find(({ origin }) => origin === 'stats-socket')!;
    expect(canLeaveOut(stats)).toBe(false);
    expect(() => withoutBinds(listeners, [stats], () => '')).toThrow(/stats-socket cannot be left out/);
  });

  it('refuses to guess where an address is hidden by quotes', () => {
    const text = 'listen a\n  mode tcp\n  bind "fd@7,${VIP}:81"\n';
    const { listeners } = read(text);
    expect(() => withoutBinds(listeners, listeners.binds, () => text)).toThrow(/cannot be left out/);
  });

  it('any subset of any list: what is left is read as what was left', () => {
    const host = fc.constantFrom('10.9.0.1', '*', '', '[::1]', 'ipv4@10.9.0.2', '${VIP}');
    const address = fc
      .tuple(host, fc.integer({ min: 1, max: 65000 }), fc.option(fc.integer({ min: 1, max: 30 })))
      .map(([name, port, more]) => `${name}:${port}${more === null ? '' : `-${port + more}`}`);
    const line = fc.tuple(fc.array(address, { minLength: 1, maxLength: 5 }), fc.boolean());
    const home = temporaryDirectory();
    fc.assert(
      fc.property(fc.array(line, { minLength: 1, maxLength: 4 }), fc.infiniteStream(fc.boolean()), (lines, choose) => {
        const binds = lines.map(
          ([list, quoted]) => `  bind ${quoted ? `"${list.join(',')}"` : list.join(',')} name "a b"`,
        );
        const text = `listen a\n  mode tcp\n${binds.join('\n')}\n`;
        const { listeners, file } = read(text, home);
        const gone = listeners.binds.filter(() => choose.next().value);
        const after = withoutBinds(listeners, gone, () => text).get(file) ?? text;
        expect(after.split('\n').length).toBe(text.split('\n').length);
        const left = read(after, home).listeners.binds.map(
          ({ endpoint, place }) => `${formatEndpoint(endpoint)} ${place.line}`,
        );
        // The same address twice on one line goes or stays as a whole where it is written the same way.
        const wanted = listeners.binds.filter((bind) => !gone.includes(bind));
        expect(new Set(left)).toEqual(
          new Set(wanted.map(({ endpoint, place }) => `${formatEndpoint(endpoint)} ${place.line}`)),
        );
      }),
      { numRuns: 150 },
    );
  });

  it('HAProxy accepts a range with 500 holes, and a section without any bind', (context) => {
    if (spawnSync('haproxy', ['-v']).error) {
      if (process.env['BERTH_MUST_RUN'] === '1') throw new Error('no haproxy in PATH');
      console.log('skipped: no haproxy in PATH');
      context.skip();
    }
    const text =
      'defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n' +
      'listen a\n  bind 10.9.0.1:8000-8999\nlisten b\n  bind :9\n';
    const { listeners, file } = read(text);
    const gone = listeners.binds.filter(({ endpoint }) => endpoint.kind === 'inet' && endpoint.port % 2 === 1);
    put(file, withoutBinds(listeners, gone, () => text).get(file) ?? '');
    const check = spawnSync('haproxy', ['-c', '-f', file], { encoding: 'utf8' });
    expect(check.stderr).toMatch(/proxy 'b' has no 'bind' directive/);
    expect(check.status).toBe(0);
  });
});
