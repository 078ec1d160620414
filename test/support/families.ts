/** What a listener can be bound to: addresses of both families, both at once, datagrams, QUIC, a path. */
import { spawnSync } from 'node:child_process';
import { configuration, type HAProxyBinary } from './haproxy.js';
import { HOST, PEER, SERVER } from './incident.js';

export const HOST6 = 'fd00:be::101';
export const PEER6 = 'fd00:be::100';
export const COLLECTOR = 5140;

/** `kept` and `removed` serve from the start, `added` comes with the reload. */
export type Role = 'kept' | 'removed' | 'added';
const ROLES: readonly Role[] = ['kept', 'removed', 'added'];

export interface Family {
  /** A column of the table in docs/guarantees.md. */
  readonly name: string;
  readonly transport: 'tcp' | 'udp' | 'unix';
  /** Where clients come to; HAProxy goes on to the backend over the same family. */
  readonly host: string;
  bind(port: number): string;
  /** For the workers of load.ts; datagrams have their kind in front. */
  targets(port: number): readonly string[];
}

const tcp = (name: string, host: string, bind: Family['bind']): Family => ({
  ...{ name, transport: 'tcp', host, bind },
  targets: (port) => [inet(host, port)],
});

const udp = (name: string, host: string, kind: 'log' | 'quic', bind: Family['bind']): Family => ({
  ...{ name, transport: 'udp', host, bind },
  targets: (port) => [`${kind} ${inet(host, port)}`],
});

const inet = (host: string, port: number): string => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);

const QUIC = 'ssl crt CERTIFICATE alpn h3';

export const FAMILIES: readonly Family[] = [
  tcp('IPv4', HOST, (port) => `${HOST}:${port}`),
  tcp('IPv6', HOST6, (port) => `[${HOST6}]:${port}`),
  tcp('IPv6 `v6only`', HOST6, (port) => `[${HOST6}]:${port} v6only`),
  tcp('`::` `v6only`', HOST6, (port) => `:::${port} v6only`),
  {
    ...tcp('`::` `v4v6`', HOST, (port) => `:::${port} v4v6`),
    targets: (port) => [inet(HOST, port), inet(HOST6, port)],
  },
  udp('UDP', HOST, 'log', (port) => inet(HOST, port)),
  udp('QUIC', HOST, 'quic', (port) => `quic4@${inet(HOST, port)} ${QUIC}`),
  udp('QUIC IPv6', HOST6, 'quic', (port) => `quic6@${inet(HOST6, port)} ${QUIC}`),
  {
    ...{ name: 'unix', transport: 'unix', host: HOST },
    bind: (port) => `unix@DIRECTORY/${port}.sock`,
    targets: (port) => [`unix:DIRECTORY/${port}.sock`],
  },
];

/** Each listener has a port of its own: by it the kernel's tables and HAProxy's calls tell which one they mean. */
export function portOf(family: Family, role: Role): number {
  const number = 10 * FAMILIES.indexOf(family) + ROLES.indexOf(role);
  // TCP's new ones where the kernel takes ports for connections.
  return (role === 'added' && family.transport === 'tcp' ? 45_000 : 20_000) + number;
}

export interface Place {
  readonly directory: string;
  readonly certificate: string;
}

/** Lines of the section of one listener. */
function section(family: Family, role: Role, { directory, certificate }: Place): readonly string[] {
  const port = portOf(family, role);
  const bind = family.bind(port).replace('CERTIFICATE', certificate).replace('DIRECTORY', directory);
  if (bind.startsWith('quic')) {
    return [`frontend l${port}`, 'mode http', `bind ${bind}`, 'http-request return status 200'];
  }
  if (family.transport === 'udp') {
    return [`log-forward l${port}`, `dgram-bind ${bind}`, `log ${PEER}:${COLLECTOR} local0`];
  }
  return [`listen l${port}`, `bind ${bind}`, `server s ${inet(family.host === HOST6 ? PEER6 : PEER, SERVER)}`];
}

export interface Setup {
  readonly threads: number;
  readonly binary: HAProxyBinary;
}

/** A configuration with these listeners of these families. */
export function listening(
  families: readonly Family[],
  roles: readonly Role[],
  place: Place,
  { threads, binary }: Setup,
): string {
  const compat = buildOf(binary.path).features.includes('+QUIC_OPENSSL_COMPAT') ? ['limited-quic'] : [];
  return configuration([], {
    // As lbagent has it; a master of HAProxy 2.2 hands sockets over through it alone.
    global: [
      `nbthread ${threads}`,
      `stats socket ${place.directory}/stats.sock level admin expose-fd listeners`,
      ...compat,
    ],
    sections: families.flatMap((family) => roles.map((role) => section(family, role, place))),
  });
}

/** What `haproxy -vv` tells: the whole version, and the feature list with its signs. */
export function buildOf(path: string): { readonly version: string; readonly features: readonly string[] } {
  const { stdout } = spawnSync(path, ['-vv'], { encoding: 'utf8' });
  return {
    version: /version (\S+)/.exec(stdout)?.[1] ?? '',
    features: (/^Feature list : (.*)$/m.exec(stdout)?.[1] ?? '').split(' '),
  };
}

/** Why this HAProxy refuses such a listener, in its own words; undefined where it takes it. */
export function refusal(path: string, configurationFile: string): string | undefined {
  const { status, stderr } = spawnSync(path, ['-c', '-f', configurationFile], { encoding: 'utf8' });
  if (status === 0) return undefined;
  return /\[ALERT\].*?\d+\]\s*:\s*'?(.*)/.exec(stderr)?.[1] ?? stderr;
}
