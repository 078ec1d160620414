import { mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from '../support/fast-check.js';
import { afterEach, describe, expect, it } from 'vitest';
import { readListeners } from '../../src/haproxy/binds.js';
import { readConfiguration, type ReadOptions } from '../../src/haproxy/config.js';
import { writeFiles } from '../support/listening.js';

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

function files(content: Readonly<Record<string, string>>): string {
  const directory = writeFiles(content);
  directories.push(directory);
  return directory;
}

function options(workingDirectory: string, more: Partial<ReadOptions> = {}): ReadOptions {
  return { workingDirectory, environment: {}, version: { major: 2, minor: 6, text: '2.6.12-1+deb12u4' }, ...more };
}

/** Read `a.cfg` of this text. */
function read(text: string, more: Partial<ReadOptions> = {}): ReturnType<typeof readConfiguration> {
  return readConfiguration(['a.cfg'], options(files({ 'a.cfg': text }), more));
}

function failure(action: () => unknown): Record<string, unknown> {
  try {
    action();
  } catch (error) {
    const { code, message, details } = error as { code: string; message: string; details: unknown };
    return { code, message, details };
  }
  throw new Error('nothing was thrown');
}

describe('sections and lines', () => {
  it('know their file and line', () => {
    const { sections, files: names } = read(
      '# one\nglobal\n  nbthread 1\n\nlisten web # x\n\tbind :80 name "a b"\n  no option x\n',
    );
    expect(names).toEqual(['a.cfg']);
    expect(sections.map(({ kind, name, file, line }) => ({ kind, name, file, line }))).toEqual([
      { kind: 'global', name: '', file: 'a.cfg', line: 2 },
      { kind: 'listen', name: 'web', file: 'a.cfg', line: 5 },
    ]);
    const lines = sections[1]!.lines.map(({ keyword, words, line }) => ({ keyword, words, line }));
    expect(lines).toEqual([
      { keyword: 'bind', words: ['bind', ':80', 'name', 'a b'], line: 6 },
      { keyword: 'no', words: ['no', 'option', 'x'], line: 7 },
    ]);
  });

  it('do not go on in the next file', () => {
    const directory = files({ 'a.cfg': 'listen a\n', 'b.cfg': '  bind :80\n' });
    expect(failure(() => readConfiguration(['a.cfg', 'b.cfg'], options(directory)))).toMatchObject({
      code: 'BERTH_CONFIG_SYNTAX',
      message: "b.cfg:1: 'bind' stands before the first section of the file",
    });
  });

  it('are named as HAProxy names them', () => {
    const directory = files({ 'd/a.cfg': 'listen a\n' });
    expect(readConfiguration(['d'], options(directory)).files).toEqual(['d/a.cfg']);
    expect(readConfiguration([`${directory}/d/`], options('/')).files).toEqual([`${directory}/d//a.cfg`]);
  });

  it('are read below another root, and keep their names', () => {
    const root = files({ 'home/user/d/a.cfg': 'listen a\n  bind unix@x.sock\n' });
    const configuration = readConfiguration(['d'], options('/home/user', { root }));
    expect(configuration.files).toEqual(['d/a.cfg']);
    expect(readListeners(configuration).binds[0]?.endpoint).toEqual({
      kind: 'unix',
      path: '/home/user/x.sock',
      abstract: false,
    });
  });

  it('are text of any encoding', () => {
    const { sections } = read('listen caf\xc3\xa9\n  bind :80 name \xe9\\x41\n');
    expect(sections[0]?.name).toBe('café');
    expect(sections[0]?.lines[0]?.words.at(-1)).toBe('\ufffdA');
  });
});

describe('what cannot be read', () => {
  it('a word ends at an escaped NUL, as a string of C does', () => {
    const { sections } = read('listen\\x00 a\\x00b\n  bind :80\n');
    expect(sections.map(({ kind, name }) => [kind, name])).toEqual([['listen', 'a']]);
  });

  it('more listeners than a process can have open', () => {
    const configuration = read(`listen x\n  bind ${':1-65535,'.repeat(5000)}\n`);
    expect(failure(() => readListeners(configuration))).toMatchObject({
      code: 'BERTH_CONFIG_TOO_LARGE',
      message: expect.stringMatching(/^a\.cfg:2: the configuration asks for more than 1048576 listeners/) as unknown,
    });
  });

  it('an error does not repeat a line of any length', () => {
    const configuration = read(`listen x\n  bind ${'x!'.repeat(100_000)}:80\n`);
    expect(String(failure(() => readListeners(configuration))['message']).length).toBeLessThan(1100);
  });

  it('a file that does not exist', () => {
    expect(failure(() => readConfiguration(['no.cfg'], options('/')))).toMatchObject({
      code: 'BERTH_CONFIG_UNREADABLE',
      message: 'no.cfg: the configuration cannot be read: ENOENT',
    });
  });

  it('a directory without *.cfg files', () => {
    const directory = files({ 'd/a.conf': 'global\n', 'd/.b.cfg': 'global\n' });
    expect(failure(() => readConfiguration(['d'], options(directory)))).toMatchObject({
      code: 'BERTH_CONFIG_EMPTY',
      message: 'd: no file to read; of a directory HAProxy takes *.cfg only',
    });
  });

  it('an empty file, and one of comments', () => {
    for (const text of ['', '\n\n', '# nothing\n']) {
      expect(failure(() => read(text))).toMatchObject({ code: 'BERTH_CONFIG_EMPTY' });
    }
  });

  it('a file with NUL bytes', () => {
    expect(failure(() => read('global\n  nbthread 1\n\x7fELF\0\0\n'))).toMatchObject({
      code: 'BERTH_CONFIG_UNREADABLE',
      message: 'a.cfg:3: the line holds a NUL byte: this is not a text file',
    });
  });

  it('junk without NUL bytes', () => {
    expect(failure(() => read('\x01\x02 \xff\xfe junk\n'))).toMatchObject({ code: 'BERTH_CONFIG_SYNTAX' });
  });

  it('100 MB, without reading them', () => {
    const directory = files({ 'a.cfg': 'global\n' });
    truncateSync(join(directory, 'a.cfg'), 100_000_000);
    expect(failure(() => readConfiguration(['a.cfg'], options(directory)))).toMatchObject({
      code: 'BERTH_CONFIG_TOO_LARGE',
      details: { file: 'a.cfg', bytes: 100_000_000 },
    });
  });

  it('many files that are too large together', () => {
    const directory = files({ 'd/a.cfg': 'global\n', 'd/b.cfg': 'global\n', 'd/c.cfg': 'global\n' });
    expect(readConfiguration(['d'], options(directory, { maxBytes: 21 })).files).toHaveLength(3);
    expect(failure(() => readConfiguration(['d'], options(directory, { maxBytes: 20 })))).toMatchObject({
      code: 'BERTH_CONFIG_TOO_LARGE',
      details: { file: 'd/c.cfg' },
    });
  });

  it('a pipe or a device', () => {
    expect(failure(() => readConfiguration(['/dev/null'], options('/')))).toMatchObject({
      code: 'BERTH_CONFIG_UNREADABLE',
      message: expect.stringContaining('not a regular file') as string,
    });
  });

  it('nothing at all', () => {
    expect(failure(() => readConfiguration([], options('/')))).toMatchObject({ code: 'BERTH_USAGE' });
  });
});

describe('directories', () => {
  it('give links to files, not to directories', () => {
    const directory = files({ 'd/a.cfg': 'listen a\n', 'other/x': 'listen x\n' });
    symlinkSync('../other/x', join(directory, 'd/b.cfg'));
    symlinkSync('../other', join(directory, 'd/c.cfg'));
    expect(readConfiguration(['d'], options(directory)).files).toEqual(['d/a.cfg', 'd/b.cfg']);
  });

  it('fail for a link to nothing, as HAProxy does', () => {
    const directory = files({ 'd/a.cfg': 'listen a\n' });
    symlinkSync('nowhere', join(directory, 'd/b.cfg'));
    expect(failure(() => readConfiguration(['d'], options(directory)))).toMatchObject({
      code: 'BERTH_CONFIG_UNREADABLE',
      message: 'd/b.cfg: the configuration cannot be read: ENOENT',
    });
  });

  it('may be empty beside others that are not', () => {
    const directory = files({ 'a.cfg': 'listen a\n' });
    mkdirSync(join(directory, 'd'));
    expect(readConfiguration(['d', 'a.cfg'], options(directory)).files).toEqual(['a.cfg']);
  });

  it('are in byte order', () => {
    const names = ['10', '9', 'B', 'Z', '_x', 'a', 'é', '~t'];
    const directory = files({});
    mkdirSync(join(directory, 'd'));
    for (const name of names) writeFileSync(join(directory, 'd', `${name}.cfg`), 'listen a\n');
    const order = ['10', '9', 'B', 'Z', '_x', 'a', '~t', 'é'].map((name) => `d/${name}.cfg`);
    expect(readConfiguration(['d'], options(directory)).files).toEqual(order);
  });
});

describe('any text at all', () => {
  const words = [
    'listen a',
    'bind',
    ':80',
    '*:1-3',
    '"',
    "'",
    '\\',
    '\\x4',
    '$',
    '${',
    '}',
    '[*]',
    '-',
    '#',
    '.if',
    '.elif',
    '.else',
    '.endif',
  ];
  const more = [
    'global',
    'setenv A b',
    'peers p',
    'peer',
    '(',
    ')',
    '&&',
    '!',
    'streq(',
    ',',
    '@',
    'unix@',
    '::',
    '\t',
    ' ',
    '\r',
    '\n',
    '\n',
  ];
  const piece = fc.oneof(fc.constantFrom(...words, ...more), fc.string({ maxLength: 4 }));

  it('is read or refused with file and line, never a defect', () => {
    const directory = files({});
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        writeFileSync(join(directory, 'a.cfg'), `listen first\n${pieces.join('')}\n`);
        try {
          readListeners(readConfiguration(['a.cfg'], options(directory)));
        } catch (error) {
          expect((error as { code?: string }).code).toMatch(/^BERTH_CONFIG_(SYNTAX|UNREADABLE)$/);
          expect((error as Error).message).toMatch(/^a\.cfg:\d+: /);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe('the environment', () => {
  it('is kept as it was at each place', () => {
    const { sections, environment } = read(
      'global\n setenv A 1\nlisten a\n bind :$A\nglobal\n setenv A 2\nlisten b\n bind :$A\n',
    );
    expect(sections[1]?.lines[0]?.variables.get('A')).toBe('1');
    expect(sections[3]?.lines[0]?.variables.get('A')).toBe('2');
    expect(environment.get('A')).toBe('2');
  });

  it('holds what HAProxy puts there', () => {
    const { environment, localPeer } = read('global\n localpeer me\n', {
      version: { major: 3, minor: 2, text: '3.2.1' },
    });
    expect(localPeer).toBe('me');
    expect(environment.get('HAPROXY_LOCALPEER')).toBe('me');
    expect(environment.get('HAPROXY_BRANCH')).toBe('3.2');
    expect(read('global\n localpeer me\n', { localPeer: 'flag' }).localPeer).toBe('flag');
  });

  it('is not changed by a line that does not count', () => {
    expect(read('global\n.if 0\n setenv A 1\n.endif\n').environment.has('A')).toBe(false);
  });
});

describe('what only the binary knows', () => {
  const unknown = (text: string, more: Partial<ReadOptions> = {}): string[][] =>
    readListeners(read(text, more)).unknown.map(({ text: word, reason }) => [word, reason]);
  const known = (text: string, more: Partial<ReadOptions> = {}): string[] =>
    readListeners(read(text, more)).binds.map(({ text: word }) => word);

  it('makes the binds of both branches unknown', () => {
    const text = 'listen a\n.if feature(QUIC)\n bind :1\n.else\n bind :2\n.endif\n bind :3\n';
    const reason = 'feature(QUIC): only the haproxy binary knows';
    expect(unknown(text)).toEqual([
      [':1', reason],
      [':2', reason],
    ]);
    expect(known(text)).toEqual([':3']);
    expect(known(text, { features: ['QUIC'] })).toEqual([':1', ':3']);
    expect(known(text, { features: [] })).toEqual([':2', ':3']);
  });

  it('is still decided where it does not matter', () => {
    expect(known('listen a\n.if feature(X) && 0\n bind :1\n.elif feature(X) || 1\n bind :2\n.endif\n')).toEqual([':2']);
    expect(known('listen a\n.if 1\n bind :1\n.elif feature(X)\n bind :2\n.endif\n')).toEqual([':1']);
  });

  it('ends with the branch that is certain', () => {
    const text = 'listen a\n.if feature(X)\n bind :1\n.elif 1\n bind :2\n.else\n bind :3\n.endif\n';
    expect(unknown(text).map(([word]) => word)).toEqual([':1', ':2']);
  });

  it('goes over to a section that may not be there, and to all that may belong to it', () => {
    const text = 'listen a\n bind :1\n.if enabled(SPLICE)\nlisten b\n bind :2\n.endif\n bind :3\nlisten c\n bind :4\n';
    expect(unknown(text).map(([word]) => word)).toEqual([':2', ':3']);
    expect(known(text)).toEqual([':1', ':4']);
  });

  it('goes over to variables set there, and to what is disabled there', () => {
    const variable = 'global\n.if feature(X)\n setenv P 80\n.endif\nlisten a\n bind ":$P"\n bind :81\n';
    expect(unknown(variable).map(([word]) => word)).toEqual([':80']);
    const disabled = 'listen a\n bind :1\n.if feature(X)\n disabled\n.endif\n';
    expect(unknown(disabled).map(([word]) => word)).toEqual([':1']);
  });

  it('covers predicates that Berth has not heard of', () => {
    expect(unknown('listen a\n.if awslc_api_atleast(27)\n bind :1\n.endif\n')).toHaveLength(1);
  });

  it('covers what is not an address', () => {
    const listeners = readListeners(
      read('listen a\n bind fd@3,web.example:80,:81\n bind sockpair@4\n bind rhttp@be/srv\n'),
    );
    expect(listeners.unknown.map(({ text }) => text)).toEqual(['fd@3', 'web.example:80', 'sockpair@4', 'rhttp@be/srv']);
    expect(listeners.unknown.map(({ place }) => place.line)).toEqual([2, 2, 3, 4]);
    expect(listeners.binds.map(({ text }) => text)).toEqual([':81']);
  });
});

describe('global facts', () => {
  it('are read from all global sections', () => {
    const { global } = readListeners(
      read(
        'global\n nbthread 4\n maxconn 100\n user haproxy\n group haproxy\n chroot /var/lib/haproxy\n pidfile /run/h.pid\n' +
          ' stats socket /run/admin.sock level admin expose-fd listeners\n stats socket :9000\n' +
          'global\n master-worker\n noreuseport\n hard-stop-after 30s\n uid 7\n gid 8\n nbthread 2\n',
      ),
    );
    expect(global).toEqual({
      nbthread: 2,
      maxconn: 100,
      user: 'haproxy',
      group: 'haproxy',
      uid: 7,
      gid: 8,
      chroot: '/var/lib/haproxy',
      pidfile: '/run/h.pid',
      masterWorker: true,
      noReusePort: true,
      hardStopAfter: '30s',
      statsSockets: [
        { address: '/run/admin.sock', exposeFdListeners: true, level: 'admin', place: { file: 'a.cfg', line: 8 } },
        { address: ':9000', exposeFdListeners: false, level: 'operator', place: { file: 'a.cfg', line: 9 } },
      ],
    });
  });

  it('say what they do not know', () => {
    const { binds, warnings } = readListeners(read('listen a\n bind :1 shards by-thread\n bind :2 shards 4\n'));
    expect(binds.map(({ sockets }) => sockets)).toEqual([1, 4]);
    expect(warnings.map(({ line, message }) => [line, message.split(':')[0]])).toEqual([
      [2, 'shards by-thread without nbthread'],
      [3, 'shards 4 without nbthread'],
    ]);
  });
});
