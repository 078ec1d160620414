/** Configurations made up by fast-check, by the grammar of what listens in HAProxy, in several files. */
import fc from 'fast-check';
import type { HAProxyVersion } from '../../src/haproxy/config.js';

/** Relative to the working directory; bytes, for HAProxy works on bytes. */
export type Files = Readonly<Record<string, Buffer>>;

/** The environment of both readers, written so that a variable of these or a literal stands for the same text. */
export const VARIABLES = {
  ...{ ADDRESS: '10.9.0.7', NET: '10.9.0', PORT: '21000', TAIL: '80', EMPTY: '', V6: 'fd00::77', ROLE: 'edge one' },
  ...{ LIST: ':23000,10.9.0.9:23001', OPTIONS: 'v6only  name x', BAD: 'a"b', A: '10.9.0.1', P: '8223', N: '2' },
};

type Text = fc.Arbitrary<string>;

const port = fc.integer({ min: 1025, max: 65000 });
const octet = fc.integer({ min: 0, max: 255 });
const group = fc.integer({ min: 0, max: 0xffff }).map((value) => value.toString(16));
const ipv4 = octet.map((last) => `10.9.0.${last}`);
const ipv6 = fc.oneof(
  fc.constant('fd00::77'),
  fc.tuple(group, group).map(([a, b]) => `fd00:0:${a}::${b}`),
  octet.map((last) => `::ffff:10.9.0.${last}`),
  fc.tuple(group, group, group).map(([a, b, c]) => `FD00:${a}:0:0:${b}:0:0:${c}`),
);

/** What HAProxy refuses, in some version or in all. */
const BAD = {
  ports: ['0', '65536', '80x', '9-8', '-1', '+5', '', '1-', '70000-70001', '$NOPE', '080', ' 80', '8\\0', '4294967376'],
  options: ['nonsense', 'shards 0', 'shards x', 'name', 'interface', 'thread 9-', 'namespace nope', 'v6only="x"'],
  conditions: ['defined(', 'streq(a,b,c)', '1 0', '&& 1', 'nosuch(', 'streq("a,b)', '!', '((1)', 'version_atleast()'],
  lines: ['  unknown-keyword x', '  "bind"', '  bind ":80', '.endif', '.elif 1', '.alert "no"', '  bind', '  bind ""'],
  globals: ['unsetenv NET', 'default-path nowhere', 'stats socket', 'setenv PORT', 'nbthread x', 'localpeer'],
};

const OPTIONS = [
  ...['v6only', 'v4v6', 'transparent', 'interface lo', 'name v6only', 'name "a b # c"', 'name a\\ b', 'maxconn 10'],
  ...['backlog 7', 'nice 5', 'mss 1400', 'accept-proxy', 'defer-accept', '# v6only', 'tfo', 'namespace fuzz'],
  ...['"v6only"', "'name' transparent", '""', '"${EMPTY}" v6only', 'tcp-ut 5s', 'level admin'],
];
const SINCE: readonly (readonly [number, readonly string[]])[] = [
  [206, ['shards 2', 'shards by-thread', 'shards 5', '"${OPTIONS[*]}"', '"${NOPE-v6only}"']],
  [300, ['shards by-group', 'thread 1', 'thread odd shards by-thread', 'thread 1/all', 'guid-prefix v6only']],
];
const CONDITIONS = [
  ...[
    '1',
    '0',
    '',
    '!1',
    '!!1',
    '0x10',
    '-0',
    'streq("$PORT",21000)',
    'strneq($PORT,$PORT)',
    'streq("\'a,b\'","\'a,b\'")',
  ],
  ...['defined(NET) && !defined(NOPE)', '0 || (1 && !0)', 'version_atleast(2.6)', 'version_before(3.0.0)', '  1  '],
  ...['feature(OPENSSL)', '!(0 || 0)', 'defined(NOPE)', 'streq(a\\ b,"a b")', 'defined(HAPROXY_BRANCH)', '1&&0||1'],
  ...['strstr("$ROLE",edge)', 'version_before(2.7-dev3)', '(((1)))', 'enabled(EPOLL)', '1 # x'],
];
const LINES = [
  ...['  balance roundrobin', '# bind :1', '', '   ', '\t# x', '  maxconn 9', '  disabled', '  enabled', '[scope]'],
  ...['  option tcplog', '  description caf\xc3\xa9', '  tcp-request connection reject if FALSE # bind :1'],
];
const LINES_SINCE: readonly (readonly [number, readonly string[]])[] = [
  [206, ['.notice hello', '.warning "look out"', '.diag deep']],
];
const GLOBALS = [
  ...['setenv PORT 20999', 'unsetenv UNUSED', 'presetenv PORT 1', 'setenv NEW 22000', 'setenv LIST "$LIST,:23002"'],
  ...['unix-bind prefix /run/p', 'noreuseport', 'localpeer here', 'nbthread 2', 'setenv LIST ":24000,,:24001"'],
  ...['stats socket /run/admin.sock level admin expose-fd listeners', 'stats socket 10.9.0.3:8999', 'maxconn 100'],
  `resetenv ${Object.keys(VARIABLES).join(' ')} PATH`,
];
const GLOBALS_SINCE: readonly (readonly [number, readonly string[]])[] = [
  [206, ['default-path current', 'default-path config', 'default-path parent', 'default-path origin /tmp']],
  [300, ['tune.listener.default-shards by-thread', 'tune.listener.default-shards by-process']],
];

/** The same word in another writing: quotes and escapes that mean nothing here. */
const written = (word: Text): Text =>
  fc.tuple(word, fc.integer({ min: 0, max: 15 }), fc.nat()).map(([text, how, at]) => {
    const cut = text.length === 0 ? 0 : at % text.length;
    const [head, tail] = [text.slice(0, cut), text.slice(cut)];
    if (how === 0) return `"${text}"`;
    if (how === 1 && !text.includes('$')) return `'${text}'`;
    if (how === 2) return `${head}"${tail}"`;
    if (how === 3 && !text.includes('$') && tail !== '') {
      return `${head}\\x${tail.charCodeAt(0).toString(16).padStart(2, '0')}${tail.slice(1)}`;
    }
    if (how === 4) return `"${text}$EMPTY"`;
    if (how === 5) return `${head}''""${tail}`;
    return text;
  });

export class Grammar {
  constructor(
    private readonly version: HAProxyVersion,
    /** With what HAProxy refuses. */
    private readonly bad: boolean,
  ) {}

  #has(number: number): boolean {
    return this.version.major * 100 + this.version.minor >= number;
  }

  #pick(good: readonly string[], refused: readonly string[], since: typeof SINCE = []): Text {
    const more = since.flatMap(([number, words]) => (this.#has(number) ? words : []));
    return fc.constantFrom(...good, ...more, ...(this.bad ? refused : []));
  }

  #addresses(): Text {
    const host = fc.oneof(
      { weight: 4, arbitrary: ipv4 },
      { weight: 2, arbitrary: ipv4.map((address) => `ipv4@${address}`) },
      { weight: 2, arbitrary: ipv6.map((address) => `[${address}]`) },
      { weight: 1, arbitrary: ipv6.map((address) => `ipv6@${address}`) },
      { weight: 1, arbitrary: ipv6 },
      { weight: 3, arbitrary: fc.constantFrom('*', '', '0.0.0.0', '::', '[::]', 'ipv6@', 'ipv4@*', 'ipv6@::') },
      { weight: 2, arbitrary: fc.constantFrom('${ADDRESS}', '$ADDRESS', '[${V6}]', '${NET}.9', 'ipv4@${ADDRESS}') },
      { weight: this.#has(206) ? 1 : 0, arbitrary: fc.constantFrom('tcp@*', 'tcp4@', 'tcp6@::', 'ip@10.9.0.1') },
      {
        weight: this.bad ? 2 : 0,
        arbitrary: fc.constantFrom('10.9.0', '010.9.0.1', '1.2.3.4.5', 'ipv4@::', '[::', 'é'),
      },
    );
    const ports = fc.oneof(
      { weight: 5, arbitrary: port.map(String) },
      { weight: 2, arbitrary: fc.tuple(port, fc.integer({ min: 0, max: 4 })).map(([p, more]) => `${p}-${p + more}`) },
      { weight: 2, arbitrary: fc.constantFrom('${PORT}', '2${TAIL}', '$PORT', '$PORT-21002', '08080', '21000-$PORT') },
      { weight: this.bad ? 2 : 0, arbitrary: fc.constantFrom(...BAD.ports) },
    );
    const address = fc.oneof(
      { weight: 12, arbitrary: fc.tuple(host, ports).map(([h, p]) => `${h}:${p}`) },
      { weight: 1, arbitrary: fc.nat({ max: 99_999 }).map((n) => `unix@/run/s${n}.sock`) },
      { weight: 1, arbitrary: fc.nat({ max: 99_999 }).map((n) => `abns@berth${n}`) },
      { weight: 1, arbitrary: fc.constantFrom('/run/t.sock', 'unix@r.sock') },
    );
    const list = fc.array(address, { minLength: 1, maxLength: 3 }).map((each) => each.join(','));
    return fc.oneof(
      { weight: 20, arbitrary: written(list) },
      { weight: 1, arbitrary: fc.constantFrom('"$LIST"', ':25000,', '"$NOPE":25001', '"${LIST}"') },
      { weight: this.bad ? 4 : 0, arbitrary: fc.constantFrom('${LIST}', '"$NOPE"', ',', ':25000,,:25001') },
    );
  }

  #line(): Text {
    const gap = fc.constantFrom(' ', '  ', '\t', ' \t ', '\v', ' \f');
    const options = fc.array(this.#pick(OPTIONS, BAD.options, SINCE), { maxLength: 3 });
    const bind = fc
      .tuple(gap, written(fc.constant('bind')), written(this.#addresses()), options, gap)
      .map(([before, keyword, word, rest, between]) => [`${before}${keyword}`, word, ...rest].join(between));
    return fc.oneof(
      { weight: 6, arbitrary: bind },
      { weight: 1, arbitrary: this.#pick(LINES, BAD.lines, LINES_SINCE) },
    );
  }

  /** Lines, some of them in conditions, some of these in others. */
  #block(): fc.Arbitrary<string[]> {
    const line = this.#line().map((one) => [one]);
    if (!this.#has(204)) return line;
    const condition = this.#pick(CONDITIONS, BAD.conditions);
    return fc.letrec<{ block: string[]; conditional: string[] }>((tie) => ({
      block: fc.oneof(
        { depthSize: 'small', withCrossShrink: true },
        { weight: 5, arbitrary: line },
        tie('conditional'),
      ),
      conditional: fc
        .tuple(condition, tie('block'), condition, tie('block'), tie('block'))
        .map(([first, a, second, b, c]) => [`.if ${first}`, ...a, `.elif ${second}`, ...b, '.else', ...c, '.endif']),
    })).block;
  }

  #section(): fc.Arbitrary<string[]> {
    const name = fc.nat({ max: 9999 }).map((n) => `s${n}`);
    const proxy = fc
      .tuple(
        fc.constantFrom('listen', 'listen', 'frontend', 'backend'),
        name,
        fc.array(this.#block(), { maxLength: 5 }),
      )
      .map(([kind, called, blocks]) => [`${kind} ${called}`, ...blocks.flat()]);
    const peers = fc
      .tuple(name, fc.tuple(ipv4, port), fc.boolean(), fc.constantFrom('"${HAPROXY_LOCALPEER}"', 'here', 'other'))
      .map(([called, [host, at], own, peer]) =>
        own
          ? [`peers ${called}`, `  bind ${host}:${at}`, `  server ${peer}`]
          : [`peers ${called}`, `  peer ${peer} ${host}:${at}`],
      );
    const logs = fc
      .tuple(name, ipv4, port)
      .map(([called, host, at]) => [`log-forward ${called}`, `  dgram-bind ${host}:${at}`, `  bind ${host}:${at}`]);
    const timeouts = ['connect', 'client', 'server'].map((timeout) => `  timeout ${timeout} 1s`);
    const more = fc.constantFrom([], [], ['  disabled'], ['  enabled']);
    const defaults = fc
      .tuple(name, more, more)
      .map(([called, first, second]) =>
        this.#has(206)
          ? [
              ...[
                `defaults ${called}`,
                '  mode tcp',
                ...timeouts,
                ...first,
                `defaults b${called} from ${called}`,
                ...second,
              ],
              ...[
                `listen a${called} from ${called}`,
                '  bind :28000',
                `listen b${called} from b${called}`,
                '  bind :28001',
              ],
            ]
          : ['defaults', '  mode tcp', ...timeouts, ...first],
      );
    const global = fc
      .array(this.#pick(GLOBALS, BAD.globals, GLOBALS_SINCE), { maxLength: 2 })
      .map((words) => ['global', ...words.map((word) => `  ${word}`)]);
    return fc.oneof(
      { weight: 12, arbitrary: proxy },
      { weight: 1, arbitrary: peers },
      { weight: this.#has(206) ? 1 : 0, arbitrary: logs },
      { weight: 1, arbitrary: defaults },
      { weight: 1, arbitrary: global },
    );
  }

  files(): fc.Arbitrary<Files> {
    const head = ['global', '  nbthread 1', 'defaults', '  mode tcp'];
    const timeouts = ['connect', 'client', 'server'].map((timeout) => `  timeout ${timeout} 1s`);
    const sections = (most: number) => fc.array(this.#section(), { maxLength: most }).map((all) => all.flat());
    const name = fc.constantFrom(
      '10.cfg',
      '9.cfg',
      'B.cfg',
      'a.cfg',
      '~t.cfg',
      '.h.cfg',
      'x.conf',
      'x.cfg.cfg',
      's/y.cfg',
    );
    return fc
      .record({
        one: sections(4),
        inside: fc.array(fc.tuple(name, sections(2)), { maxLength: 2 }),
        two: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: sections(2) }),
        end: fc.constantFrom('\n', '\n', '\n', '\r\n'),
      })
      .map(({ one, inside, two, end }) => {
        const text = (lines: readonly string[]) => Buffer.from(lines.map((line) => line + end).join(''), 'latin1');
        return {
          'one.cfg': text([...head, ...timeouts, 'listen last', '  bind 127.0.0.1:1024', ...one]),
          ...Object.fromEntries(inside.map(([called, lines]) => [`dir/${called}`, text(lines)])),
          ...(two.length > 0 ? { 'two.cfg': text(two) } : {}),
        };
      });
  }
}

/** One in six holds something that HAProxy refuses. */
export function madeUp(version: HAProxyVersion): fc.Arbitrary<Files> {
  return fc.oneof(
    { weight: 5, arbitrary: new Grammar(version, false).files() },
    { weight: 1, arbitrary: new Grammar(version, true).files() },
  );
}
