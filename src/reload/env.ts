/**
 * What a reload needs of the kernel and of HAProxy, declared by the one who uses it: `kernel/` and `haproxy/` fit these
 * shapes for real, a test hands in its own and stages any failure without root.
 */
import type { InetEndpoint, UnixEndpoint } from '../model/endpoint.js';
import type { PortSet } from '../model/ports.js';
import type { SocketOwner, SocketRow } from '../model/socket.js';

/** A descriptor of this process, as an integer. Whoever holds it closes it (`Kernel.close`). All are O_CLOEXEC. */
export type Descriptor = number;

export interface Failure {
  /** errno's name, `EADDRINUSE`. */
  readonly errno: string;
  readonly syscall: string;
}

/** Outcome of one test bind (bind(2), never listen(2)). */
export interface ProbeResult {
  readonly endpoint: InetEndpoint;
  /**
   * `free`: the strict bind succeeded; `beside`: only HAProxy's own options (SO_REUSEADDR+SO_REUSEPORT) bind;
   * `busy`: EADDRINUSE either way; `failed`: anything else, see `failure`.
   */
  readonly outcome: 'free' | 'beside' | 'busy' | 'failed';
  /** For `free` and `beside` where guards were asked for: bound, SO_REUSEADDR and SO_REUSEPORT set, not listening. */
  readonly guard?: Descriptor;
  readonly failure?: Failure;
}

export interface ProbeOptions {
  /** Keep the sockets of the successful binds and return them as guards; else all are closed at once. */
  readonly keep: boolean;
  /** Skip the strict bind: bind as HAProxy does (after a port was shared). TCP only. */
  readonly asHAProxy?: boolean;
}

/** Everything of one network namespace. All calls run off the event loop on the namespace's own thread. */
export interface Kernel {
  probe(endpoints: readonly InetEndpoint[], options: ProbeOptions): Promise<ProbeResult[]>;

  /**
   * LISTEN and bound-inactive TCP sockets and unconnected UDP sockets, IPv4 and IPv6; also of these namespaces under
   * /run/netns, their rows with `namespace`. A namespace that does not exist has none.
   * @param options `silent: false` leaves out the bound-inactive ones: the dump of these takes the longer the more
   *   connections there are
   */
  boundSockets(namespaces?: readonly string[], options?: { readonly silent?: boolean }): Promise<SocketRow[]>;
  /** Inodes of what {@link boundSockets} has of one transport, here or in a namespace under /run/netns; without the bound-inactive ones. */
  listeningInodes(transport: 'tcp' | 'udp', namespace?: string): Promise<readonly number[]>;
  /** Every socket in any state with one of these local ports, IPv4 and IPv6; one filtered dump. */
  socketsOnPorts(transport: 'tcp' | 'udp', ports: readonly number[]): Promise<SocketRow[]>;
  /** Of TCP connections with these inodes the local port of each, whatever their number; one dump. */
  connectionPorts(inodes: Iterable<number>): Promise<Map<number, number>>;
  /** inode → who holds it; searches `hint` pids first, then processes of `comm` haproxy, then all. One pass for all. */
  owners(inodes: readonly number[], hint?: readonly number[]): Promise<Map<number, SocketOwner[]>>;
  /** All sockets of a process: inode → descriptor numbers there. */
  socketsOf(pid: number): Promise<Map<number, number[]>>;
  /** Listening unix sockets of a process. @param held what {@link socketsOf} has just said of it, where it was asked */
  unixListenersOf(
    pid: number,
    held?: ReadonlyMap<number, readonly number[]>,
  ): Promise<readonly { readonly endpoint: UnixEndpoint; readonly inode: number; readonly fd: number }[]>;
  /** Who listens on a path of the file system; pid 0 where that cannot be told, undefined where nobody does. */
  unixListenerAt(path: string): Promise<{ readonly pid: number; readonly comm?: string } | undefined>;

  /** Set SO_REUSEADDR on the holder's own socket through a duplicate (pidfd_getfd(2)); checks that the duplicate is that inode. */
  share(owner: SocketOwner, socket: SocketRow): Promise<void>;
  /** SOCK_DESTROY with the row's cookie. */
  destroy(socket: SocketRow): Promise<void>;
  /** Duplicates of these sockets of a process (pidfd_getfd(2)), by inode; a missing one is absent from the map. */
  duplicate(
    owner: { readonly pid: number; readonly startTicks: string },
    inodes: readonly number[],
  ): Promise<Map<number, Descriptor>>;
  close(descriptors: readonly Descriptor[]): void;
  /** A stream socket bound to a path of the file system (mode 0600), not listening: HAProxy takes it like a guard and makes no bind(). */
  bindUnix(path: string): Promise<Descriptor>;

  /** The listening sockets of the process behind a stats socket, by HAProxy's `_getsocks`. */
  getsocks(path: string, timeoutMs: number): Promise<Descriptor[]>;
  /**
   * Serve HAProxy's `_getsocks` on a unix socket of our own at `path` (mode 0600) until `stop`; answers root's and `uid`'s
   * peers only. Any number of askers, one after the other; the descriptors stay ours and open.
   */
  serveSockets(path: string, sockets: readonly HandedSocket[]): Promise<HandoffServer>;

  /** net.ipv4.ip_local_port_range, both ends included. */
  ephemeralRange(): Promise<{ readonly first: number; readonly last: number }>;
  reservedPorts(): Promise<PortSet>;
  /** Replace (one write that fits a page) or, where `onlyAdd`, add (write at offset > 0). Reads back and fails if a port is missing. */
  writeReservedPorts(ports: PortSet, onlyAdd: boolean): Promise<void>;
  /** A sysctl below /proc/sys, trimmed; undefined where it does not exist. */
  sysctl(name: string): Promise<string | undefined>;

  process(pid: number): Promise<ProcessInfo | undefined>;
  /** Processes whose comm is `haproxy`, in this namespace only. */
  haproxyProcesses(): Promise<ProcessInfo[]>;
  /** Processes whose comm is `haproxy` and whose namespaces may not be looked at (CAP_SYS_PTRACE): here or elsewhere. */
  hiddenHAProxies(): Promise<ProcessInfo[]>;
}

export interface HandedSocket {
  readonly descriptor: Descriptor;
  /** HAProxy's `namespace`, else empty. */
  readonly namespace: string;
  /** HAProxy's `interface`, else empty. */
  readonly device: string;
}

export interface HandoffServer {
  readonly path: string;
  /** How many askers got all the descriptors. */
  served(): number;
  /** Stop answering and remove the socket; the descriptors stay open. */
  stop(): Promise<void>;
}

export interface ProcessInfo {
  readonly pid: number;
  readonly ppid: number;
  readonly comm: string;
  readonly startTicks: string;
  /** Wall-clock start, ISO. */
  readonly startedAt: string;
  readonly uid: number;
  readonly argv: readonly string[];
  readonly cwd?: string;
  /** readlink /proc/PID/exe */
  readonly exe?: string;
  /** net namespace inode of /proc/PID/ns/net. */
  readonly netns: string;
  readonly unit?: string;
  readonly openFiles?: number;
  readonly residentBytes?: number;
}

/** `unknown`: it had gone before anybody asked, or its status went to another process. */
export type ProcessEnd =
  | { readonly how: 'exited'; readonly status: number }
  | { readonly how: 'killed'; readonly signal: string; readonly core: boolean }
  | { readonly how: 'unknown' };

export interface HAProxyBuild {
  readonly binary: string;
  /** `2.6.12-1+deb12u4` */
  readonly version: string;
  readonly major: number;
  readonly minor: number;
  /** Names after + in the feature list of `haproxy -vv`: OPENSSL, QUIC, … */
  readonly features: readonly string[];
}

/** What HAProxy said: one entry per ALERT or WARNING, with its file and line where it names one. */
export interface HAProxyMessage {
  readonly level: 'ALERT' | 'WARNING' | 'NOTICE';
  readonly text: string;
  readonly file?: string;
  readonly line?: number;
}

/** How HAProxy is to be run: the files of a generation and the directory it works in (`-C`). */
export interface HAProxyCommand {
  readonly files: readonly string[];
  readonly workingDirectory: string | undefined;
  readonly extraArguments: readonly string[];
}

/** The HAProxy that serves now. */
export interface RunningHAProxy {
  readonly mode: 'standalone' | 'master-worker';
  /** Standalone: the process; master-worker: the current worker. */
  readonly worker: ProcessInfo;
  readonly master?: ProcessInfo;
  /** Workers of earlier reloads that still drain, and, standalone, other HAProxy processes of the same netns that do not listen. */
  readonly draining: readonly ProcessInfo[];
  /** How it was found. */
  readonly foundBy: 'pid-file' | 'master-socket' | 'listeners' | 'journal';
  readonly pidFile?: string;
  readonly masterSocket?: string;
}

export interface StartedHAProxy {
  readonly pid: number;
  readonly startTicks: string;
  readonly messages: readonly HAProxyMessage[];
}

export interface MasterReload {
  /** What the master says: evidence, not proof. Undefined where it does not answer (HAProxy <= 2.6). */
  readonly success?: boolean;
  readonly worker?: ProcessInfo;
  readonly messages: readonly HAProxyMessage[];
}

export interface HAProxy {
  build(): Promise<HAProxyBuild>;
  check(command: HAProxyCommand): Promise<{ readonly ok: boolean; readonly messages: readonly HAProxyMessage[] }>;
  /** undefined: none runs. Throws BERTH_HAPROXY_NOT_FOUND where a named one is dead or another program. */
  find(): Promise<RunningHAProxy | undefined>;
  /** `-D -p pidFile [-x handoff]`, never `-sf`; resolves when the process is up, throws BERTH_RELOAD_FAILED with what it said. */
  start(
    command: HAProxyCommand,
    options: {
      readonly pidFile: string;
      readonly handoff?: string;
      readonly masterSocket?: string;
      readonly mode: 'standalone' | 'master-worker';
      readonly timeoutMs: number;
      readonly signal?: AbortSignal;
    },
  ): Promise<StartedHAProxy>;
  /** Master CLI `reload`, or SIGUSR2 where there is no socket; returns when the reload has ended one way or the other. */
  reloadMaster(
    running: RunningHAProxy,
    options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<MasterReload>;
  /**
   * Would the master's next reload bind anew instead of handing over (HAProxy 3.2 after any failed reload, 2.2 after a
   * refused configuration)? False where there is no master socket to ask.
   */
  handoffLost(running: RunningHAProxy): Promise<boolean>;
  /** A command on a stats socket; the answer up to EOF. */
  command(path: string, command: string, timeoutMs: number): Promise<string>;
  /** Signals go through a pidfd and only to the process with these startTicks. False where it is gone. */
  signal(
    target: { readonly pid: number; readonly startTicks: string },
    signal: 'SIGUSR1' | 'SIGUSR2' | 'SIGTTIN' | 'SIGTTOU' | 'SIGTERM' | 'SIGKILL',
  ): Promise<boolean>;
}
