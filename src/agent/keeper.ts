/**
 * Listeners that survive HAProxy: duplicates of its listening sockets, held by the agent. As long as one descriptor of a
 * listening socket is open, the kernel goes on completing handshakes into its backlog, whoever died. For the same reason a
 * socket that HAProxy gives up must be let go here too: its clients would wait for nobody.
 */
import type { Endpoint } from '../model/endpoint.js';
import type { ServedSocket } from '../model/plan.js';
import { identity } from '../model/process.js';
import type { ListenerKeeper } from '../reload/context.js';
import type { Kernel, ProcessInfo } from '../reload/env.js';
import type { KeptSocket } from '../reload/revive.js';
import { socketsServedBy } from '../reload/survey.js';

/** Where descriptors survive the agent itself: the service manager's store. */
export interface DescriptorStore {
  put(name: string, descriptors: readonly number[]): Promise<unknown>;
  remove(name: string): unknown;
}

/** What a socket of an instance is called there. */
export function storedName(instance: string, inode: number): string {
  return `${instance}.${inode}`;
}

/** Whose socket it is, by that name. */
export function instanceOf(name: string): string {
  return name.replace(/\.\d+$/, '');
}

export interface KeeperEnvironment {
  readonly kernel: Kernel;
  /** Of the instance, in the names of stored descriptors. */
  readonly name: string;
  readonly store?: DescriptorStore;
  /** Inode of the socket behind a descriptor of a process; one readlink(2). */
  readonly socketAt: (pid: number, fd: number) => number | undefined;
  /** Are the sockets of this process to be kept? */
  readonly wanted: (process: ProcessInfo) => boolean;
  readonly warn: (text: string) => void;
}

export class Keeper implements ListenerKeeper {
  readonly #env: KeeperEnvironment;
  readonly #held = new Map<number, KeptSocket>();
  #owner: ProcessInfo | undefined;
  #places: readonly ServedSocket[] = [];
  /** All TCP sockets in LISTEN, just before the last look at every descriptor that {@link refresh} made. */
  #listening: string | undefined;

  constructor(env: KeeperEnvironment) {
    this.#env = env;
  }

  /** What is held, for a restart. */
  get held(): readonly KeptSocket[] {
    return [...this.#held.values()];
  }

  /** The process whose sockets they are. */
  get owner(): ProcessInfo | undefined {
    return this.#owner;
  }

  /** The listening inet sockets of the owner at the last look, held or not. */
  get places(): readonly ServedSocket[] {
    return this.#places;
  }

  release(inodes: readonly number[]): void {
    const gone = inodes.flatMap((inode) => this.#held.get(inode) ?? []);
    for (const { inode } of gone) {
      this.#held.delete(inode);
      this.#env.store?.remove(storedName(this.#env.name, inode));
    }
    this.#env.kernel.close(gone.map(({ descriptor }) => descriptor));
  }

  async renew(process: ProcessInfo): Promise<void> {
    const { kernel, wanted, warn } = this.#env;
    this.#listening = undefined;
    const served = (await socketsServedBy(kernel, process)).filter(({ endpoint }) => endpoint.kind === 'inet');
    this.#owner = process;
    // One that is dying has fewer descriptors each time (exit_files); what it had is held for the next.
    if (!(await isWhole(kernel, process))) return;
    this.#places = served;
    if (!wanted(process)) {
      this.letGo();
      return;
    }
    const now = new Map(served.map((socket) => [socket.inode, socket.endpoint]));
    this.release([...this.#held.keys()].filter((inode) => !now.has(inode)));
    const missing = [...now.keys()].filter((inode) => !this.#held.has(inode));
    try {
      const copies = missing.length > 0 ? await kernel.duplicate(process, missing) : new Map<number, number>();
      for (const [inode, descriptor] of copies) this.#hold(inode, descriptor, now.get(inode));
    } catch (error) {
      // The listeners are served all the same; they just would not outlive their HAProxy.
      warn(`The keeper has no hold on ${missing.length} listeners of haproxy[${process.pid}]: ${String(error)}`);
    }
  }

  /**
   * As {@link renew}, but looks at every descriptor of the process, one of each connection, only where the host's listeners
   * are other ones than before, or the process has given one up.
   */
  async refresh(process: ProcessInfo): Promise<void> {
    const listening = Uint32Array.from(await this.#env.kernel.listeningInodes('tcp'))
      .sort()
      .join();
    if (listening === this.#listening && this.#hasAll(process)) return;
    await this.renew(process);
    this.#listening = listening;
  }

  /** Has this process all that it had, and is that held where it is to be? */
  #hasAll(process: ProcessInfo): boolean {
    const { socketAt, wanted } = this.#env;
    if (this.#owner === undefined || identity(process) !== identity(this.#owner)) return false;
    const held = wanted(process);
    return this.#places.every(
      ({ inode, owner }) => socketAt(owner.pid, owner.fd) === inode && this.#held.has(inode) === held,
    );
  }

  letGo(): void {
    this.release([...this.#held.keys()]);
  }

  /** Sockets that an agent before this one held. */
  adopt(sockets: readonly KeptSocket[]): void {
    for (const socket of sockets) {
      // One descriptor a socket: a second one would never be closed.
      if (this.#held.has(socket.inode)) this.#env.kernel.close([socket.descriptor]);
      else this.#held.set(socket.inode, socket);
    }
  }

  /** The agent ends: its own hold ends with it, that of the store does not. */
  close(): void {
    this.#env.kernel.close(this.handOver().map(({ descriptor }) => descriptor));
  }

  /** Everything is the caller's from now on. */
  handOver(): readonly KeptSocket[] {
    const sockets = this.held;
    this.#held.clear();
    return sockets;
  }

  #hold(inode: number, descriptor: number, endpoint: Endpoint | undefined): void {
    if (endpoint === undefined) return;
    this.#held.set(inode, { inode, descriptor, endpoint });
    const { name, store, warn } = this.#env;
    // Beside the agent's own hold: it matters only where the agent dies, too.
    store
      ?.put(storedName(name, inode), [descriptor])
      .catch((error: unknown) => warn(`Descriptor store: ${String(error)}`));
  }
}

/**
 * Has it still all that it had: a process that ends loses its memory, and with it its command line, before its descriptors
 * (kernel/exit.c do_exit: exit_mm, exit_files), and is a zombie only after both.
 */
async function isWhole(kernel: Kernel, { pid, startTicks }: ProcessInfo): Promise<boolean> {
  const now = await kernel.process(pid);
  return now?.startTicks === startTicks && now.argv.length > 0;
}
