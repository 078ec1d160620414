import type { InetEndpoint } from '../../src/model/endpoint.js';

/** A TCP endpoint on 127.0.0.1, or what the changes say. */
export function endpoint(port: number, changes: Partial<InetEndpoint> = {}): InetEndpoint {
  return {
    kind: 'inet',
    transport: 'tcp',
    family: changes.address?.includes(':') === true ? 6 : 4,
    address: '127.0.0.1',
    port,
    v6only: false,
    transparent: false,
    ...changes,
  };
}
