/**
 * Truth is in the kernel: a reload's exit status, `Success=1` and a clean `show proc` have each been seen to lie
 * (HAProxy 2.2 to 3.5-dev: a conflict that ends while HAProxy retries leaves exit 0 and every inherited listener out of
 * LISTEN). So every endpoint is looked up in the kernel's tables, with its inode and its owner.
 */
import type { Bind } from '../model/bind.js';
import type { Endpoint } from '../model/endpoint.js';
import { endpointKey, formatEndpoint, isWildcard } from '../model/endpoint.js';
import type { ServedSocket } from '../model/plan.js';
import type { Kernel, ProcessInfo } from './env.js';
import { namespacesOf, socketsServedBy } from './survey.js';

export interface Expectation {
  readonly bind: Bind;
  /** Inodes that were handed over for this bind; empty where HAProxy binds by itself. */
  readonly inodes: readonly number[];
}

export interface Verification {
  /**
   * Nothing is missing. A listener that HAProxy bound by itself, or one more than was read, is served all the same: going
   * back would harm more than it cures, so these are told as warnings.
   */
  readonly ok: boolean;
  readonly served: number;
  /** Not served by the process. */
  readonly missing: readonly Bind[];
  /** Served, but through another socket than the one handed over. */
  readonly replaced: readonly Bind[];
  /**
   * Listeners of the process that nobody asked for. Of UDP those on an address, since HAProxy sends its log from wildcards,
   * and those beside the listener of a bind. The master of HAProxy 2.3 to 3.0 never closes the UDP socket of a `dgram-bind`
   * that goes (fork leaves it to each worker, and none reads it): where the listener comes back, half of the datagrams go there.
   */
  readonly extra: readonly ServedSocket[];
}

/**
 * Hold what the process serves against what was planned.
 * @param lenient do not count extra listeners: binds that only HAProxy can resolve may add some.
 */
export async function verify(
  kernel: Kernel,
  process: ProcessInfo,
  expected: readonly Expectation[],
  lenient: boolean,
): Promise<Verification> {
  const served = groupByPlace(
    await socketsServedBy(kernel, process, namespacesOf(expected.map(({ bind }) => bind.endpoint))),
  );
  const missing: Bind[] = [];
  const replaced: Bind[] = [];
  const wanted = new Map<string, number>();
  for (const { bind, inodes } of expected) {
    const key = endpointKey(bind.endpoint);
    wanted.set(key, (wanted.get(key) ?? 0) + bind.sockets);
    const found = served.get(key);
    if (!found) missing.push(bind);
    else if (inodes.length > 0 && !found.some(({ inode }) => inodes.includes(inode))) replaced.push(bind);
  }
  const extra = lenient ? [] : [...served].flatMap(([key, sockets]) => unasked(sockets, wanted.get(key) ?? 0));
  return {
    ok: missing.length === 0,
    served: expected.length - missing.length,
    missing,
    replaced,
    extra,
  };
}

const DEAF =
  'nobody reads such a UDP socket, and what is sent to it is lost: a master of HAProxy before 3.1 keeps it until the master ends';

/** What is wrong, for a message: at most `limit` listeners by name. */
export function describeVerification(verification: Verification, limit = 5): string {
  const list = (word: string, names: readonly string[]) => {
    if (names.length === 0) return [];
    const more = names.length > limit ? ` and ${names.length - limit} more` : '';
    return [`${names.length} ${word}: ${names.slice(0, limit).join(', ')}${more}`];
  };
  const name = ({ endpoint }: { readonly endpoint: Endpoint }) => formatEndpoint(endpoint);
  const deaf = verification.extra.some(({ endpoint }) => endpoint.kind === 'inet' && endpoint.transport === 'udp');
  return [
    ...list('not served', verification.missing.map(name)),
    ...list('not on the socket that was handed over', verification.replaced.map(name)),
    ...list('that nobody asked for', verification.extra.map(name)),
    ...(deaf ? [DEAF] : []),
  ].join('; ');
}

function groupByPlace(sockets: readonly ServedSocket[]): Map<string, ServedSocket[]> {
  const groups = new Map<string, ServedSocket[]>();
  for (const socket of sockets) {
    const key = endpointKey(socket.endpoint);
    const group = groups.get(key);
    if (group) group.push(socket);
    else groups.set(key, [socket]);
  }
  return groups;
}

/** @param sockets of one place; @param wanted how many the configuration has there */
function unasked(sockets: readonly ServedSocket[], wanted: number): readonly ServedSocket[] {
  return sockets.slice(wanted).filter(({ endpoint }) => {
    if (endpoint.kind === 'unix') return false;
    return endpoint.transport === 'tcp' ? wanted === 0 : wanted > 0 || !isWildcard(endpoint);
  });
}
