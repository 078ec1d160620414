/**
 * Addresses as HAProxy writes them (str2sa_range() and str2ip2() in tools.c, 2.2 to 3.2), and the bare endpoints of
 * Berth's own command line.
 */
import { BerthError } from '../errors.js';
import type { InetEndpoint, Transport } from '../model/endpoint.js';
import { parseIP } from './ip.js';

export interface InetAddress {
  readonly kind: 'inet';
  readonly family: 4 | 6;
  /** Canonical, see {@link InetEndpoint}. */
  readonly address: string;
  /** Ports, both ends included, 1..65535. */
  readonly first: number;
  readonly last: number;
  readonly transport: Transport;
  readonly quic: boolean;
}

export type ParsedAddress =
  | InetAddress
  | { readonly kind: 'unix'; readonly path: string; readonly abstract: boolean }
  | { readonly kind: 'unknown'; readonly reason: string }
  | { readonly kind: 'error'; readonly message: string };

export interface AddressOptions {
  /** What the keyword accepts: `bind` and `stats socket` streams (QUIC among them), `dgram-bind` datagrams. */
  readonly wants: 'stream' | 'dgram';
  /** `unix-bind prefix`, where it applies. */
  readonly prefix: string;
  /** 2.2 binds nothing for `9-8`, later ones refuse it; before 3.0 `80x` is port 80. */
  readonly version: { readonly major: number; readonly minor: number };
}

interface Form {
  readonly family: 0 | 4 | 6 | 'unix' | 'abstract' | 'unknown';
  readonly transport?: Transport;
  readonly quic?: true;
  readonly reason?: string;
}

/** What stands before the `@`. */
const FORMS: Readonly<Record<string, Form>> = {
  ip: { family: 0 },
  ipv4: { family: 4 },
  ipv6: { family: 6 },
  tcp: { family: 0, transport: 'tcp' },
  tcp4: { family: 4, transport: 'tcp' },
  tcp6: { family: 6, transport: 'tcp' },
  mptcp: { family: 0, transport: 'tcp' },
  mptcp4: { family: 4, transport: 'tcp' },
  mptcp6: { family: 6, transport: 'tcp' },
  udp: { family: 0, transport: 'udp' },
  udp4: { family: 4, transport: 'udp' },
  udp6: { family: 6, transport: 'udp' },
  quic4: { family: 4, transport: 'udp', quic: true },
  quic6: { family: 6, transport: 'udp', quic: true },
  unix: { family: 'unix' },
  uxst: { family: 'unix', transport: 'tcp' },
  uxdg: { family: 'unix', transport: 'udp' },
  abns: { family: 'abstract' },
  abnsz: { family: 'abstract' },
  fd: { family: 'unknown', reason: 'an inherited descriptor: only the HAProxy that inherits it knows its address' },
  sockpair: { family: 'unknown', reason: 'one end of a socket pair: it listens on no address' },
  rhttp: { family: 'unknown', reason: 'reverse HTTP: HAProxy connects to a server and listens on no address' },
  rev: { family: 'unknown', reason: 'reverse HTTP: HAProxy connects to a server and listens on no address' },
};

const SUN_PATH = 108;
/** HAProxy keeps room for `.PID.bak` behind a path. */
const PATH_SUFFIX = 1 + 5 + 1 + 3;

/** One address of a `bind` line (no comma, variables already expanded). */
export function parseAddress(text: string, options: AddressOptions): ParsedAddress {
  if (text === '') return { kind: 'error', message: 'the address is empty (is a variable not set?)' };
  let transport: Transport = options.wants === 'dgram' ? 'udp' : 'tcp';
  let quic = false;
  let rest = text;
  const outer = /^(stream|dgram|quic)\+/.exec(rest);
  if (outer !== null) {
    rest = rest.slice(outer[0].length);
    transport = outer[1] === 'stream' ? 'tcp' : 'udp';
    quic = outer[1] === 'quic';
  }
  let form: Form = { family: rest.startsWith('/') ? 'unix' : 0 };
  const at = rest.indexOf('@');
  const named = at > 0 ? FORMS[rest.slice(0, at)] : undefined;
  if (named !== undefined) {
    form = named;
    rest = rest.slice(at + 1);
    transport = form.transport ?? transport;
    quic ||= form.quic === true;
  }
  if (form.family === 'unknown') return { kind: 'unknown', reason: form.reason ?? '' };
  if ((transport === 'udp' && !quic) !== (options.wants === 'dgram')) {
    const what = transport === 'tcp' || quic ? 'stream' : 'datagram';
    return { kind: 'error', message: `${what} addresses are not accepted here: '${text}'` };
  }
  if (form.family === 'unix' || form.family === 'abstract') {
    return unixAddress(rest, form.family === 'abstract', options.prefix);
  }
  return inetAddress(rest, form.family, transport, quic, options.version);
}

function unixAddress(path: string, abstract: boolean, prefix: string): ParsedAddress {
  const room = SUN_PATH - 1 - (abstract ? 0 : Buffer.byteLength(prefix) + PATH_SUFFIX);
  if (Buffer.byteLength(path) > room) {
    return { kind: 'error', message: `the socket path '${path}' is longer than ${room} bytes` };
  }
  const full = abstract ? path : prefix + path;
  // To the kernel a name that begins with a NUL is an abstract one: `unix@` binds what `abns@` binds, NULs to the end.
  return { kind: 'unix', path: full, abstract: abstract || full === '' };
}

function inetAddress(
  text: string,
  family: 0 | 4 | 6,
  transport: Transport,
  quic: boolean,
  version: AddressOptions['version'],
): ParsedAddress {
  // the last colon, unless a closing bracket stands behind it
  const colon = text.lastIndexOf(':');
  if (colon < 0 || text.lastIndexOf(']') > colon) return { kind: 'error', message: `no port in '${text}'` };
  const ports = parsePorts(text.slice(colon + 1), version);
  if (typeof ports === 'string') return { kind: 'error', message: `${ports} in '${text}'` };
  const host = text.slice(0, colon);
  const ip = parseIP(host, family);
  if (ip !== undefined) {
    const { first, last } = ports;
    return { kind: 'inet', family: ip.family, address: ip.address, first, last, transport, quic };
  }
  if (parseIP(host, 0) !== undefined) {
    return { kind: 'error', message: `'${host}' is not an address of IPv${family} in '${text}'` };
  }
  if (!/^[\w.@-]+$/.test(host)) return { kind: 'error', message: `invalid address '${host}' in '${text}'` };
  return { kind: 'unknown', reason: `host name '${host}': only the resolver of HAProxy's host knows its address` };
}

/** `80` or `8000-8010`; a message where HAProxy refuses it. Before 3.0 a number ends where atoi(3) ends it. */
function parsePorts(
  text: string,
  { major, minor }: AddressOptions['version'],
): { first: number; last: number } | string {
  if (text === '') return 'no port';
  const number = major >= 3 ? /^\d+$/ : /^\d/;
  const portOf = (word: string): number | undefined => {
    const port = number.test(word) ? asInt(word) : 0;
    return port < 1 || port > 65535 ? undefined : port;
  };
  const dash = text.indexOf('-');
  const [low, high] = dash < 0 ? [text] : [text.slice(0, dash), text.slice(dash + 1)];
  const first = portOf(low);
  if (first === undefined) return `invalid port '${low === '' ? text : low}'`;
  if (high === undefined) return { first, last: first };
  const last = portOf(high);
  if (last === undefined) return `invalid port '${high}'`;
  return first <= last || (major === 2 && minor < 3) ? { first, last } : `invalid port range '${first}-${last}'`;
}

/** As HAProxy's own conversions leave it: strtol(3), which ends at what is no digit and stops at its limit, cut to an int. */
function asInt(word: string): number {
  const digits = /^\d+/.exec(word)?.[0] ?? '';
  if (digits.length < 10) return Number(digits);
  const value = BigInt(digits.slice(0, 400));
  return Number(BigInt.asIntN(32, value > LONG_MAX ? LONG_MAX : value));
}

const LONG_MAX = 2n ** 63n - 1n;

/**
 * `tcp:169.254.0.101:58824`, `udp:[::1]:53`, `tcp:10.0.0.1:8000-8010`, `tcp:*:80`: one endpoint a port, in order.
 * Throws BERTH_USAGE.
 */
export function parseBareEndpoint(text: string): InetEndpoint[] {
  const match = /^(tcp|udp):(.*)$/.exec(text);
  const parsed =
    match === null || /\d{6}/.test(text) // a number that wraps is HAProxy's to take
      ? undefined
      : inetAddress(match[2] ?? '', 0, match[1] === 'udp' ? 'udp' : 'tcp', false, { major: 3, minor: 0 });
  if (parsed?.kind !== 'inet') {
    const why =
      parsed === undefined
        ? ''
        : `: ${parsed.kind === 'error' ? parsed.message.slice(0, 200) : 'it needs an address, not a name'}`;
    throw new BerthError('BERTH_USAGE', `'${text.slice(0, 200)}' is no endpoint${why}`, {
      step: 'read',
      advice:
        'Write it as tcp:ADDRESS:PORT or udp:ADDRESS:PORT, with [ ] around an IPv6 address, FIRST-LAST for a range',
    });
  }
  const { family, address, first, last, transport } = parsed;
  return Array.from({ length: last - first + 1 }, (_unused, i) => {
    return { kind: 'inet', transport, family, address, port: first + i, v6only: false, transparent: false };
  });
}
