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
