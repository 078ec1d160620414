/** One directory under inotify(7), by chokidar; the only file that knows the library. */
import { basename } from 'node:path';
import { FSWatcher } from 'chokidar';

export interface DirectoryWatch {
  /** From now on nothing is missed. */
  readonly ready: Promise<void>;
  /** Takes effect at once; resolves when all is cleaned up. */
  close(): Promise<void>;
}

export interface DirectoryEvents {
  /** Something of this name came, went or was written; undefined: the kernel did not say what. */
  readonly onEvent: (name: string | undefined) => void;
  /** The directory itself was removed or renamed: this watch is worth nothing any more. */
  readonly onGone: () => void;
  readonly onError: (error: unknown) => void;
}

/**
 * chokidar without its lists: to know what came and went it looks at every entry of a directory at each event, and puts a
 * watch on each (2000 files: 0.1 to 0.2 s, while HAProxy is to be reloaded). Here only inotify's own word counts, which names
 * the entry; the fingerprint tells what is different. Should a later chokidar not ask this, it lists, and is slower.
 */
class Unlisted extends FSWatcher {
  override _readdirp(): undefined {
    return undefined;
  }
}

/** Whatever happens to the entries of a directory, not to what is below them: one watch of max_user_watches. */
export function watchDirectory(path: string, { onEvent, onGone, onError }: DirectoryEvents): DirectoryWatch {
  const watcher = new Unlisted({ ignoreInitial: true, followSymlinks: false, depth: 0, ignored: (at) => at !== path });
  watcher.on('raw', (_event, name: string | null) => {
    onEvent(name ?? undefined);
    // IN_DELETE_SELF and IN_MOVE_SELF come with the directory's own name; an entry that is called the same does no harm.
    if (name === basename(path)) onGone();
  });
  watcher.on('error', onError);
  const ready = new Promise<void>((resolve) => watcher.once('ready', resolve));
  watcher.add(path);
  return { ready, close: () => watcher.close() };
}
