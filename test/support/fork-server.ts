/**
 * What a real HAProxy listens on, by thousands of configurations: one haproxy process with fork-server.c inside, in a network
 * and mount namespace of its own, forks a child for each, some milliseconds instead of the whole start of `listening.ts`.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { repository } from './haproxy.js';
import { describeSocket, type Listening } from './listening.js';

/** What every case is started with: `-f` of these, in this order; those that a case does not have are empty. */
export const SOURCES = ['one.cfg', 'dir', 'two.cfg'] as const;

/** The file system is read-only below all but the cases' own directory; a configuration made up of bytes may name any path. */
const SCRIPT = `
set -e
mount --bind "$DIRECTORY" "$DIRECTORY"
mount -o remount,bind,ro /
mount -t tmpfs none /run; mkdir -p /run/netns; ip netns add fuzz
mount -t tmpfs none /etc/ssl/certs # hundreds of files, which HAProxy 2.6 and later read at each start
ip link set lo up
for family in 4 6; do echo 1 >/proc/sys/net/ipv$family/ip_nonlocal_bind; done
ulimit -n 4096
cd /
unset DIRECTORY
exec env -i "$@"
`;

export class ForkServer {
  readonly #directory: string;
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(directory: string, child: ChildProcess, lines: AsyncIterator<string>) {
    this.#directory = directory;
    this.#process = child;
    this.#lines = lines;
  }

  static async open(binary: string, environment: Readonly<Record<string, string>>): Promise<ForkServer> {
    const directory = mkdtempSync(join(tmpdir(), 'berth-fork-'));
    const shim = join(directory, 'fork-server.so');
    const source = join(repository, 'test/support/fork-server.c');
    execFileSync('cc', ['-shared', '-fPIC', '-O1', '-Wall', '-o', shim, source]);
    const variables = Object.entries({ ...environment, LD_PRELOAD: shim }).map(([name, value]) => `${name}=${value}`);
    const flags = ['-db', '-C', '/', ...SOURCES.flatMap((name) => ['-f', name])];
    const child = spawn('unshare', ['-n', '-m', 'sh', '-c', SCRIPT, 'sh', ...variables, binary, ...flags], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, DIRECTORY: directory },
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const server = new ForkServer(directory, child, lines);
    const first = await lines.next();
    if (first.value !== 'ready')
      throw new Error(`${binary} does not come up with fork-server.c: ${String(first.value)}`);
    return server;
  }

  /** The directory that HAProxy and Berth read the cases in. */
  get directory(): string {
    return join(this.#directory, 'case');
  }

  /** Put the files of one case in the place of the last one's. */
  write(files: Readonly<Record<string, Uint8Array>>): void {
    rmSync(this.directory, { recursive: true, force: true });
    mkdirSync(join(this.directory, 'dir'), { recursive: true });
    for (const [name, bytes] of Object.entries({ 'one.cfg': '', 'two.cfg': '', ...files })) {
      mkdirSync(dirname(join(this.directory, name)), { recursive: true });
      writeFileSync(join(this.directory, name), bytes);
    }
  }

  /** Start HAProxy on what {@link write} has written. */
  async listen(): Promise<Listening & { readonly timedOut: boolean }> {
    this.#process.stdin?.write(`${this.directory}\n`);
    const sockets: string[] = [];
    for (;;) {
      const line = await this.#lines.next();
      if (line.done === true) throw new Error('the fork server ended');
      const [kind, ...words] = line.value.split(' ');
      if (kind === 'end') {
        const status = Number(words[0]);
        const output = readFileSync(join(this.#directory, 'output'), 'latin1');
        return { accepted: status === 0, timedOut: status === 128 + 9, output, sockets: sockets.sort() };
      }
      sockets.push(kind === 'unix' ? this.#unix(words[0] ?? '') : inet(words));
    }
  }

  async close(): Promise<void> {
    this.#process.stdin?.end();
    if (this.#process.exitCode === null) await once(this.#process, 'exit');
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** HAProxy binds a path as `P.PID.tmp` and renames, and pads abstract names with NULs. */
  #unix(hex: string): string {
    const name = Buffer.from(hex, 'hex').toString();
    if (name.startsWith('\0')) return `unix @${name.slice(1).replace(/\0+$/, '')}`;
    const path = name.replace(/\0.*$/s, '').replace(/\.\d+\.tmp$/, '');
    return `unix ${path.startsWith('/') ? path : join(this.directory, path)}`;
  }
}

function inet([transport = '', address = '', port, v6only, device, elsewhere]: readonly string[]): string {
  const wildcard = address === '::' && v6only === '1';
  return describeSocket(
    transport,
    address,
    Number(port),
    wildcard,
    device === '-' ? undefined : device,
    elsewhere === '1' ? 'fuzz' : undefined,
  );
}
