/**
 * Configurations made up by fast-check: what HAProxy accepts must be read as what it binds. BERTH_FUZZ_RUNS sets the number
 * of runs for each HAProxy.
 */
import { rmSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readListeners } from '../../src/haproxy/binds.js';
import { readConfiguration } from '../../src/haproxy/config.js';
import { cannotRun } from '../support/haproxy.js';
import { binaries, describeBind, listen, writeFiles } from '../support/listening.js';

const RUNS = Number(process.env['BERTH_FUZZ_RUNS'] ?? 40);

/** Written so that a variable of these or a literal stands for the same text. */
const VARIABLES = { ADDRESS: '10.9.0.7', NET: '10.9.0', PORT: '21000', TAIL: '80', EMPTY: '', V6: 'fd00::77' };

const port = fc.integer({ min: 1025, max: 65000 });
const octet = fc.integer({ min: 0, max: 255 });
const group = fc.integer({ min: 0, max: 0xffff }).map((value) => value.toString(16));
const ipv4 = octet.map((last) => `10.9.0.${last}`);
const ipv6 = fc.oneof(
  fc.constant('fd00::77'),
  fc.tuple(group, group).map(([a, b]) => `fd00:0:${a}::${b}`),
  octet.map((last) => `::ffff:10.9.0.${last}`),
);

/** The same word in another writing: quotes and escapes that mean nothing here. */
const written = (word: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.tuple(word, fc.integer({ min: 0, max: 9 }), fc.nat()).map(([text, how, at]) => {
    const cut = text.length === 0 ? 0 : at % text.length;
    const [head, tail] = [text.slice(0, cut), text.slice(cut)];
    if (how === 0) return `"${text}"`;
    if (how === 1 && !text.includes('$')) return `'${text}'`;
    if (how === 2) return `${head}"${tail}"`;
    if (how === 3 && !text.includes('$') && tail !== '') {
      return `${head}\\x${tail.charCodeAt(0).toString(16).padStart(2, '0')}${tail.slice(1)}`;
    }
    if (how === 4) return `"${text}$EMPTY"`;
    return text;
  });

const GLOBALS = ['setenv PORT 20999', 'unsetenv UNUSED', 'presetenv PORT 1', 'setenv NEW 22000'];
const RESET = `resetenv ${Object.keys(VARIABLES).join(' ')} PATH`;
const OPTIONS = [
  ...['v6only', 'v4v6', 'transparent', 'interface lo', 'name v6only', 'name "a b # c"', 'name a\\ b', 'maxconn 10'],
  ...['backlog 7', 'nice 5', 'mss 1400', 'accept-proxy', 'defer-accept', '# v6only'],
];
const CONDITIONS = [
  ...[
    '1',
    '0',
    '',
    '!1',
    'streq("$PORT",21000)',
    'strneq($PORT,$PORT)',
    'defined(NET) && !defined(NOPE)',
    '0 || (1 && !0)',
  ],
  ...['version_atleast(2.6)', 'version_before(3.0.0)', 'feature(OPENSSL)', '!(0 || 0)', 'defined(NOPE)'],
];
const LINES = [
  '  balance roundrobin',
  '# bind :1',
  '',
  '   ',
  '\t# x',
  '  maxconn 9',
  '  disabled',
  '  enabled',
  '  option tcplog',
];
/** What HAProxy refuses, in some version or in all. */
const BAD = {
  ports: ['0', '65536', '80x', '9-8', '-1', '+5', '', '1-', '70000-70001', '$NOPE'],
  options: ['nonsense', 'shards 0', 'name'],
  conditions: ['defined(', 'streq(a,b,c)', '1 0', '&& 1', 'nosuch('],
  lines: ['  unknown-keyword x', '  "bind"', '  bind ":80'],
};

/** @param bad with what HAProxy refuses @param conditions with `.if` (not in HAProxy 2.2) */
function configurations(bad: boolean, conditions: boolean): fc.Arbitrary<string> {
  const pick = (good: readonly string[], refused: readonly string[]): fc.Arbitrary<string> =>
    fc.constantFrom(...good, ...(bad ? refused : []));
  const host = fc.oneof(
    { weight: 4, arbitrary: ipv4 },
    { weight: 2, arbitrary: ipv4.map((address) => `ipv4@${address}`) },
    { weight: 2, arbitrary: ipv6.map((address) => `[${address}]`) },
    { weight: 1, arbitrary: ipv6.map((address) => `ipv6@${address}`) },
    { weight: 1, arbitrary: ipv6 },
    { weight: 3, arbitrary: fc.constantFrom('*', '', '0.0.0.0', '::', '[::]', 'ipv6@', 'ipv4@*', 'ipv6@::') },
    { weight: 2, arbitrary: fc.constantFrom('${ADDRESS}', '$ADDRESS', '[${V6}]', '${NET}.9', 'ipv4@${ADDRESS}') },
  );
  const ports = fc.oneof(
    { weight: 5, arbitrary: port.map(String) },
    { weight: 2, arbitrary: fc.tuple(port, fc.integer({ min: 0, max: 4 })).map(([p, more]) => `${p}-${p + more}`) },
    { weight: 2, arbitrary: fc.constantFrom('${PORT}', '2${TAIL}', '$PORT', '$PORT-21002', '08080') },
    ...(bad ? [{ weight: 2, arbitrary: fc.constantFrom(...BAD.ports) }] : []),
  );
  const address = fc.oneof(
    { weight: 9, arbitrary: fc.tuple(host, ports).map(([h, p]) => `${h}:${p}`) },
    { weight: 1, arbitrary: fc.nat({ max: 99_999 }).map((n) => `unix@/run/s${n}.sock`) },
    { weight: 1, arbitrary: fc.nat({ max: 99_999 }).map((n) => `abns@berth${n}`) },
  );
  const gap = fc.constantFrom(' ', '  ', '\t', ' \t ');
  const list = fc.array(address, { minLength: 1, maxLength: 3 }).map((each) => each.join(','));
  const bind = fc
    .tuple(gap, written(list), fc.array(pick(OPTIONS, BAD.options), { maxLength: 3 }), gap)
    .map(([before, word, options, between]) => [`${before}bind`, word, ...options].join(between));
  const line = fc.oneof({ weight: 6, arbitrary: bind }, { weight: 1, arbitrary: pick(LINES, BAD.lines) });
  const condition = pick(CONDITIONS, BAD.conditions);
  const block: fc.Arbitrary<string[]> = fc.oneof(
    { weight: 5, arbitrary: line.map((one) => [one]) },
    {
      weight: conditions ? 1 : 0,
      arbitrary: fc
        .tuple(condition, line, condition, line, line)
        .map(([first, a, second, b, c]) => [`.if ${first}`, a, `.elif ${second}`, b, '.else', c, '.endif']),
    },
  );
  const section = fc
    .tuple(fc.constantFrom('listen', 'frontend'), fc.array(block, { minLength: 1, maxLength: 5 }))
    .map(([kind, blocks]) => ({ kind, lines: blocks.flat() }));
  return fc
    .record({
      globals: fc.array(pick([...GLOBALS, RESET], ['noreuseport', 'unsetenv NET']), { maxLength: 3 }),
      disabled: fc.boolean(),
      sections: fc.array(section, { minLength: 1, maxLength: 4 }),
      end: fc.constantFrom('\n', '\n', '\r\n'),
    })
    .map(({ globals, disabled, sections, end }) =>
      [
        ...['global', '  nbthread 1', ...globals.map((word) => `  ${word}`), 'defaults', '  mode tcp'],
        ...['connect', 'client', 'server'].map((timeout) => `  timeout ${timeout} 1s`),
        ...(disabled ? ['  disabled'] : []),
        ...sections.flatMap(({ kind, lines }, i) => [`${kind} s${i}`, ...(disabled ? ['  enabled'] : []), ...lines]),
        ...['listen last', '  enabled', '  bind 127.0.0.1:1024', ''],
      ].join(end),
    );
}

const reason = cannotRun();

describe.skipIf(reason !== undefined).each(binaries().map((binary) => [binary.version.text, binary] as const))(
  'made-up configurations, HAProxy %s',
  (_version, binary) => {
    it('are read as they are bound', { timeout: 60_000 + RUNS * 1000 }, () => {
      let accepted = 0;
      const conditions = binary.version.major > 2 || binary.version.minor >= 4;
      const configuration = fc.oneof(
        { weight: 5, arbitrary: configurations(false, conditions) },
        { weight: 1, arbitrary: configurations(true, conditions) },
      );
      fc.assert(
        fc.property(configuration, (text) => {
          const directory = writeFiles({ 'a.cfg': text });
          try {
            const real = listen(binary.path, { directory, arguments: ['-f', 'a.cfg'], environment: VARIABLES });
            const read = (): string[] =>
              readListeners(
                readConfiguration(['a.cfg'], {
                  workingDirectory: directory,
                  environment: VARIABLES,
                  version: binary.version,
                  features: binary.features,
                }),
              )
                .binds.flatMap(describeBind)
                .sort();
            // refused for a keyword, which is not Berth's to judge, or because two binds exclude each other: nothing to compare
            if (!real.accepted) return;
            accepted++;
            expect(read(), text).toEqual(real.sockets);
          } finally {
            rmSync(directory, { recursive: true, force: true });
          }
        }),
        { numRuns: RUNS },
      );
      console.log(
        `HAProxy ${binary.version.text}: ${accepted} of ${RUNS} made-up configurations were accepted and compared`,
      );
      expect(accepted).toBeGreaterThan(0);
    });
  },
);
