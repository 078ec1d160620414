/** Configurations, each form of a bind at least once. */
import { hardenText } from '../../src/haproxy/harden.js';

export interface Case {
  readonly name: string;
  /** The text of `a.cfg`, or else `files`. */
  readonly config?: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly sources?: readonly string[];
  readonly chdir?: string;
  readonly arguments?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly localPeer?: string;
  readonly setup?: string;
  /** First and last HAProxy that accepts it (or, where `refused`, refuses it). */
  readonly since?: string;
  readonly until?: string;
  readonly refused?: true;
  /** Texts of the binds that only HAProxy can resolve. */
  readonly unknown?: readonly string[];
  /** Nothing listens. */
  readonly none?: true;
}

const TIMEOUTS = '  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n';
const DEFAULTS = `defaults\n  mode tcp\n${TIMEOUTS}`;
const GLOBAL = 'global\n  nbthread 2\n';

/** A `listen` section with these lines behind the usual head. */
function lines(...text: string[]): string {
  return `${GLOBAL}${DEFAULTS}listen lb\n${text.map((line) => `  ${line}\n`).join('')}`;
}

/** The same with more lines in `global`. */
function globals(more: string[], ...text: string[]): string {
  return `${GLOBAL}${more.map((line) => `  ${line}\n`).join('')}${DEFAULTS}listen lb\n${text
    .map((line) => `  ${line}\n`)
    .join('')}`;
}

/** The same in HTTP mode. */
function http(more: string[], ...text: string[]): string {
  return globals(more, ...text).replace('mode tcp', 'mode http');
}

/** As `harden: source` leaves it: HAProxy takes it, and the same is bound. */
function hardened(text: string): string {
  const header = text.split('\n').indexOf('defaults') + 1;
  return hardenText(text, [{ section: 'defaults', file: 'a.cfg', line: header, added: 'source 0.0.0.0' }]);
}

export const CORPUS: readonly Case[] = [
  // addresses
  { name: 'IPv4 address', config: lines('bind 10.9.0.1:8001') },
  { name: 'no address', config: lines('bind :8002') },
  { name: 'star', config: lines('bind *:8003') },
  { name: '0.0.0.0', config: lines('bind 0.0.0.0:8004') },
  { name: 'ipv4@', config: lines('bind ipv4@10.9.0.1:8005', 'bind ipv4@*:8006', 'bind ipv4@:8007') },
  {
    name: 'ipv6@',
    config: lines('bind ipv6@fd00::1:8008', 'bind ipv6@:8009', 'bind ipv6@[fd00::2]:8010', 'bind ipv6@*:8011'),
  },
  { name: 'bare IPv6 address', config: lines('bind fd00::1:8012') },
  { name: 'IPv6 in brackets', config: lines('bind [fd00:0:0::0001]:8013') },
  { name: 'IPv4 in brackets', config: lines('bind [10.9.0.1]:8014') },
  { name: 'IPv6 wildcard', config: lines('bind :::8015', 'bind [::]:8016') },
  { name: 'v4v6', config: lines('bind :::8017 v4v6') },
  { name: 'v6only', config: lines('bind :::8018 v6only', 'bind 0.0.0.0:8018', 'bind fd00::1:8019 v6only') },
  { name: 'v6only wins over v4v6', config: lines('bind :::8020 v4v6 v6only', 'bind :::8021 v6only v4v6') },
  { name: 'v4-mapped IPv6', config: lines('bind [::ffff:10.9.0.1]:8022', 'bind [::ffff:a09:2]:8023') },
  { name: 'upper case IPv6', config: lines('bind [FD00::ABCD]:8024') },
  {
    name: 'tcp@, tcp4@, tcp6@',
    since: '2.6',
    config: lines('bind tcp@10.9.0.1:8025', 'bind tcp4@10.9.0.1:8026', 'bind tcp6@fd00::1:8027', 'bind tcp@:::8028'),
  },
  { name: 'stream+', since: '2.6', config: lines('bind stream+ipv4@10.9.0.1:8029', 'bind stream+ipv6@fd00::1:8030') },
  { name: 'ip@', since: '2.6', config: lines('bind ip@10.9.0.1:8031', 'bind ip@fd00::1:8032') },
  {
    name: 'mptcp',
    since: '3.2',
    config: lines('bind mptcp4@10.9.0.1:8033', 'bind mptcp6@[fd00::1]:8034', 'bind mptcp@:8035'),
  },
  // QUIC
  {
    name: 'quic4@ and quic6@',
    since: '3.2',
    config: http(
      [],
      'bind quic4@10.9.0.1:8040 ssl crt "$CERTIFICATE" alpn h3',
      'bind 10.9.0.1:8040 ssl crt "$CERTIFICATE"',
      'bind quic6@fd00::1:8041 ssl crt "$CERTIFICATE" alpn h3',
      'bind quic6@:::8042 ssl crt "$CERTIFICATE" alpn h3 v6only',
      'bind quic+ipv4@*:8043-8044 ssl crt "$CERTIFICATE" alpn h3',
    ),
  },
  {
    name: 'quic4@ in shards',
    since: '3.2',
    config: http(
      [],
      'bind quic4@10.9.0.1:8045 ssl crt "$CERTIFICATE" alpn h3 shards by-thread',
      'bind quic4@10.9.0.1:8046 ssl crt "$CERTIFICATE" alpn h3',
    ),
  },
  {
    name: 'no-quic',
    since: '3.2',
    config: http(
      ['no-quic'],
      'bind quic4@10.9.0.1:8047 ssl crt "$CERTIFICATE" alpn h3',
      'bind 10.9.0.1:8047 ssl crt "$CERTIFICATE"',
    ),
  },
  {
    name: '.if feature(QUIC)',
    since: '2.6',
    config: http(
      [],
      'bind 10.9.0.1:8048',
      '.if feature(QUIC) && version_atleast(3.2)',
      'bind quic4@10.9.0.1:8048 ssl crt "$CERTIFICATE" alpn h3',
      '.endif',
    ),
  },
  // lists and ranges
  { name: 'range', config: lines('bind 10.9.0.1:8100-8105', 'bind *:8106-8106', 'bind fd00::1:8107-8109') },
  { name: 'a port beyond 32 bits', config: lines('bind 10.9.0.1:4294975404', 'bind :8109-4294975406') },
  { name: 'list', config: lines('bind 10.9.0.1:8110,10.9.0.2:8111,:8112') },
  { name: 'list of ranges', config: lines('bind 10.9.0.1:8113-8115,10.9.0.2:8113-8115,[fd00::1]:8113-8114') },
  { name: 'comma at the end', config: lines('bind 10.9.0.1:8116,') },
  { name: 'large range', config: lines('bind 10.9.0.1:20000-20999') },
  { name: 'same bind twice', config: lines('bind 10.9.0.1:8117', 'bind 10.9.0.1:8117') },
  { name: 'wildcard and specific', config: lines('bind *:8118', 'bind 10.9.0.1:8118') },
  // unix
  { name: 'unix path', config: lines('bind unix@/run/x.sock', 'bind /run/y.sock', 'bind :8120') },
  { name: 'uxst@', since: '2.6', config: lines('bind uxst@/run/z.sock', 'bind stream+unix@/run/w.sock') },
  { name: 'unix path in shards', since: '2.6', config: lines('bind unix@/run/v.sock shards 2', 'bind :8126 shards 2') },
  { name: 'unix@ without a path', config: lines('bind unix@', 'bind :8127') },
  { name: 'uxst@ without a path', since: '2.6', config: lines('bind uxst@') },
  { name: 'unix@ without a path behind a prefix', config: globals(['unix-bind prefix /run/p'], 'bind unix@') },
  { name: 'stats socket without a path', config: globals(['stats socket unix@'], 'bind :8128') },
  { name: 'unix@ with a path that is unset', config: lines('bind unix@$UNSET,:8129') },
  { name: 'abns@ without a name', config: lines('bind abns@') },
  { name: 'abns@', config: lines('bind abns@berth-test') },
  { name: 'abnsz@', since: '3.2', config: lines('bind abnsz@berth-testz') },
  {
    name: 'unix-bind prefix',
    setup: 'mkdir -p /run/pre-',
    config: globals(
      ['unix-bind prefix /run/pre- mode 600'],
      'bind unix@x.sock',
      'bind /y.sock',
      'bind abns@not-prefixed',
    ),
  },
  {
    name: 'unix-bind prefix after the bind',
    setup: 'mkdir -p /run/late',
    config: `${lines('bind /run/early.sock')}global\n  unix-bind prefix /run/late\nlisten later\n  mode tcp\n  bind /x.sock\n`,
  },
  {
    name: 'stats socket',
    config: globals(
      [
        'unix-bind prefix /nowhere',
        'stats socket /run/admin.sock mode 600 level admin expose-fd listeners',
        'stats socket 10.9.0.1:8121 level user',
        'stats socket ipv6@:::8122',
      ],
      'bind :8123',
    ),
  },
  // options
  {
    name: 'interface',
    config: lines('bind 10.9.0.1:8130 interface lo', 'bind :8131 interface lo', 'bind :::8132 interface lo'),
  },
  {
    name: 'namespace',
    setup: 'ip netns add blue',
    config: lines('bind 10.9.0.1:8133 namespace blue', 'bind 10.9.0.1:8134'),
  },
  {
    name: 'transparent',
    setup: 'echo 0 >/proc/sys/net/ipv4/ip_nonlocal_bind',
    config: lines('bind 10.77.0.1:8135 transparent'),
  },
  {
    name: 'options that are arguments of others',
    config: lines(
      'bind :8136 name v6only id 7 maxconn 5',
      'bind :::8137 name interface backlog 9 nice 3',
      'bind :::8138 mss 1200 name transparent v6only',
    ),
  },
  {
    name: 'shards',
    since: '2.6',
    config: lines('bind 10.9.0.1:8139 shards 2', 'bind 10.9.0.1:8140 shards by-thread', 'bind 10.9.0.1:8141 shards 64'),
  },
  {
    name: 'shards on a set of threads',
    since: '2.6',
    config: `global\n  nbthread 4\n${DEFAULTS}listen a\n  bind :8142 shards by-thread thread 1-3\n  bind :8143 shards by-thread thread odd\n  bind :8144 shards 4 thread 2\n`,
  },
  {
    name: 'shards by-group',
    since: '3.0',
    config: `global\n  nbthread 4\n  thread-groups 2\n${DEFAULTS}listen a\n  bind :8145 shards by-group\n  bind :8146\n`,
  },
  {
    name: 'default-shards',
    since: '3.0',
    config: globals(['tune.listener.default-shards by-thread'], 'bind :8147', 'bind :8148 shards 1'),
  },
  {
    name: 'default-shards by-process',
    since: '3.0',
    config: `global\n  nbthread 4\n  thread-groups 2\n  tune.listener.default-shards by-process\n${DEFAULTS}listen a\n  bind :8149\n`,
  },
  { name: 'noreuseport', config: globals(['noreuseport'], 'bind 10.9.0.1:8150', 'bind fd00::1:8151') },
  {
    name: 'noreuseport and shards',
    since: '3.0',
    config: globals(['noreuseport'], 'bind 10.9.0.1:8152 shards by-thread', 'bind 10.9.0.1:8153 shards 2'),
  },
  { name: 'process', until: '2.6', config: lines('bind :8154 process 1') },
  // sections
  {
    name: 'frontend and backend',
    config: `${GLOBAL}${DEFAULTS}frontend f\n  bind :8160\n  default_backend b\nbackend b\n  server s 127.0.0.1:1\n`,
  },
  { name: 'bind in a backend', config: `${GLOBAL}${DEFAULTS}listen l\n  bind :8161\nbackend b\n  bind :8162\n` },
  { name: 'disabled proxy', config: `${lines('bind :8163')}listen off\n  bind :8164\n  disabled\n` },
  {
    name: 'disabled in defaults',
    config: `${GLOBAL}${DEFAULTS}  disabled\nlisten off\n  bind :8165\nlisten on\n  enabled\n  bind :8166\n${DEFAULTS}listen on2\n  bind :8167\n`,
  },
  { name: 'disabled, then enabled', config: lines('disabled', 'bind :8168', 'enabled') },
  {
    name: 'named defaults',
    since: '2.6',
    config: `${GLOBAL}defaults a\n  mode tcp\n${TIMEOUTS}  disabled\ndefaults b\n  mode tcp\n${TIMEOUTS}listen x from a\n  bind :8169\nlisten y\n  bind :8170\nlisten z from b\n  bind :8171\n`,
  },
  {
    name: 'defaults from defaults',
    since: '2.6',
    config: `${GLOBAL}defaults a\n  mode tcp\n${TIMEOUTS}  disabled\ndefaults b from a\nlisten x\n  bind :8172\ndefaults c from a\n  enabled\nlisten y\n  bind :8173\n`,
  },
  {
    name: 'peers bind',
    config: `${lines('bind :8174')}peers p\n  bind 10.9.0.1:8175\n  server "\${HAPROXY_LOCALPEER}"\n  server other 10.9.0.2:8175\n`,
  },
  {
    name: 'local peer',
    config: `${lines('bind :8176')}peers p\n  peer "\${HAPROXY_LOCALPEER}" 10.9.0.1:8177\n  peer other 10.9.0.2:8177\n`,
  },
  {
    name: 'localpeer',
    since: '2.6',
    config: `global\n  localpeer me\n${DEFAULTS}listen a\n  bind :8178\npeers p\n  peer me 10.9.0.1:8179\n`,
  },
  {
    name: 'localpeer behind the peers',
    since: '2.6',
    config: `${GLOBAL}${DEFAULTS}listen l\n  bind :8178\npeers p\n  peer "\${HAPROXY_LOCALPEER}" 10.9.0.1:8179\nglobal\n  localpeer me\n`,
  },
  {
    name: '-L',
    arguments: ['-L', 'flagged'],
    localPeer: 'flagged',
    config: `${lines('bind :8180')}peers p\n  peer flagged 10.9.0.1:8181\n`,
  },
  { name: 'peers without the local one', config: `${lines('bind :8182')}peers p\n  peer other 10.9.0.1:8183\n` },
  {
    name: 'peers disabled',
    config: `${lines('bind :8184')}peers p\n  disabled\n  peer "\${HAPROXY_LOCALPEER}" 10.9.0.1:8185\n`,
  },
  {
    name: 'default-bind of peers',
    config: `${lines('bind :8186')}peers p\n  default-bind v6only\n  bind :::8187\n  server "\${HAPROXY_LOCALPEER}"\n`,
  },
  {
    name: 'log-forward',
    since: '2.6',
    config: `${lines('bind :8188')}log-forward l\n  bind 10.9.0.1:8189\n  dgram-bind 10.9.0.1:8190\n  dgram-bind udp6@fd00::1:8191\n  dgram-bind :::8192\n  log 127.0.0.1:9999 local0\n`,
  },
  {
    name: 'dgram-bind list and range',
    since: '2.6',
    config: `${lines('bind :8193')}log-forward l\n  dgram-bind 10.9.0.1:8194-8196,udp@10.9.0.2:8194,udp4@:8197\n  log 127.0.0.1:9999 local0\n`,
  },
  {
    name: 'sections without binds',
    config: `${lines('bind :8198')}userlist u\n  user a insecure-password b\nresolvers r\n  timeout retry 1s\nmailers m\n  mailer a 127.0.0.1:25\ncache c\n  total-max-size 4\n`,
  },
  // words
  { name: 'quotes', config: lines(`bind "10.9.0.1":8200`, `bind '10.9.0.1:8201'`, `"bind" ':8202'`, `bind :82"03"`) },
  {
    name: 'escapes',
    config: lines(
      'bind \\x310.9.0.1:8204',
      'bind 10.9.0.1\\x3a8205',
      'bind :8206 name a\\ b',
      'bind :8207 name "a\\"b#"',
    ),
  },
  {
    name: 'comments',
    config: lines(
      'bind :8208 # bind :1',
      '# bind :2',
      'bind :8209 name a\\#b',
      'bind :8210 name "#" #',
      '#',
      'bind :8211#no',
    ),
  },
  {
    name: 'tabs and spaces',
    config: `${GLOBAL}${DEFAULTS}listen\tlb \t\n\t\tbind\t:8212\t \n   bind   :8213   name   x  \n\f bind :8214\v\n`,
  },
  { name: 'CRLF', config: lines('bind :8215', 'bind :8216 name x').replaceAll('\n', '\r\n') },
  { name: 'no line feed at the end', until: '2.2', config: lines('bind :8217').trimEnd() },
  {
    name: 'bytes above 127',
    config: lines('bind :8218 name caf\xc3\xa9', 'bind unix@/run/caf\xe9"".sock name "\xff"').replace(
      '/run/caf\xe9',
      '/run/cafe',
    ),
  },
  { name: 'scope lines', config: `[scope]\n${lines('bind :8219')}` },
  // environment
  {
    name: 'environment in weak quotes',
    environment: { A: '10.9.0.1', P: '8220' },
    config: lines('bind "${A}:${P}"', 'bind "$A:8221"', 'bind "10.9.0.1:${P}1"'.replace('${P}1', '8222')),
  },
  {
    name: 'environment without quotes',
    environment: { A: '10.9.0.1', P: '8223' },
    config: lines('bind ${A}:${P}', 'bind $A:8224', "bind '$A:8225'", 'bind :8226$UNSET'),
  },
  { name: 'default value', since: '2.6', config: lines('bind "${UNSET-10.9.0.1}:8227"', 'bind ":${UNSET-8228}"') },
  {
    name: 'word expansion',
    since: '2.6',
    environment: { OPTS: 'v6only  name x', LIST: ':8229,:8230' },
    config: lines('bind ":::8231" "${OPTS[*]}"', 'bind "${LIST}"', 'bind "${LIST[*]}"'.replace('LIST', 'ONE')).replace(
      '  bind "${ONE[*]}"\n',
      '',
    ),
  },
  {
    name: 'setenv, presetenv',
    environment: { A: '10.9.0.1' },
    config: globals(
      ['presetenv A 10.9.0.2', 'setenv B 10.9.0.3', 'presetenv C 10.9.0.4'],
      'bind "$A:8232"',
      'bind $B:8233',
      'bind ${C}:8234',
    ),
  },
  { name: 'setenv wins', environment: { A: '10.9.0.1' }, config: globals(['setenv A 10.9.0.2'], 'bind "$A:8235"') },
  {
    name: 'unsetenv, resetenv',
    environment: { A: '10.9.0.1', B: '10.9.0.2', PORT: '8236' },
    config: globals(['unsetenv A', 'resetenv PORT A'], 'bind "$A:$PORT"', 'bind "$B:8237"'),
  },
  {
    name: 'environment at its place',
    config: `global\n  setenv P 8238\n${DEFAULTS}listen a\n  bind :$P\nglobal\n  setenv P 8239\nlisten b\n  bind ":$P"\n`,
  },
  {
    name: 'environment of the end',
    environment: { A: '10.9.0.1', B: '10.9.0.2' },
    config: `${lines('bind "$A:8400"', 'bind "$B:8401"')}peers p\n  peer me 10.9.0.1:8402\nglobal\n  setenv A 10.9.0.3\n  unsetenv UNUSED\n`,
  },
  {
    name: 'environment of the end, in master-worker mode',
    since: '2.6',
    config: `${globals(['master-worker'], 'bind "$' + '{NOPE-10.9.0.1}:8403"')}global\n  setenv NOPE 10.9.0.3\n`,
  },
  {
    name: 'refused: an address of the environment of the end, in master-worker mode',
    since: '2.6',
    config: `${globals(['master-worker'], 'bind "$' + '{NOPE-10.9.0!}:8403"')}global\n  setenv NOPE 10.9.0.3\n`,
    refused: true,
  },
  {
    name: 'localpeer of the end',
    since: '3.2',
    config: `${lines('bind :8404')}peers p\n  peer me 10.9.0.1:8405\nglobal\n  localpeer me\n`,
  },
  {
    name: 'a wrong address in log-forward',
    since: '2.6',
    until: '2.6',
    config: `${lines('bind :8406')}log-forward l\n  bind 00\n  bind 10.9.0.1:8407,10.9.0.1:0\n`,
  },
  {
    name: 'no address in log-forward',
    since: '2.6',
    config: `${lines('bind :8408')}log-forward l\n  bind\n  dgram-bind "" interface lo\n  dgram-bind 10.9.0.1:8409\n`,
  },
  {
    name: 'peers bind without an address',
    config: `${lines('bind :8410')}peers p\n  bind\n  server "\${HAPROXY_LOCALPEER}"\n`,
  },
  {
    name: 'pseudo variables',
    since: '2.6',
    config: `${GLOBAL}${DEFAULTS}listen port8240\n  bind ":82\${.LINE}"\n`.replace('${.LINE}', '4$.LINE'),
  },
  {
    name: 'an unset variable alone in quotes',
    since: '3.0',
    config: lines('bind "$UNSET" :8241', 'bind "${UNSET}"   10.9.0.1:8242'),
  },
  { name: 'an unset variable in front', config: lines('bind "$UNSET:8243"', 'bind "${UNSET}":8244') },
  // conditions
  {
    name: '.if with streq',
    since: '2.6',
    environment: { ROLE: 'edge' },
    config: lines('.if streq("$ROLE",edge)', 'bind :8250', '.else', 'bind :8251', '.endif'),
  },
  {
    name: '.elif and nesting',
    since: '2.6',
    environment: { N: '2' },
    config: lines(
      '.if streq("$N",1)',
      'bind :8252',
      '.elif streq("$N",2)',
      '.if 0',
      'bind :8253',
      '.elif 1',
      'bind :8254',
      '.endif',
      '.elif 1',
      'bind :8255',
      '.else',
      'bind :8256',
      '.endif',
    ),
  },
  {
    name: 'operators',
    since: '2.6',
    environment: { X: '' },
    config: lines(
      '.if defined(X) && !defined(Y) || 0',
      'bind :8257',
      '.endif',
      '.if !(1 && (0 || defined(Y)))',
      'bind :8258',
      '.endif',
      '.if 0x10 && ! 0',
      'bind :8259',
      '.endif',
      '.if',
      'bind :8260',
      '.endif',
    ),
  },
  {
    name: 'version predicates',
    since: '2.6',
    config: lines(
      '.if version_atleast(2.4)',
      'bind :8261',
      '.endif',
      '.if version_before(2.7-dev1)',
      'bind :8262',
      '.endif',
      '.if version_atleast(3.1.0)',
      'bind :8263',
      '.endif',
      '.if version_before(x)',
      'bind :8264',
      '.endif',
      '.if version_atleast(2.6.12)',
      'bind :8265',
      '.endif',
    ),
  },
  {
    name: 'feature',
    since: '2.6',
    config: lines(
      '.if feature(OPENSSL)',
      'bind :8266',
      '.endif',
      '.if feature(NOSUCH)',
      'bind :8267',
      '.else',
      'bind :8268',
      '.endif',
    ),
  },
  {
    name: 'strstr, strneq',
    since: '3.0',
    environment: { L: 'a,b' },
    config: lines(
      '.if strstr("\'$L\'",b)',
      'bind :8269',
      '.endif',
      ".if strneq(a,b) && strneq(\"'a,b'\",'a')",
      'bind :8270',
      '.endif',
    ),
  },
  {
    name: 'an escaped NUL in a condition is a space',
    since: '2.6',
    config: lines(
      '.if streq("\\x00\'$L\'",b)',
      'bind :8310',
      '.elif \\x001 && streq(a\\x00,"\'a \'")\\x00',
      'bind :8311',
      '.endif',
      '.if\\x00x defined(NO\\x00HOME) || 1\\x00',
      'bind :8312',
      '.endif',
    ),
  },
  {
    name: 'refused: a NUL for a condition',
    since: '2.6',
    config: lines('.if \\x00', '.endif', 'bind :80'),
    refused: true,
  },
  {
    name: 'a condition around sections',
    since: '2.6',
    config: `${GLOBAL}${DEFAULTS}.if 1\nlisten a\n  bind :8271\n.else\nlisten b\n  bind :8272\n.endif\n  bind :8273\n`,
  },
  {
    name: 'enabled() is for the binary alone',
    since: '3.0',
    unknown: [':8275'],
    config: lines('bind :8274', '.if enabled(REUSEPORT)', 'bind :8275', '.endif'),
  },
  {
    name: 'a wrong condition where only the binary knows whether it is asked',
    since: '3.0',
    unknown: [':8277', ':8278'],
    config: lines('bind :8276', '.if enabled(EPOLL)', 'bind :8277', '.elif streq(a,b,c)', 'bind :8278', '.endif'),
  },
  {
    name: '.warning and .notice',
    since: '2.6',
    config: lines('.warning "look out"', '.notice hello', '.diag "deep"', 'bind :8276'),
  },
  // files
  {
    name: 'directory',
    sources: ['d'],
    files: {
      'd/10.cfg': `${GLOBAL}${DEFAULTS}`,
      'd/9.cfg': 'listen late\n  bind :8280\n',
      'd/B.cfg': 'listen b\n  bind :8281\n',
      'd/a.cfg': 'listen a\n  bind :8282\n',
      'd/.hidden.cfg': 'listen h\n  bind :8283\n',
      'd/x.conf': 'listen x\n  bind :8284\n',
      'd/x.cfg.cfg': 'listen y\n  bind :8285\n',
      'd/sub/z.cfg': 'listen z\n  bind :8286\n',
      'd/~t.cfg': 'listen t\n  bind :8287\n',
      'd/F.CFG': 'junk\n',
      'd/dir.cfg/q.cfg': 'listen q\n  bind :8288\n',
    },
  },
  {
    name: 'several files',
    sources: ['one.cfg', 'd', 'two.cfg'],
    files: {
      'one.cfg': `global\n  setenv P 8289\n${DEFAULTS}`,
      'd/m.cfg': 'listen m\n  bind :$P\n',
      'two.cfg': 'listen n\n  bind ":${P}0"\n'.replace('${P}0', '8290'),
    },
  },
  {
    name: '-C',
    chdir: 'in',
    sources: ['a.cfg'],
    files: { 'in/a.cfg': lines('bind :8291', 'bind unix@here.sock') },
    setup: 'true',
  },
  {
    name: 'default-path',
    since: '2.6',
    sources: ['in/a.cfg'],
    files: { 'in/a.cfg': globals(['default-path config'], 'bind :8292') },
  },
  {
    name: 'relative socket under default-path',
    since: '2.6',
    sources: ['in/a.cfg'],
    files: { 'in/a.cfg': globals(['default-path config', 'stats socket unix@s.sock'], 'bind unix@x.sock') },
  },
  {
    name: 'hardened',
    files: { 'a.cfg': hardened(lines('bind :8300', 'server s 10.9.0.1:80', 'server t [fd00::1]:80')) },
  },
  // left to HAProxy
  { name: 'host name', unknown: ['localhost:8294'], config: lines('bind localhost:8294', 'bind :8295') },
  // refused by both
  ...[
    ['no port', 'bind 10.9.0.1'],
    ['empty port', 'bind 10.9.0.1:'],
    ['port 0', 'bind :0'],
    ['port 65536', 'bind :65536'],
    ['range beyond 65535', 'bind :65000-65536'],
    ['port with a sign', 'bind :+80'],
    ['a list without ports', 'bind 10.9.0.1,10.9.0.2:80'],
    ['a space behind the colon', 'bind 10.9.0.1: 80'],
    ['no address at all', 'bind'],
    ['an empty address', 'bind ""'],
    ['an unset address', 'bind $UNSET'],
    ['an open quote', 'bind ":80'],
    ['an open brace', 'bind "${X:80"'],
    ['a bad variable name', 'bind "$1:80"'],
    ['a bad escape', 'bind :80 name \\xg0'],
    ['65 words', `bind :80${' x'.repeat(63)}`],
    ['an IPv6 address as IPv4', 'bind ipv4@fd00::1:80'],
    ['an IPv4 address as IPv6', 'bind ipv6@10.9.0.1:80'],
    ['a path too long', `bind /run/${'x'.repeat(100)}`],
    ['garbage for an address', 'bind 10.9.0.1!:80'],
  ].map(([name = '', line = '']): Case => ({ name: `refused: ${name}`, config: lines(line), refused: true })),
  { name: 'refused: range backwards', since: '2.6', config: lines('bind :8010-8000'), refused: true },
  { name: 'refused: letters behind the port', since: '3.0', config: lines('bind :80x'), refused: true },
  { name: 'refused: udp in a bind', since: '2.6', config: lines('bind udp@10.9.0.1:80'), refused: true },
  { name: 'refused: a bind before any section', config: '  bind :80\n', refused: true },
  { name: 'refused: .if without .endif', since: '2.6', config: lines('.if 1', 'bind :80'), refused: true },
  { name: 'refused: .else alone', since: '2.6', config: lines('.else', 'bind :80'), refused: true },
  {
    name: 'refused: .elif after .else',
    since: '2.6',
    config: lines('.if 1', '.else', '.elif 1', '.endif'),
    refused: true,
  },
  { name: 'refused: a bad condition', since: '2.6', config: lines('.if streq(a', '.endif', 'bind :80'), refused: true },
  { name: 'refused: .alert', since: '2.6', config: lines('.alert "stop here"', 'bind :80'), refused: true },
  { name: 'letters behind the port', until: '2.6', config: lines('bind 10.9.0.1:8296x', 'bind 10.9.0.1:8297-8298x') },
];
