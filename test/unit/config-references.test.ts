import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { readConfiguration } from '../../src/haproxy/config.js';
import { harden, hardenText, originalLine } from '../../src/haproxy/harden.js';
import { references } from '../../src/haproxy/references.js';
import { writeFiles } from '../support/listening.js';

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

function read(content: Readonly<Record<string, string>>, source = 'a.cfg'): ReturnType<typeof readConfiguration> {
  const directory = writeFiles(content);
  directories.push(directory);
  const version = { major: 2, minor: 6, text: '2.6.12' };
  return readConfiguration([source], { workingDirectory: directory, environment: {}, version });
}

function found(content: Readonly<Record<string, string>>, source?: string): string[] {
  const configuration = read(content, source);
  return references(configuration).map((path) => path.replace(`${configuration.workingDirectory}/`, ''));
}

describe('references', () => {
  it('are files wherever a line names them', () => {
    const content = {
      'a.cfg': `global
  lua-load lua/x.lua arg
  server-state-file state
  stats socket unix@sock level admin
listen a
  bind :443 ssl crt site.pem ca-file "ca file.pem" crl-file none.pem
  acl bad src -f lists/bad.acl -f /absolute/none
  http-request set-header x %[src,map_ip(maps/ip.map,none)]
  http-request set-header y "%[path,map(virt@maps/b.map)]"
  errorfile 503 errors/503.http
  server s 10.0.0.1:80 check ca-file ../outside.pem
`,
      ...Object.fromEntries(
        [
          'lua/x.lua',
          'state',
          'site.pem',
          'ca file.pem',
          'lists/bad.acl',
          'maps/ip.map',
          'maps/b.map',
          'errors/503.http',
        ].map((name) => [name, '']),
      ),
      'unused.pem': '',
    };
    expect(found(content)).toEqual([
      ...[
        'ca file.pem',
        'errors/503.http',
        'lists/bad.acl',
        'lua/x.lua',
        'maps/b.map',
        'maps/ip.map',
        'site.pem',
        'state',
      ],
    ]);
  });

  it('are directories where the keyword takes them, and there alone', () => {
    const content = {
      'a.cfg': 'listen web\n  bind :443 ssl crt certs\n  server web 10.0.0.1:80\n',
      'certs/a.pem': '',
      'web/x': '',
    };
    expect(found(content)).toEqual(['certs']);
  });

  it('of the base itself are its files, not the whole tree', () => {
    expect(found({ 'a.cfg': 'listen a\n  bind :443 ssl crt ./\n', 'x.pem': '', 'deep/y.pem': '' })).toEqual([
      'a.cfg',
      'x.pem',
    ]);
  });

  it('bring what is loaded beside a certificate', () => {
    const content = { 'a.cfg': 'listen a\n  bind :443 ssl crt c/site.pem crt c/dual\n' };
    const beside = ['c/dual.ecdsa', 'c/dual.rsa', 'c/site.key', 'c/site.pem', 'c/site.pem.issuer', 'c/site.pem.ocsp'];
    expect(found({ ...content, ...Object.fromEntries([...beside, 'c/other.pem'].map((name) => [name, ''])) })).toEqual(
      beside,
    );
  });

  it('are those of certificate lists, too', () => {
    const list = '# c/no.pem\nc/a.pem [ca-file c/ca.pem verify required] a.example !b.example\n  c/b.pem\n';
    const names = ['c/a.pem', 'c/b.pem', 'c/ca.pem', 'c/no.pem'];
    const content = { 'a.cfg': 'listen a\n  bind :443 ssl crt-list list.txt\n', 'list.txt': list };
    expect(found({ ...content, ...Object.fromEntries(names.map((name) => [name, ''])) })).toEqual([
      ...['c/a.pem', 'c/b.pem', 'c/ca.pem', 'list.txt'],
    ]);
  });

  it('follow default-path', () => {
    const content = {
      'in/a.cfg': 'global\n  default-path config\nlisten a\n  bind :443 ssl crt x.pem\n',
      'in/x.pem': '',
      'x.pem': '',
    };
    expect(found(content, 'in/a.cfg')).toEqual(['in/x.pem']);
    const parent = { ...content, 'in/a.cfg': content['in/a.cfg'].replace('config', 'parent') };
    expect(found(parent, 'in/a.cfg')).toEqual(['x.pem']);
  });

  it('take Lua modules with them', () => {
    const content = {
      'a.cfg': 'global\n  lua-prepend-path lua/?.lua\n  lua-load main.lua\n',
      'lua/m.lua': '',
      'main.lua': '',
    };
    expect(found(content)).toEqual(['lua', 'main.lua']);
    const here = { 'a.cfg': 'global\n  lua-prepend-path ./?.lua\n', 'm.lua': '', 'x.txt': '' };
    expect(found(here)).toEqual(['m.lua']);
  });

  it('may lie outside', () => {
    const configuration = read(
      { 'in/a.cfg': 'global\n  default-path config\nlisten a\n  bind :443 ssl crt ../x.pem\n', 'x.pem': '' },
      'in/a.cfg',
    );
    expect(references(configuration)).toEqual([join(configuration.workingDirectory, 'x.pem')]);
  });
});

describe('harden: source', () => {
  const hardened = (text: string): { at: string[]; text: string } => {
    const lines = harden(read({ 'a.cfg': text }));
    return { at: lines.map(({ section, line }) => `${section}:${line}`), text: hardenText(text, lines) };
  };

  it('adds a line to each defaults, and nothing to what it covers', () => {
    const text = 'defaults\n  mode tcp\nlisten a\n  bind :1\nbackend b\n  server s 10.0.0.1:80\n';
    expect(hardened(text)).toEqual({
      at: ['defaults:1'],
      text: 'defaults\n  source 0.0.0.0\n  mode tcp\nlisten a\n  bind :1\nbackend b\n  server s 10.0.0.1:80\n',
    });
  });

  it('adds one to sections without defaults', () => {
    expect(hardened('listen a\nfrontend f\nbackend b\ndefaults\nlisten c\n').at).toEqual([
      'listen a:1',
      'backend b:3',
      'defaults:4',
    ]);
  });

  it('leaves a source alone', () => {
    expect(hardened('defaults\n  source 10.0.0.9\nlisten a\n').at).toEqual([]);
    expect(hardened('backend b\n  source 10.0.0.9:1-2\nlisten a\n').at).toEqual(['listen a:3']);
  });

  it('knows defaults from defaults', () => {
    expect(
      hardened('defaults a\n source 1.1.1.1\ndefaults b from a\ndefaults c\nlisten x from b\nlisten y\n').at,
    ).toEqual(['defaults c:4']);
  });

  it('keeps line ends, and tells lines back', () => {
    const text = 'defaults\r\n  mode tcp\r\ndefaults\r\n  mode http\r\n';
    const lines = harden(read({ 'a.cfg': text }));
    const rows = hardenText(text, lines).split('\n');
    expect(rows[1]).toBe('  source 0.0.0.0\r');
    const original = text.split('\n');
    for (const [i, row] of rows.entries()) {
      const line = originalLine(i + 1, lines);
      expect(row.includes('source') ? 'defaults\r' : row).toBe(original[line - 1]);
    }
  });
});
