/** The keywords behind the address of a `bind` line, as far as they change which sockets there are. */
import { untilEmpty } from './environment.js';

export interface BindOptions {
  readonly device: string | undefined;
  readonly namespace: string | undefined;
  /** `v6only` wins over `v4v6`, as in sock_inet_bind_receiver() (sock_inet.c). */
  readonly v6only: boolean;
  readonly v4v6: boolean;
  readonly transparent: boolean;
  /** `shards`: a number, `by-thread`, `by-group`. */
  readonly shards: string | undefined;
  /** `thread`: the sets, as written. */
  readonly threads: readonly string[];
  readonly exposeFdListeners: boolean;
  readonly level: 'user' | 'operator' | 'admin';
}

/** Keywords with one argument in any of HAProxy 2.2 to 3.2, so that `name transparent` is a name. */
const WITH_ARGUMENT: ReadonlySet<string> = new Set(
  `accept-netscaler-cip alpn backlog ca-file ca-ignore-err ca-sign-file ca-sign-pass ca-verify-file cc ciphers
  ciphersuites client-sigalgs crl-file crt crt-ignore-err crt-list curves default-crt ecdhe expose-fd generate-certificates-dir
  gid group guid-prefix id idle-ping interface label level maxconn mode mss name namespace nbconn nice npn ocsp-update
  process proto quic-cc-algo quic-socket severity-output shards sigalgs ssl-max-ver ssl-min-ver tcp-md5sig tcp-ut
  thread tls-ticket-keys tls-tickets uid user verify`.split(/\s+/),
);

const NONE: BindOptions = {
  device: undefined,
  namespace: undefined,
  v6only: false,
  v4v6: false,
  transparent: false,
  shards: undefined,
  threads: [],
  exposeFdListeners: false,
  level: 'operator',
};

/** @param from index of the first keyword */
export function readBindOptions(words: readonly string[], from: number): BindOptions {
  if (words.length <= from) return NONE;
  const values = new Map<string, string>();
  const threads: string[] = [];
  const list = untilEmpty(words, from);
  for (let i = 0; i < list.length; i++) {
    const keyword = list[i] ?? '';
    const argument = WITH_ARGUMENT.has(keyword) ? (list[++i] ?? '') : '';
    values.set(keyword, argument);
    if (keyword === 'thread') threads.push(argument);
  }
  const level = values.get('level');
  return {
    device: values.get('interface'),
    namespace: values.get('namespace'),
    v6only: values.has('v6only'),
    v4v6: values.has('v4v6'),
    transparent: values.has('transparent'),
    shards: values.get('shards'),
    threads,
    exposeFdListeners: values.get('expose-fd') === 'listeners',
    level: level === 'user' || level === 'admin' ? level : 'operator',
  };
}

export interface Threads {
  /** Undefined: not set, HAProxy takes the number of CPUs. */
  readonly nbthread: number | undefined;
  readonly threadGroups: number;
  readonly defaultShards: string;
  /** HAProxy 3.x shards nothing under `noreuseport`; older ones try and fail. */
  readonly sharding: boolean;
}

/** How many sockets a bind makes on each of its endpoints (bind_complete_thread_setup() in listener.c), and what is not known. */
export function countShards(options: BindOptions, threads: Threads): { sockets: number; unknown?: string } {
  const shards = options.shards ?? threads.defaultShards;
  if (!threads.sharding || shards === 'by-process') return { sockets: 1 };
  if (shards === 'by-group') return { sockets: Math.max(1, threads.threadGroups) };
  const available = countThreads(options.threads, threads.nbthread);
  if (shards === 'by-thread') {
    return available === undefined
      ? {
          sockets: 1,
          unknown: 'shards by-thread without nbthread: one socket is assumed, HAProxy makes one for each CPU',
        }
      : { sockets: available };
  }
  const wanted = parseInt(shards, 10);
  if (Number.isNaN(wanted) || wanted <= 1) return { sockets: 1 };
  return available === undefined
    ? { sockets: wanted, unknown: `shards ${wanted} without nbthread: HAProxy makes fewer where there are fewer CPUs` }
    : { sockets: Math.min(wanted, available) };
}

/** Threads that serve a bind: all, or the union of its `thread` sets. */
function countThreads(sets: readonly string[], nbthread: number | undefined): number | undefined {
  if (nbthread === undefined || sets.length === 0) return nbthread;
  const chosen = new Set<number>();
  for (const set of sets) {
    const match = /^(?:\d+\/)?(?:(all|odd|even)|(\d+)(-)?(\d+)?)$/.exec(set);
    if (match === null) return nbthread;
    const [, word, low, dash, high] = match;
    const first = low === undefined ? 1 : Number(low);
    const last = low === undefined || (dash !== undefined && high === undefined) ? nbthread : Number(high ?? low);
    for (let thread = first; thread <= Math.min(last, nbthread); thread++) {
      if (word === 'odd' ? thread % 2 === 1 : word === 'even' ? thread % 2 === 0 : true) chosen.add(thread);
    }
  }
  return Math.max(1, chosen.size);
}
