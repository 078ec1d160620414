/** The watch on real directories: nothing is missed, nothing is kept of what is gone. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { EventEmitter } from 'node:events';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { BerthError } from '../../src/errors.js';
import { type Watch, watchSources } from '../../src/agent/watch.js';
import { placesOf } from '../../src/agent/watch-places.js';
import { temporaryDirectory } from '../support/state.js';

class Watched {
  readonly calls: (readonly string[])[] = [];
  readonly errors: BerthError[] = [];
  readonly targets: string[] = [];
  readonly #events = new EventEmitter();
  watch: Watch | undefined;

  static async on(
    sources: readonly string[],
    options: { readonly delayMs?: number; readonly seen?: () => string } = {},
  ): Promise<Watched> {
    const { delayMs = 5, seen = () => '' } = options;
    const watched = new Watched();
    watched.watch = await watchSources(sources, {
      delayMs,
      onChange: (paths) => {
        watched.calls.push(paths);
        watched.last = seen();
        watched.#events.emit('change');
      },
      onError: (error) => watched.errors.push(error),
      onTarget: (_, target) => watched.targets.push(target),
    });
    onTestFinished(async () => watched.watch?.close());
    return watched;
  }

  /** What `seen` said at the last call. */
  last = '';

  /** The next call from now on. */
  async next(): Promise<readonly string[]> {
    await once(this.#events, 'change');
    return this.calls.at(-1) ?? [];
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await this.next();
  }
}

function home(): string {
  return realpathSync(temporaryDirectory());
}

function write(path: string, text = 'x'): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

/** lbagent's directory: `configs/X.staging` is written, renamed, and the symlink removed and made anew. */
class Configs {
  readonly link: string;
  readonly #kept: string[] = [];
  #count = 0;

  constructor(readonly directory: string) {
    mkdirSync(directory, { recursive: true });
    this.link = join(directory, 'haproxy.conf.d');
  }

  swap(): string {
    const target = this.write();
    rmSync(this.link, { force: true });
    symlinkSync(target, this.link);
    return target;
  }

  write(): string {
    const target = join(this.directory, `20261124.${String(++this.#count).padStart(6, '0')}.000`);
    write(join(`${target}.staging`, '00-haproxy.cfg'), String(this.#count));
    write(join(`${target}.staging`, 'certs/a.pem'), String(this.#count));
    renameSync(`${target}.staging`, target);
    this.#kept.push(target);
    // DataPreserveN
    if (this.#kept.length > 8) rmSync(this.#kept.shift() ?? '', { recursive: true });
    return target;
  }
}

/** inotify watches of this process, as the kernel has them. */
function inotifyWatches(): number {
  return readdirSync('/proc/self/fdinfo').reduce((sum, fd) => {
    try {
      return sum + (readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8').match(/^inotify wd/gm)?.length ?? 0);
    } catch {
      return sum;
    }
  }, 0);
}

describe("lbagent's swap", () => {
  it('200 of them: each is announced or overtaken by the next, the last one always', async () => {
    const configs = new Configs(join(home(), 'configs'));
    configs.swap();
    const watched = await Watched.on([configs.link], { seen: () => readlinkSync(configs.link) });
    let last = '';
    for (let round = 0; round < 200; round++) {
      last = configs.swap();
      // One after the other, in bursts, and in the middle of the watch's own work.
      if (round % 3 === 0) await watched.until(() => watched.last === last);
      else if (round % 3 === 1) await sleep(round % 12);
    }
    await watched.until(() => watched.last === last);
    expect(watched.targets.at(-1)).toBe(last);
    expect(watched.errors).toEqual([]);
  });

  it('no watch is left on what is gone, however many swaps', async () => {
    const before = inotifyWatches();
    const configs = new Configs(join(home(), 'configs'));
    configs.swap();
    const watched = await Watched.on([configs.link], { delayMs: 0, seen: () => readlinkSync(configs.link) });
    const standing = inotifyWatches();
    // configs, the generation, its certs
    expect(standing - before).toBe(3);
    for (let round = 0; round < 1000; round++) {
      const target = configs.swap();
      await watched.until(() => watched.last === target);
    }
    expect(inotifyWatches()).toBe(standing);
    await watched.watch?.close();
    expect(inotifyWatches()).toBe(before);
  });

  it('the moment without a symlink is not announced, its coming is', async () => {
    const configs = new Configs(join(home(), 'configs'));
    const first = configs.swap();
    const watched = await Watched.on([configs.link]);
    rmSync(configs.link);
    await sleep(50);
    expect(watched.calls).toEqual([]);
    symlinkSync(first, configs.link);
    expect(await watched.next()).toContain(configs.link);
  });

  it('what is written into the new target is seen, what is written into the old one is not', async () => {
    const configs = new Configs(join(home(), 'configs'));
    const old = configs.swap();
    const watched = await Watched.on([configs.link], { seen: () => readlinkSync(configs.link) });
    const target = configs.swap();
    await watched.until(() => watched.last === target);
    const calls = watched.calls.length;
    write(join(old, '00-haproxy.cfg'), 'late');
    await sleep(50);
    expect(watched.calls).toHaveLength(calls);
    write(join(target, 'certs/b.pem'));
    expect(await watched.next()).toContain(join(target, 'certs/b.pem'));
  });

  it('generations that are only prepared wake nobody', async () => {
    const configs = new Configs(join(home(), 'configs'));
    configs.swap();
    const watched = await Watched.on([configs.link]);
    configs.write();
    await sleep(50);
    expect(watched.calls).toEqual([]);
  });
});

describe('a source', () => {
  it('that is a file: written, replaced, removed and made again; its neighbours do not count', async () => {
    const file = write(join(home(), 'haproxy.cfg'));
    const watched = await Watched.on([file]);
    write(join(dirname(file), 'neighbour.cfg'));
    await sleep(30);
    expect(watched.calls).toEqual([]);
    write(file, 'y');
    expect(await watched.next()).toEqual([file]);
    renameSync(write(`${file}.new`), file);
    await watched.next();
    rmSync(file);
    await sleep(30);
    const calls = watched.calls.length;
    write(file);
    await watched.until(() => watched.calls.length > calls);
  });

  it('that does not exist yet is waited for, its directories too', async () => {
    const directory = home();
    const source = join(directory, 'etc/haproxy/conf.d');
    const watched = await Watched.on([source]);
    write(join(directory, 'other'));
    mkdirSync(join(directory, 'etc'));
    mkdirSync(join(directory, 'etc/haproxy'));
    await sleep(30);
    expect(watched.calls).toEqual([]);
    write(join(source, 'a.cfg'));
    await watched.next();
    write(join(source, 'b.cfg'));
    await watched.until(() => watched.calls.flat().includes(join(source, 'b.cfg')));
  });

  it('that is removed and made again at the same path, with the same inode number or not', async () => {
    const source = join(home(), 'conf.d');
    write(join(source, 'a.cfg'));
    const watched = await Watched.on([source], { seen: () => readdirSync(source).join() });
    for (let round = 0; round < 20; round++) {
      rmSync(source, { recursive: true });
      write(join(source, `${round}.cfg`));
      await watched.until(() => watched.last === `${round}.cfg`);
    }
    const later = watched.next();
    write(join(source, 'late.cfg'));
    expect(await later).toContain(join(source, 'late.cfg'));
  });

  it('is followed through a symlink in the middle of its path, and out of its directory', async () => {
    const directory = home();
    write(join(directory, 'one/conf/a.cfg'));
    write(join(directory, 'two/conf/a.cfg'));
    symlinkSync('one', join(directory, 'now'));
    const source = join(directory, 'now/conf');
    const watched = await Watched.on([source], { seen: () => realpathSync(source) });
    expect(watched.targets).toEqual([join(directory, 'one/conf')]);
    rmSync(join(directory, 'now'));
    symlinkSync('two', join(directory, 'now'));
    await watched.until(() => watched.last === join(directory, 'two/conf'));
    expect(watched.targets.at(-1)).toBe(join(directory, 'two/conf'));
  });

  it('a directory further up that is replaced is found at the next refresh', async () => {
    const directory = home();
    const source = join(directory, 'a/b/c/haproxy.cfg');
    write(source);
    const watched = await Watched.on([source]);
    renameSync(join(directory, 'a'), join(directory, 'old'));
    write(source);
    const announced = watched.next();
    await watched.watch?.refresh();
    await announced;
    const later = watched.next();
    write(source, 'later');
    expect(await later).toEqual([source]);
    const calls = watched.calls.length;
    await watched.watch?.refresh();
    await sleep(30);
    expect(watched.calls).toHaveLength(calls);
  });

  it('with new directories below: their files count from then on', async () => {
    const source = join(home(), 'conf.d');
    mkdirSync(source);
    const watched = await Watched.on([source]);
    write(join(source, 'x/y/z/deep.pem'));
    await watched.next();
    const later = watched.next();
    write(join(source, 'x/y/z/deep.pem'), 'again');
    expect(await later).toEqual([join(source, 'x/y/z/deep.pem')]);
  });
});

describe('coalescing', () => {
  it('counts from the first change: under a constant stream the calls go on', async () => {
    const file = write(join(home(), 'haproxy.cfg'));
    const watched = await Watched.on([file], { delayMs: 20 });
    const stream = setInterval(() => write(file, String(Math.random())), 1);
    onTestFinished(() => clearInterval(stream));
    for (let calls = 0; calls < 5; calls++) await watched.next();
  });

  it('a burst is one call, with a sample of the paths', async () => {
    const source = join(home(), 'conf.d');
    mkdirSync(source);
    const watched = await Watched.on([source], { delayMs: 200 });
    for (let n = 0; n < 100; n++) write(join(source, `${n}.cfg`));
    const paths = await watched.next();
    await sleep(300);
    expect(watched.calls).toHaveLength(1);
    expect(paths).toHaveLength(20);
  });
});

describe('hostile sources', () => {
  it('20000 files, a FIFO, a loop, a way out, strange names: a watch for each directory and no more', async () => {
    const before = inotifyWatches();
    const source = join(home(), 'conf.d');
    mkdirSync(source);
    for (let n = 0; n < 20_000; n++) writeFileSync(join(source, `${n}.cfg`), '');
    mkdirSync(join(source, 'a\nb'));
    execFileSync('mkfifo', [join(source, 'pipe')]);
    symlinkSync('.', join(source, 'loop'));
    symlinkSync('/', join(source, 'root'));
    const watched = await Watched.on([source]);
    expect(inotifyWatches() - before).toBe(3);
    const later = watched.next();
    write(join(source, 'a\nb/c.cfg'));
    expect(await later).toEqual([join(source, 'a\nb/c.cfg')]);
    expect(watched.errors).toEqual([]);
  });

  it('a loop of symlinks is a source that does not exist, until it does', async () => {
    const directory = home();
    const link = join(directory, 'a');
    symlinkSync('b', link);
    symlinkSync('a', join(directory, 'b'));
    const watched = await Watched.on([link]);
    const announced = watched.next();
    rmSync(join(directory, 'b'));
    write(join(directory, 'b'));
    await announced;
  });

  it('more directories than are watched: the rest is left to the reconciliation', () => {
    const source = join(home(), 'conf.d');
    for (let n = 0; n < 4200; n++) mkdirSync(join(source, String(n)), { recursive: true });
    const { cut, places } = placesOf([source]);
    expect(cut).toBe(true);
    expect(places.size).toBeLessThanOrEqual(4096);
  });

  it('watches no file, and of the directories above a source only the one that its name stands in', () => {
    const directory = home();
    const file = write(join(directory, 'etc/haproxy.cfg'));
    const { places } = placesOf([file]);
    expect([...places.values()]).toMatchObject([{ path: dirname(file), names: new Set([basename(file)]) }]);
  });

  it('nothing is told after the end', async () => {
    const file = write(join(home(), 'haproxy.cfg'));
    const watched = await Watched.on([file]);
    write(file, 'y');
    await watched.watch?.close();
    await sleep(50);
    expect(watched.calls).toEqual([]);
  });
});
