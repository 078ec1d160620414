/** Short words for endpoints, binds and sockets in unit tests. */
import type { Bind } from '../../src/model/bind.js';
import type { Endpoint, InetEndpoint } from '../../src/model/endpoint.js';
import type { SocketOwner, SocketRow } from '../../src/model/socket.js';

/** `10.0.0.1:80`, `[::1]:80`, `10.0.0.1%eth0:80`, with `/udp` for UDP. */
export function inet(text: string, more: Partial<InetEndpoint> = {}): InetEndpoint {
  const match = /^(?:\[([^\]]+)\]|([^:%[]+))(?:%([^:]+))?:(\d+)(\/udp)?$/.exec(text);
  if (match === null) throw new Error(`not an endpoint: ${text}`);
  const [, v6, v4, device, port, udp] = match;
  return {
    kind: 'inet',
    transport: udp === undefined ? 'tcp' : 'udp',
    family: v6 === undefined ? 4 : 6,
    address: v6 ?? v4 ?? '',
    port: Number(port),
    v6only: false,
    transparent: false,
    ...(device === undefined ? {} : { device }),
    ...more,
  };
}

export const unix = (path: string, abstract = false): Endpoint => ({ kind: 'unix', path, abstract });

let line = 0;

export function bind(at: string | Endpoint, more: Partial<Bind> = {}): Bind {
  const endpoint = typeof at === 'string' ? inet(at) : at;
  line++;
  return {
    endpoint,
    origin: endpoint.kind === 'inet' && endpoint.transport === 'udp' ? 'dgram-bind' : 'bind',
    section: `listen l${line}`,
    place: { file: 'haproxy.cfg', line },
    text: typeof at === 'string' ? at : 'unix',
    sockets: 1,
    reusePort: true,
    ...more,
  };
}

/** A row of the socket table: `row('LISTEN', '10.0.0.1:80')`, `row('ESTABLISHED', '10.0.0.1:80', '10.0.0.9:443')`. */
export function row(
  state: SocketRow['state'],
  local: string,
  remote?: string,
  more: Partial<SocketRow> = {},
): SocketRow {
  const from = inet(local);
  const to = remote === undefined ? undefined : inet(remote);
  return {
    transport: from.transport,
    family: from.family,
    state,
    localAddress: from.address,
    localPort: from.port,
    remoteAddress: to?.address ?? (from.family === 4 ? '0.0.0.0' : '::'),
    remotePort: to?.port ?? 0,
    inode: 1000,
    uid: 0,
    ...(from.device === undefined ? {} : { device: from.device }),
    ...more,
  };
}

export function owner(pid: number, comm = 'haproxy', more: Partial<SocketOwner> = {}): SocketOwner {
  return { pid, fd: 7, comm, startTicks: String(pid * 100), ...more };
}
