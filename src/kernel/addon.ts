/**
 * Loads the addon. Every native symbol is typed here and nowhere else; `native/addon_*.cc` define them. Failed calls
 * carry `errno`, `code` and `syscall` like Node's own.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { BerthError } from '../errors.js';

/** A network namespace's thread; see `openNamespace`. */
export type NamespaceId = number;

/** Rows of 80 bytes (struct SocketRow, native/kernel.h); `devices`: index and name in turn. */
export interface SocketRows {
  readonly rows: ArrayBuffer;
  readonly devices: readonly (number | string)[];
  readonly fromProc: boolean;
}

export interface Native {
  /** Starts the thread of a namespace (null: this process's); `inode` is that of the namespace. */
  openNamespace(path: string | null): Promise<[id: NamespaceId, inode: number]>;
  /** Ends it after the calls before this one. */
  closeNamespace(id: NamespaceId): Promise<void>;

  /**
   * Test binds. `packed`: three words an endpoint: index into `addresses`; index into `devices` + 1, or 0;
   * port | udp << 16 | v6 << 17 | v6only << 18 | transparent << 19.
   * `words`: four an endpoint: outcome (free, beside, busy, failed), descriptor or -1, errno, index into `syscalls`.
   */
  probe(
    id: NamespaceId,
    addresses: readonly string[],
    devices: readonly string[],
    packed: Uint32Array,
    keep: boolean,
    asHAProxy: boolean,
  ): Promise<{ words: Int32Array; syscalls: string[] }>;

  /**
   * All sockets in these states (bit 1 << state) and, where given, with these local ports. `source`: 0 sock_diag and
   * where that is missing /proc, 1 sock_diag only, 2 /proc only.
   */
  sockets(
    id: NamespaceId,
    udp: boolean,
    states: number,
    ports: Uint16Array | null,
    source: 0 | 1 | 2,
  ): Promise<SocketRows>;
  /** Listening unix sockets: inode, abstract, path in turn. */
  unixListeners(id: NamespaceId): Promise<(number | boolean | string)[]>;
  destroySocket(
    id: NamespaceId,
    udp: boolean,
    v6: boolean,
    local: string,
    localPort: number,
    remote: string,
    remotePort: number,
    device: string,
    cookie: string,
  ): Promise<void>;

  /** Triples of inode, pid, descriptor: all of `hints`, then processes called haproxy, then the others. */
  holders(id: NamespaceId, inodes: Uint32Array, hints: Int32Array): Promise<Uint32Array>;
  /** Triples of inode, pid, descriptor. */
  socketsOf(id: NamespaceId, pid: number): Promise<Uint32Array>;
  processesNamed(id: NamespaceId, comm: string): Promise<Int32Array>;

  /** Pairs of inode and descriptor of this process. */
  duplicate(id: NamespaceId, pid: number, startTicks: number, inodes: Uint32Array): Promise<Uint32Array>;
  /** ESTALE: the descriptor is another socket by now; ESRCH: the process has gone. */
  share(id: NamespaceId, pid: number, startTicks: number, fd: number, inode: number): Promise<void>;
  getsocks(id: NamespaceId, path: string, timeoutMs: number): Promise<Int32Array>;
  bindUnix(id: NamespaceId, path: string): Promise<number>;
  serveSockets(
    path: string,
    uid: number,
    descriptors: Int32Array,
    namespaces: readonly string[],
    devices: readonly string[],
  ): number;
  serverServed(server: number): number;
  stopServer(server: number): number;
  closeDescriptors(descriptors: Int32Array): void;

  /** One read(2) with 256 KiB, in the namespace. */
  readSysctl(id: NamespaceId, path: string): Promise<string>;
  /** One pwrite(2), in the namespace. */
  writeSysctl(id: NamespaceId, path: string, text: string, offset: number): Promise<void>;
  syncFileSystem(id: NamespaceId, path: string): Promise<void>;
  releaseMemory(id: NamespaceId): Promise<void>;
  signalProcess(pid: number, startTicks: number, signo: number): boolean;
  /** The locked descriptor, or -1 where another process has the lock. */
  tryLock(path: string): number;
  peerCredentials(descriptor: number): [pid: number, uid: number, gid: number, groups: number[]];
  raiseDescriptorLimit(): [soft: number, hard: number];
  errnoName(errno: number): string;

  /**
   * `how`: 0 exited (with this status), 1 killed (by this signal), 2 unknown. Null after unwatchExit. Keeps nobody alive.
   * `reap`: where it is our child. ESRCH: the process with these ticks has gone.
   */
  watchExit(
    pid: number,
    startTicks: number,
    reap: boolean,
  ): [watch: number, ended: Promise<readonly [how: 0 | 1 | 2, status: number, core: boolean] | null>];
  unwatchExit(watch: number): void;
  /** Reaps zombies whose parent we are, but the watched and the spared; how many. */
  reapOthers(spared: Int32Array): number;
  becomeSubreaper(): void;
  notifyService(path: string, message: string, descriptors: Int32Array): void;
  /** Duplicates, all or none. */
  copyDescriptors(descriptors: Int32Array): Int32Array;
  /** Those that are sockets; they are O_CLOEXEC from now on. */
  adoptSockets(descriptors: Int32Array): Int32Array;
  /** Bound sockets among the descriptors; `inet` stands in the order of the rows of `table`. */
  describeSockets(descriptors: Int32Array): {
    table: SocketRows;
    inet: [fd: number, listening: boolean, netns: number][];
    local: [fd: number, listening: boolean, netns: number, inode: number, abstract: boolean, path: string][];
  };
}

let loaded: Native | undefined;

/**
 * The addon: build/Release/berth.node where it was compiled here, else the file in prebuilds/ for this architecture and
 * C library (node-gyp-build finds it), or the file that the environment variable BERTH_ADDON names (a sanitizer build).
 * @throws BERTH_ADDON naming what was tried.
 */
export function native(): Native {
  loaded ??= load();
  return loaded;
}

function load(): Native {
  const require = createRequire(import.meta.url);
  const named = process.env['BERTH_ADDON'];
  // The package's directory: src/kernel, dist/kernel and dist/command (scripts/bundle.mjs) are equally deep in it.
  let path = named ?? fileURLToPath(new URL('../..', import.meta.url));
  try {
    if (named === undefined) path = (require('node-gyp-build') as { path(directory: string): string }).path(path);
    return require(path) as Native;
  } catch (error) {
    const why = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    throw new BerthError('BERTH_ADDON', `Cannot load the native addon from ${path}: ${why}`, {
      step: 'start',
      cause: error,
      details: { tried: [path] },
    });
  }
}
