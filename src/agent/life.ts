/** Is the HAProxy that serves still the one that serves: its end, and whether it still has its listening sockets. */
import type { ServedSocket } from '../model/plan.js';
import { identity } from '../model/process.js';
import type { ProcessEnd, ProcessInfo } from '../reload/env.js';

export interface LifeEnvironment {
  readonly watchExit: (target: { readonly pid: number; readonly startTicks: string }) => {
    readonly ended: Promise<ProcessEnd>;
    stop(): void;
  };
  /** Did the service manager end this unit on purpose? Asked where the end itself does not tell. */
  readonly wasStopped: (unit: string) => Promise<boolean>;
  /** Inode of the socket behind a descriptor of a process; one readlink(2). */
  readonly socketAt: (pid: number, fd: number) => number | undefined;
}

/** Often enough that no client waits long for a listener that somebody else closed, and next to nothing to do. */
const LOOK_MS = 500;
/** So many of its listeners are looked at. */
const SAMPLES = 4;

/**
 * Watches one process until told to watch another.
 * @param onEnd it has ended
 * @param onLoss it lives and has closed listening sockets, without Berth: somebody told it to stop, or paused it
 */
export class Life {
  readonly #env: LifeEnvironment;
  readonly #onEnd: (process: ProcessInfo, end: ProcessEnd) => void;
  readonly #onLoss: (process: ProcessInfo) => void;
  #stop: () => void = () => undefined;
  #watched: string | undefined;

  constructor(
    env: LifeEnvironment,
    on: {
      readonly end: (process: ProcessInfo, end: ProcessEnd) => void;
      readonly loss: (process: ProcessInfo) => void;
    },
  ) {
    this.#env = env;
    this.#onEnd = on.end;
    this.#onLoss = on.loss;
  }

  /** @param root the process whose end counts: a master, or the one standalone process @param places its worker's listeners */
  watch(root: ProcessInfo, places: readonly ServedSocket[]): void {
    this.stop();
    this.#watched = identity(root);
    const watch = this.#env.watchExit(root);
    void watch.ended.then((end) => this.#onEnd(root, end));
    const samples = sample(places);
    let lostBefore = false;
    const timer = setInterval(() => {
      const lost = samples.some(({ owner, inode }) => this.#env.socketAt(owner.pid, owner.fd) !== inode);
      const first = lost && !lostBefore;
      lostBefore = lost;
      // One that is ending closes its sockets first: by the next look its end, and how it came, has been told.
      if (!lost || first) return;
      clearInterval(timer);
      this.#onLoss(root);
    }, LOOK_MS);
    timer.unref();
    this.#stop = () => {
      clearInterval(timer);
      watch.stop();
    };
  }

  watches(process: Pick<ProcessInfo, 'pid' | 'startTicks'>): boolean {
    return this.#watched === identity(process);
  }

  stop(): void {
    this.#stop();
    this.#stop = () => undefined;
    this.#watched = undefined;
  }
}

/** Spread over all of them. */
function sample(places: readonly ServedSocket[]): ServedSocket[] {
  const step = Math.max(1, Math.floor(places.length / SAMPLES));
  return places.filter((_, at) => at % step === 0).slice(0, SAMPLES);
}

/** `SIGKILL`, `status 1`: for people. */
export function describeEnd(end: ProcessEnd): string {
  if (end.how === 'exited') return `status ${end.status}`;
  if (end.how === 'killed') return `${end.signal}${end.core ? ' (core dumped)' : ''}`;
  return 'unknown cause';
}

/**
 * Told to end, by whomever: HAProxy leaves with status 0 after SIGUSR1 and SIGTERM, its master with 128 + the signal
 * (src/mworker.c, and the `SuccessExitStatus=143` of its unit file).
 */
export function isDeliberate(end: ProcessEnd): boolean {
  if (end.how === 'exited') return end.status === 0 || end.status === 128 + 15 || end.status === 128 + 2;
  return end.how === 'killed' && (end.signal === 'SIGTERM' || end.signal === 'SIGINT');
}
