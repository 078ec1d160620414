import fc from '../support/fast-check.js';
import { expect, it } from 'vitest';
import { type Endpoint, endpointKey, formatEndpoint, parseEndpoint } from '../../src/model/endpoint.js';

const word = fc.stringMatching(/^[a-z][a-z0-9._-]{0,14}$/);
const inet: fc.Arbitrary<Endpoint> = fc
  .record(
    {
      kind: fc.constant('inet' as const),
      transport: fc.constantFrom('tcp' as const, 'udp' as const),
      place: fc.oneof(
        fc.record({ family: fc.constant(4 as const), address: fc.ipV4(), v6only: fc.constant(false) }),
        fc.record({ family: fc.constant(6 as const), address: fc.ipV6(), v6only: fc.boolean() }),
        fc.record({ family: fc.constant(6 as const), address: fc.constant('::'), v6only: fc.boolean() }),
      ),
      port: fc.integer({ min: 1, max: 65_535 }),
      transparent: fc.constant(false),
      device: word,
      namespace: word,
    },
    { requiredKeys: ['kind', 'transport', 'place', 'port', 'transparent'] },
  )
  .map(({ place, ...rest }) => ({ ...rest, ...place }));
/** Without a path there is only the abstract name that is empty. */
const unix: fc.Arbitrary<Endpoint> = fc
  .record({ kind: fc.constant('unix' as const), path: fc.string(), abstract: fc.boolean() })
  .map((endpoint) => ({ ...endpoint, abstract: endpoint.abstract || endpoint.path === '' }));

it('a name leads back to the endpoint that has it', () => {
  fc.assert(
    fc.property(fc.oneof(inet, unix), (endpoint) => {
      const again = parseEndpoint(formatEndpoint(endpoint));
      expect(again && endpointKey(again)).toBe(endpointKey(endpoint));
    }),
  );
});

it('the empty abstract name has a name', () => {
  expect(parseEndpoint('abns@')).toEqual({ kind: 'unix', path: '', abstract: true });
});

it('any other text is no name', () => {
  for (const text of ['', '10.0.0.1', '10.0.0.1:80', ':80/tcp', '[::1:80/tcp', 'unix@', 'quic@10.0.0.1:80/tcp'])
    expect(parseEndpoint(text)).toBeUndefined();
});
