/**
 * Where a listener stands: protocol, address, port and what else the kernel compares when it decides whether two
 * sockets can be bound side by side. Pure values; addresses are canonical text (`169.254.0.101`, `fd00::1`, `0.0.0.0`, `::`).
 */

export type Transport = 'tcp' | 'udp';

export interface InetEndpoint {
  readonly kind: 'inet';
  readonly transport: Transport;
  readonly family: 4 | 6;
  /** Canonical: dotted quad, or RFC 5952 for IPv6. Wildcards are `0.0.0.0` and `::`. */
  readonly address: string;
  /** 1..65535 */
  readonly port: number;
  /** Network device (`interface eth0`, SO_BINDTODEVICE). */
  readonly device?: string;
  /** HAProxy's `namespace NAME`: a network namespace under /run/netns other than HAProxy's own. */
  readonly namespace?: string;
  /** IPV6_V6ONLY as HAProxy sets it on this socket. Always false for IPv4; `:::80` is false (dual stack), `… v6only` true. */
  readonly v6only: boolean;
  /** IP_TRANSPARENT: the address need not be on this host. */
  readonly transparent: boolean;
}

export interface UnixEndpoint {
  readonly kind: 'unix';
  /** File system path, or the name without its leading NUL where `abstract`. */
  readonly path: string;
  readonly abstract: boolean;
}

export type Endpoint = InetEndpoint | UnixEndpoint;

/**
 * Identity of the place: equal for two endpoints exactly where {@link same} holds. IPV6_V6ONLY counts for `::` only: bind(2)
 * sets it by itself on every specific IPv6 address (inet6_bind), so a configuration says false where the kernel shows true.
 * IP_TRANSPARENT does not count: it says how the place may be taken, not which place it is.
 */
export function endpointKey(endpoint: Endpoint): string {
  if (endpoint.kind === 'unix') return `unix:${unixName(endpoint)}`;
  const { transport, address, port, device, namespace } = endpoint;
  const place = `${transport}:[${address}]:${port}`;
  const v6only = isV6onlyWildcard(endpoint);
  if (!v6only && device === undefined && namespace === undefined) return place;
  return `${place}|${v6only ? 'v6only' : ''}|${device ?? ''}|${namespace ?? ''}`;
}

/** The same place: what a reload keeps. */
export function same(a: Endpoint, b: Endpoint): boolean {
  return endpointKey(a) === endpointKey(b);
}

/** As humans read it: `169.254.0.101:58824/tcp`, `[::1]:80/tcp`, `10.0.0.1%eth0:53/udp`, `unix@/run/x.sock`, `abns@name`. */
export function formatEndpoint(endpoint: Endpoint): string {
  if (endpoint.kind === 'unix') return unixName(endpoint);
  const { transport, port, device, namespace } = endpoint;
  return (
    `${hostText(endpoint)}${device === undefined ? '' : `%${device}`}:${port}/${transport}` +
    (isV6onlyWildcard(endpoint) ? ' v6only' : '') +
    (namespace === undefined ? '' : ` in namespace ${namespace}`)
  );
}

/**
 * The endpoint that {@link formatEndpoint} gave this name to; `transparent` stands in no name and is false. undefined for any
 * other text.
 */
export function parseEndpoint(name: string): Endpoint | undefined {
  const unix = /^(?:unix@(.+)|abns@(.*))$/s.exec(name);
  if (unix) return { kind: 'unix', path: unix[1] ?? unix[2] ?? '', abstract: unix[1] === undefined };
  const inet = /^(?:\[([^\]]+)\]|([\d.]+))(?:%(.+))?:(\d{1,5})\/(tcp|udp)( v6only)?(?: in namespace (.+))?$/.exec(name);
  if (!inet) return undefined;
  const [, v6, v4, device, port, transport, v6only, namespace] = inet;
  return {
    kind: 'inet',
    transport: transport === 'udp' ? 'udp' : 'tcp',
    family: v6 === undefined ? 4 : 6,
    address: v6 ?? v4 ?? '',
    port: Number(port),
    v6only: v6only !== undefined,
    transparent: false,
    ...(device === undefined ? {} : { device }),
    ...(namespace === undefined ? {} : { namespace }),
  };
}

/** `169.254.0.101:58824`, `[fd00::1]:80`: address and port of either family. */
export function formatAddress(family: 4 | 6, address: string, port: number): string {
  return `${hostText({ family, address })}:${port}`;
}

function hostText({ family, address }: { readonly family: 4 | 6; readonly address: string }): string {
  return family === 6 ? `[${address}]` : address;
}

/**
 * The name that a unix socket was bound for, from the name that the kernel shows: HAProxy binds `PATH.PID.tmp` and renames it
 * (src/proto_uxst.c), and pads abstract names with NULs.
 */
export function unixPathOf(kernelName: string): string {
  return kernelName.replace(/\0+$/, '').replace(/(?<=.)\.\d+\.tmp$/, '');
}

function unixName({ abstract, path }: UnixEndpoint): string {
  return `${abstract ? 'abns' : 'unix'}@${path}`;
}

function isV6onlyWildcard({ family, address, v6only }: InetEndpoint): boolean {
  return family === 6 && v6only && address === '::';
}

/** Any address of this family: `0.0.0.0`, `::`, `::ffff:0.0.0.0`. */
export function isWildcard(endpoint: InetEndpoint): boolean {
  return [coveredV4(endpoint), coveredV6(endpoint)].includes(ANY);
}

export const ANY = '*';

/** What it takes of IPv4: an address, {@link ANY} of them, or nothing. A v4-mapped IPv6 address is IPv4; dual-stack `::` takes all. */
export function coveredV4({ family, address, v6only }: InetEndpoint): string | undefined {
  if (family === 6 && address === '::') return v6only ? undefined : ANY;
  const dotted = family === 4 ? address : v4Mapped(address);
  return dotted === '0.0.0.0' ? ANY : dotted;
}

/** What it takes of IPv6: an address, {@link ANY} of them, or nothing. */
export function coveredV6({ family, address }: InetEndpoint): string | undefined {
  if (family === 4 || v4Mapped(address) !== undefined) return undefined;
  return address === '::' ? ANY : address;
}

/** `10.0.0.1` of `::ffff:10.0.0.1` or `::ffff:a00:1`; undefined for other IPv6 addresses. */
export function v4Mapped(address: string): string | undefined {
  const rest = address.toLowerCase().startsWith('::ffff:') ? address.slice('::ffff:'.length) : '';
  if (rest.includes('.')) return rest;
  const words = /^([0-9a-f]{1,4}):([0-9a-f]{1,4})$/i.exec(rest);
  if (words === null) return undefined;
  const bytes = [words[1], words[2]].map((word) => parseInt(word ?? '0', 16)).flatMap((w) => [w >> 8, w & 255]);
  return bytes.join('.');
}

/**
 * Do two sockets stand in each other's way: same transport, port and namespace, devices that are equal or one of them
 * none, and addresses that meet (kernel net/ipv4/inet_connection_sock.c, ipv6_rcv_saddr_equal). Whether the second is
 * then refused is a matter of SO_REUSEADDR, SO_REUSEPORT and the states of both; only bind(2) tells.
 */
export function overlap(a: Endpoint, b: Endpoint): boolean {
  if (a.kind === 'unix' || b.kind === 'unix') return same(a, b);
  if (a.port !== b.port || a.transport !== b.transport || a.namespace !== b.namespace) return false;
  if (a.device !== undefined && b.device !== undefined && a.device !== b.device) return false;
  return meet(coveredV4(a), coveredV4(b)) || meet(coveredV6(a), coveredV6(b));
}

function meet(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  return a === b || a === ANY || b === ANY;
}
