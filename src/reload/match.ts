/** What of the configuration the running HAProxy serves already: the binds to keep, to open, and the sockets to close. */
import type { Bind, Listeners } from '../model/bind.js';
import { endpointKey, unixPathOf, v4Mapped, type Endpoint } from '../model/endpoint.js';
import type { KeptBind, ServedSocket } from '../model/plan.js';
import type { HAProxyBuild } from './env.js';

export interface Match {
  readonly keep: readonly KeptBind[];
  /** To be probed and secured (unix sockets need neither). */
  readonly open: readonly Bind[];
  readonly close: readonly ServedSocket[];
}

export interface MatchInput {
  readonly listeners: Pick<Listeners, 'binds' | 'global'>;
  readonly served: readonly ServedSocket[];
  readonly build: Pick<HAProxyBuild, 'major' | 'minor'>;
  readonly mode: 'standalone' | 'master-worker';
}

/**
 * Bind by bind, in the order of the configuration. Each takes as many served sockets of its place as it has shards, so of two
 * equal binds the second is kept only where the old process has two sockets there. Served sockets without a bind are closed.
 */
export function match({ listeners, served, build, mode }: MatchInput): Match {
  const left = new Map<string, ServedSocket[]>();
  for (const socket of served) {
    const key = endpointKey(servedPlace(socket.endpoint));
    const beside = left.get(key);
    if (beside === undefined) left.set(key, [socket]);
    else beside.push(socket);
  }
  const keep: KeptBind[] = [];
  const open: Bind[] = [];
  for (const bind of listeners.binds) {
    const taken = left.get(endpointKey(bind.endpoint))?.splice(0, bind.sockets) ?? [];
    if (taken.length === 0) {
      open.push(bind);
      continue;
    }
    const why = whyNotHandedOver(bind, taken, listeners, build, mode);
    keep.push({ bind, served: taken, handedOver: why === undefined, ...(why === undefined ? {} : { why }) });
  }
  return { keep, open, close: [...left.values()].flat() };
}

function servedPlace(endpoint: Endpoint): Endpoint {
  return endpoint.kind === 'unix' ? { ...endpoint, path: unixPathOf(endpoint.path) } : endpoint;
}

/**
 * HAProxy compares a handed socket with the bind by address, family, v6only, transparency, interface and namespace (src/sock.c
 * sock_find_compatible_fd). Place, interface and namespace agree here; what remains makes it bind anew.
 */
function whyNotHandedOver(
  bind: Bind,
  taken: readonly ServedSocket[],
  { global }: Pick<Listeners, 'global'>,
  build: Pick<HAProxyBuild, 'major' | 'minor'>,
  mode: 'standalone' | 'master-worker',
): string | undefined {
  const { endpoint } = bind;
  const is22 = build.major === 2 && build.minor <= 2;
  if (mode === 'master-worker' && is22 && !global.statsSockets.some(({ exposeFdListeners }) => exposeFdListeners)) {
    return 'a master of HAProxy 2.2 hands sockets over only through a stats socket with expose-fd listeners';
  }
  if (endpoint.kind === 'unix') return undefined;
  // A master's worker gets its sockets from the worker before, with the words of its binds.
  const never = is22 && mode === 'master-worker' ? undefined : whyNeverTaken(bind, build);
  if (never !== undefined) return never;
  const handed = taken.every(({ endpoint: old }) => old.kind === 'inet' && old.transparent === endpoint.transparent);
  return handed ? undefined : '`transparent` is new or gone, or the kernel does not tell it of the old socket';
}

/**
 * Why HAProxy takes no socket that Berth hands it for this bind, old or guard; undefined where it does. 2.2 compares the words
 * of the old bind, which go with each socket (LI_MANDATORY_FLAGS, src/proto_tcp.c), and of those Berth sends none; later ones
 * ask the socket itself.
 */
export function whyNeverTaken(
  { endpoint, v4v6, v6onlyFits }: Pick<Bind, 'endpoint' | 'v4v6' | 'v6onlyFits'>,
  { major, minor }: Pick<HAProxyBuild, 'major' | 'minor'>,
): string | undefined {
  if (endpoint.kind === 'unix') return undefined;
  if (major === 2 && minor <= 2) {
    const word = endpoint.transparent ? 'transparent' : endpoint.v6only ? 'v6only' : v4v6 ? 'v4v6' : undefined;
    return word && `HAProxy 2.2 takes over no socket of a bind with \`${word}\``;
  }
  if (endpoint.family === 4 || v6onlyFits) return undefined;
  const specific = endpoint.address !== '::' && v4Mapped(endpoint.address) === undefined;
  return specific && !endpoint.v6only
    ? 'the kernel sets IPV6_V6ONLY on a specific IPv6 address, which HAProxy takes for a change; `v6only` on the bind ends that'
    : undefined;
}
