/**
 * The directory that Cloudpods' lbagent renders (pkg/lbagent, the generation written by its ConfigsDir and put in use by
 * its HAProxy helper): a staging directory, renamed when it is complete, and a symlink that is removed and made again.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Path below the generation's directory → content. */
export type RenderedFiles = ReadonlyMap<string, string>;

export class DirectoryWriter {
  readonly #preserve: number;
  #last = 0;

  /**
   * @param base lbagent's `base_data_dir`
   * @param preserve lbagent's `data_preserve_n`
   */
  constructor(
    readonly base: string,
    preserve = 8,
  ) {
    this.#preserve = preserve;
    for (const name of ['configs', 'data', 'run']) mkdirSync(join(base, name), { recursive: true });
  }

  /** The symlink to the generation in use: HAProxy's `-C` and `-f`. */
  get current(): string {
    return join(this.base, 'configs', 'haproxy.conf.d');
  }

  get pidFile(): string {
    return join(this.base, 'run', 'haproxy.pid');
  }

  get statsSocket(): string {
    return join(this.base, 'run', 'haproxy.sock');
  }

  /** Write one generation, put it in use, and remove what is older than the newest ones. @returns its directory */
  write(files: RenderedFiles): string {
    const directory = join(this.base, 'configs', this.#name());
    const staging = `${directory}.staging`;
    rmSync(staging, { recursive: true, force: true });
    for (const [name, text] of files) {
      mkdirSync(dirname(join(staging, name)), { recursive: true });
      writeFileSync(join(staging, name), text, { mode: 0o644 });
    }
    renameSync(staging, directory);
    // lbagent's own two steps: for a moment there is no symlink.
    rmSync(this.current, { force: true });
    symlinkSync(directory, this.current);
    this.#prune();
    return directory;
  }

  /** `YYYYMMDD.HHMMSS.mmm`, each later than the one before. */
  #name(): string {
    this.#last = Math.max(Date.now(), this.#last + 1);
    const [day = '', time = ''] = new Date(this.#last).toISOString().replace('Z', '').split('T');
    return `${day.replaceAll('-', '')}.${time.replaceAll(':', '')}`;
  }

  #prune(): void {
    const configs = join(this.base, 'configs');
    const generations = readdirSync(configs).filter((name) => /^\d{8}\.\d{6}\.\d{3}$/.test(name));
    if (this.#preserve === 0 || !existsSync(this.current)) return;
    for (const name of generations.sort().slice(0, -this.#preserve)) {
      rmSync(join(configs, name), { recursive: true, force: true });
    }
  }
}
