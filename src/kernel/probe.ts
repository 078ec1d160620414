/** Test binds: endpoints packed into words, one native call a namespace, results unpacked in the callers' order. */
import type { InetEndpoint } from '../model/endpoint.js';
import type { ProbeOptions, ProbeResult } from '../reload/env.js';
import { native, type NamespaceId } from './addon.js';
import { kernelError } from './errors.js';

const OUTCOMES = ['free', 'beside', 'busy', 'failed'] as const;

/** Namespaces that HAProxy's `namespace NAME` names (HAProxy src/namespace.c), each opened when first probed. */
export class Namespaces {
  readonly #open = new Map<string, Promise<[NamespaceId, number]>>();

  async enter(name: string): Promise<NamespaceId> {
    let opening = this.#open.get(name);
    if (opening === undefined) {
      opening = native().openNamespace(`/var/run/netns/${name}`);
      this.#open.set(name, opening);
      opening.catch(() => this.#open.delete(name));
    }
    return (await opening)[0];
  }

  async close(): Promise<void> {
    const opened = await Promise.allSettled(this.#open.values());
    this.#open.clear();
    for (const one of opened) if (one.status === 'fulfilled') await native().closeNamespace(one.value[0]);
  }
}

/**
 * bind(2), never listen(2), for all endpoints, each in its namespace; results in their order. A process that has no
 * descriptor left reports EMFILE for each endpoint that missed one.
 */
export async function probeAll(
  id: NamespaceId,
  named: Namespaces,
  endpoints: readonly InetEndpoint[],
  options: ProbeOptions,
): Promise<ProbeResult[]> {
  const byNamespace = new Map<string | undefined, number[]>();
  endpoints.forEach(({ namespace }, i) => {
    const indexes = byNamespace.get(namespace);
    if (indexes) indexes.push(i);
    else byNamespace.set(namespace, [i]);
  });
  if (byNamespace.size === 1 && byNamespace.has(undefined)) return probeIn(id, endpoints, options);
  const results: ProbeResult[] = [];
  for (const [name, indexes] of byNamespace) {
    const some = indexes.map((i) => endpoints[i] as InetEndpoint);
    const probed = await probeNamed(id, named, name, some, options);
    indexes.forEach((index, i) => (results[index] = probed[i] as ProbeResult));
  }
  return results;
}

async function probeNamed(
  id: NamespaceId,
  named: Namespaces,
  name: string | undefined,
  endpoints: readonly InetEndpoint[],
  options: ProbeOptions,
): Promise<ProbeResult[]> {
  if (name === undefined) return probeIn(id, endpoints, options);
  let other: NamespaceId;
  try {
    other = await named.enter(name);
  } catch (error) {
    const { code = '', syscall = '' } = error as NodeJS.ErrnoException;
    return endpoints.map((endpoint) => ({ endpoint, outcome: 'failed', failure: { errno: code, syscall } }));
  }
  return probeIn(other, endpoints, options);
}

async function probeIn(
  id: NamespaceId,
  endpoints: readonly InetEndpoint[],
  options: ProbeOptions,
): Promise<ProbeResult[]> {
  const { addresses, devices, packed } = pack(endpoints);
  const { words, syscalls } = await native()
    .probe(id, addresses, devices, packed, options.keep, options.asHAProxy ?? false)
    .catch((error: unknown) => {
      throw kernelError(error, 'probe', 'Cannot probe the listeners');
    });
  return endpoints.map((endpoint, i): ProbeResult => {
    const outcome = OUTCOMES[words[4 * i] ?? 3] ?? 'failed';
    const guard = words[4 * i + 1] ?? -1;
    if (guard >= 0) return { endpoint, outcome, guard };
    if (outcome !== 'failed') return { endpoint, outcome };
    const failure = {
      errno: native().errnoName(words[4 * i + 2] ?? 0),
      syscall: syscalls[words[4 * i + 3] ?? 0] ?? '',
    };
    return { endpoint, outcome, failure };
  });
}

function pack(endpoints: readonly InetEndpoint[]) {
  const addresses = new Interned();
  const devices = new Interned();
  const packed = new Uint32Array(endpoints.length * 3);
  endpoints.forEach((endpoint, i) => {
    packed[3 * i] = addresses.index(endpoint.address);
    packed[3 * i + 1] = endpoint.device === undefined ? 0 : devices.index(endpoint.device) + 1;
    packed[3 * i + 2] =
      endpoint.port |
      (endpoint.transport === 'udp' ? 1 << 16 : 0) |
      (endpoint.family === 6 ? 1 << 17 : 0) |
      (endpoint.v6only ? 1 << 18 : 0) |
      (endpoint.transparent ? 1 << 19 : 0);
  });
  return { addresses: addresses.texts, devices: devices.texts, packed };
}

/** Each text once, by number. */
class Interned {
  readonly texts: string[] = [];
  readonly #indexes = new Map<string, number>();

  index(text: string): number {
    let index = this.#indexes.get(text);
    if (index === undefined) {
      index = this.texts.push(text) - 1;
      this.#indexes.set(text, index);
    }
    return index;
  }
}
