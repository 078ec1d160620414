import { describe, expect, it } from 'vitest';
import { bindFailures, parseMessages, summary } from '../../src/haproxy/messages.js';
import { handoffLost, parseShowProc } from '../../src/haproxy/show-proc.js';

describe('messages of HAProxy', () => {
  it.each([
    ['2.2', '[ALERT] 325/211736 (78) : Starting proxy new: cannot bind socket [10.9.0.1:30000]', undefined, undefined],
    [
      '2.6',
      '[ALERT]    (78) : Binding [/c/zz.cfg:2] for proxy new: cannot bind socket (Address already in use) for [10.9.0.1:30000]',
      'Address already in use',
      '/c/zz.cfg',
    ],
    [
      '3.2',
      '[ALERT]    (78) : Binding [/c/zz.cfg:2] for proxy new: protocol tcpv4: cannot bind socket (Cannot assign requested address) for [10.9.0.1:30000].',
      'Cannot assign requested address',
      '/c/zz.cfg',
    ],
  ])('tell a failed bind in %s', (_, line, reason, file) => {
    const messages = parseMessages(`[NOTICE]   (78) : haproxy version is 2.6.12\n${line}\n`);
    expect(messages.map(({ level }) => level)).toEqual(['NOTICE', 'ALERT']);
    expect(bindFailures(messages)).toEqual([
      { address: '10.9.0.1:30000', ...(reason && { reason }), ...(file && { file, line: 2 }) },
    ]);
  });

  it('tell an IPv6 address from a file', () => {
    const [message] = parseMessages('[ALERT] (1) : Starting proxy x: cannot bind socket [:::20031]');
    expect(message).not.toHaveProperty('file');
    expect(bindFailures([message!])).toEqual([{ address: ':::20031' }]);
  });

  it('keep continuation lines, drop chatter, and take a loader that fails for an alert', () => {
    const text = [
      'haproxy: error while loading shared libraries: liblua5.4.so.0',
      "[ALERT]    (9) : config : parsing [c.cfg:7] : unknown keyword 'bnid' in 'listen' section; did you mean 'bind' maybe ?",
      '  which is the next line',
      '[ALERT]    (9) : config : Error(s) found in configuration file : /etc/h.cfg',
      '[DIAG]     (9) : something',
      'Warnings were found.',
      'Configuration file is valid',
    ].join('\n');
    const messages = parseMessages(text);
    expect(messages.map(({ level, file, line }) => [level, file, line])).toEqual([
      ['ALERT', undefined, undefined],
      ['ALERT', 'c.cfg', 7],
      ['ALERT', '/etc/h.cfg', undefined],
      ['NOTICE', undefined, undefined],
    ]);
    expect(messages[1]?.text).toContain('which is the next line');
    expect(summary(messages, 2)).toMatch(/shared libraries.*; config : parsing .* which is the next line; and 1 more$/);
    expect(summary([])).toBe('it said nothing');
  });

  it('a line made to be searched for ever', () => {
    const text = `[ALERT]    (1) : ${'cannot bind socket ('.repeat(200_000)}`;
    expect(bindFailures(parseMessages(text))).toEqual([]);
  });
});

describe('show proc', () => {
  const head = '#<PID>          <type>          <reloads>       <uptime>        <version>\n';

  it('a row without its counter, or too long to be one, is none', () => {
    const row = (reloads: string) => `75  worker  ${reloads}  0d00h00m06s  2.6.12\n`;
    const answer = `${head}73  master  1  0d00h00m06s  2.6.12\n# workers\n${row('x')}${row('')}${row('9'.repeat(400))}`;
    expect(parseShowProc(`${answer}${row(' '.repeat(500_000))}`)).toMatchObject({ master: { pid: 73 }, workers: [] });
  });

  it('of 2.6 and 3.0', () => {
    const table = parseShowProc(
      `${head}73              master          1 [failed: 1]   0d00h00m06s     2.6.12-1+deb12u4\n# workers\n` +
        '75              worker          1               0d00h00m06s     2.6.12-1+deb12u4\n# programs\n\n',
    );
    const version = '2.6.12-1+deb12u4';
    expect(table).toEqual({
      master: { pid: 73, type: 'master', reloads: 1, failed: 1, version },
      workers: [{ pid: 75, type: 'worker', reloads: 1, version }],
      oldWorkers: [],
    });
    expect(handoffLost(table!)).toBe(false);
  });

  it('of 2.2, with a relative pid', () => {
    const table = parseShowProc(
      '#<PID>          <type>          <relative PID>  <reloads>       <uptime>        <version>\n' +
        '73              master          0               2               0d00h00m06s     2.2.9-2+deb11u6\n# workers\n' +
        '80              worker          1               0               0d00h00m01s     2.2.9-2+deb11u6\n# old workers\n' +
        '75              worker          [was: 1]        2               0d00h00m06s     2.2.9-2+deb11u6\n# programs\n\n',
    );
    expect(table?.master).toMatchObject({ pid: 73, reloads: 2 });
    expect(table?.master).not.toHaveProperty('failed');
    expect(table?.workers.map(({ pid, reloads }) => [pid, reloads])).toEqual([[80, 0]]);
    expect(table?.oldWorkers.map(({ pid, reloads }) => [pid, reloads])).toEqual([[75, 2]]);
  });

  it('of 3.2 after a failed reload: the handoff is lost', () => {
    const table = parseShowProc(
      `${head}73 master 1 [failed: 1] 0d00h00m06s 3.2.26-1\n# workers\n# old workers\n75 worker 1 0d00h00m06s 3.2.26-1\n\n`,
    );
    expect(handoffLost(table!)).toBe(true);
  });

  it('is told from anything else', () => {
    expect(parseShowProc('Unknown command: show proc\n')).toBeUndefined();
    expect(parseShowProc('')).toBeUndefined();
    expect(parseShowProc(`${head}\n`)).toBeUndefined();
  });
});
