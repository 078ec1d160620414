/** Tells when a source changes: a file, a directory, or a symlink to either, there already or still to come. */
import { join } from 'node:path';
import { BerthError, systemCause } from '../errors.js';
import { type DirectoryWatch, watchDirectory } from './watch-directory.js';
import { Listings } from './listings.js';
import { type Place, placesOf } from './watch-places.js';

export interface WatchOptions {
  /** What changes within this time after the first change is announced together. */
  readonly delayMs: number;
  /**
   * The sources, all of them there, are not what they were at the last call; the paths are a sample for people. Whoever starts
   * to read now reads what is new, and is told of whatever is changed from now on.
   */
  readonly onChange: (paths: readonly string[]) => void;
  /** Not everything can be watched; told once until it can. The full reconciliation still finds what changes. */
  readonly onError: (error: BerthError) => void;
  /** A source leads elsewhere than to its own path. */
  readonly onTarget?: (source: string, target: string) => void;
}

export interface Watch {
  /** Look whether the right directories are watched: a directory further up may have been replaced. */
  refresh(): Promise<void>;
  close(): Promise<void>;
  /** Every directory of the sources is watched: what is written there is told. */
  readonly complete: boolean;
}

/** More names help nobody. */
const SAMPLE = 20;
/** So often directories may come and go under our eyes in one go; the next event then makes another. */
const ROUNDS = 8;

/**
 * The delay counts from the first change, not from the last: under a constant stream of changes there is a call every
 * `delayMs`, where a wait for silence would never end. As long as a source does not exist nothing is announced, so that the
 * moment between the removal of a symlink and its new one is not taken for a configuration; its coming is.
 *
 * libuv drops the kernel's word of an overflowing queue (IN_Q_OVERFLOW) without telling, and changes of what a symlink inside
 * of a source points to are not seen: both are left to the full reconciliation.
 */
export async function watchSources(sources: readonly string[], options: WatchOptions): Promise<Watch> {
  const watch = new SourceWatch(sources, options);
  await watch.arm();
  return watch;
}

class SourceWatch implements Watch {
  readonly #sources: readonly string[];
  readonly #options: WatchOptions;
  /** By the identity of the place. */
  readonly #watched = new Map<string, { place: Place; readonly handle: DirectoryWatch }>();
  readonly #targets = new Map<string, string | undefined>();
  readonly #listings = new Listings('utf8');
  /** Places that could not be watched at the last look; the next one tries again. */
  readonly #failed = new Set<string>();
  readonly #told = new Set<string>();
  #changed = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  /** One look at a time. */
  #looking: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(sources: readonly string[], options: WatchOptions) {
    this.#sources = sources;
    this.#options = options;
  }

  get complete(): boolean {
    return !this.#closed && this.#told.size === 0;
  }

  async refresh(): Promise<void> {
    if ((await this.arm()).moved) this.#noted(this.#sources[0] ?? '');
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#looking;
    await this.#keepOnly(new Set());
  }

  /** Watch what is to be watched now, and nothing else; afterwards nothing is missed. */
  arm(): Promise<{ readonly whole: boolean; readonly moved: boolean }> {
    const looked = this.#looking.then(() => this.#arm());
    this.#looking = looked.catch(() => undefined);
    return looked;
  }

  async #arm(): Promise<{ readonly whole: boolean; readonly moved: boolean }> {
    let moved = false;
    this.#failed.clear();
    for (let round = 1; ; round++) {
      const { places, targets, cut } = placesOf(this.#sources, this.#listings);
      await this.#keepOnly(new Set(this.#closed ? [] : places.keys()));
      const opened = this.#closed ? [] : [...places.values()].filter((place) => this.#open(place));
      await Promise.all(opened.flatMap(({ identity }) => this.#watched.get(identity)?.handle.ready ?? []));
      moved ||= opened.length > 0;
      // A watch sees nothing of what happened before it stood: look again until a look finds nothing new.
      if (opened.length > 0 && round < ROUNDS) continue;
      this.#tellTargets(targets);
      if (cut) this.#tell('cut', tooManyDirectories(this.#sources));
      else if (this.#failed.size === 0) this.#told.clear();
      return { whole: [...targets.values()].every((target) => target !== undefined), moved };
    }
  }

  /** @returns was it not watched yet */
  #open(place: Place): boolean {
    const { identity, path } = place;
    const known = this.#watched.get(identity);
    if (this.#failed.has(identity)) return false;
    if (known) {
      known.place = place;
      return false;
    }
    const handle = watchDirectory(path, {
      onEvent: (name) => {
        const names = this.#watched.get(identity)?.place.names;
        if (name === undefined || names?.has(name) !== false) this.#noted(join(path, name ?? ''));
      },
      onGone: () => {
        void this.#drop(identity);
        this.#noted(path);
      },
      onError: (error) => {
        this.#failed.add(identity);
        void this.#drop(identity);
        this.#tell(systemCause(error)?.code ?? 'error', unwatchable(path, error));
      },
    });
    this.#watched.set(identity, { place, handle });
    return true;
  }

  async #drop(identity: string): Promise<void> {
    const { handle } = this.#watched.get(identity) ?? {};
    this.#watched.delete(identity);
    await handle?.close();
  }

  async #keepOnly(wanted: ReadonlySet<string>): Promise<void> {
    const gone = [...this.#watched.keys()].filter((identity) => !wanted.has(identity));
    await Promise.all(gone.map((identity) => this.#drop(identity)));
  }

  #noted(path: string): void {
    if (this.#closed) return;
    if (this.#changed.size < SAMPLE) this.#changed.add(path);
    this.#timer ??= setTimeout(() => void this.#announce(), this.#options.delayMs);
  }

  async #announce(): Promise<void> {
    this.#timer = undefined;
    const { whole } = await this.arm();
    if (!whole || this.#closed || this.#changed.size === 0) return;
    const paths = [...this.#changed];
    this.#changed = new Set();
    this.#options.onChange(paths);
  }

  #tellTargets(targets: ReadonlyMap<string, string | undefined>): void {
    for (const [source, target] of targets) {
      if (this.#targets.get(source) === target) continue;
      this.#targets.set(source, target);
      if (target !== undefined && target !== source) this.#options.onTarget?.(source, target);
    }
  }

  #tell(what: string, error: BerthError): void {
    if (this.#closed || this.#told.has(what)) return;
    this.#told.add(what);
    this.#options.onError(error);
  }
}

function unwatchable(path: string, error: unknown): BerthError {
  const code = systemCause(error)?.code;
  const why =
    { ENOSPC: 'no inotify watch is left', EMFILE: 'no inotify instance is left' }[code ?? ''] ?? String(error);
  const raise = { ENOSPC: 'max_user_watches', EMFILE: 'max_user_instances' }[code ?? ''];
  return new BerthError(
    'BERTH_KERNEL',
    `${path} cannot be watched: ${why}; its changes are found by the reconciliation`,
    {
      step: 'watch',
      cause: error,
      advice: raise === undefined ? 'Check that the directory can be read' : `Raise fs.inotify.${raise} (sysctl)`,
    },
  );
}

function tooManyDirectories(sources: readonly string[]): BerthError {
  return new BerthError(
    'BERTH_CONFIG_TOO_LARGE',
    `${sources.join(' ')}: too many directories to watch them all; changes in the others are found by the reconciliation`,
    { step: 'watch', advice: 'Name the directory that HAProxy reads, not one above it' },
  );
}
