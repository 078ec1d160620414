/** Real HAProxy for tests: every binary there is, and a private piece of network to run it in. */
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { chmod, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { openHAProxy, type HAProxyOptions, type OpenHAProxy } from '../../src/haproxy/haproxy.js';
import { isDead, isHAProxy, type ProcessTable } from '../../src/haproxy/context.js';
import type { HAProxyCommand, ProcessInfo } from '../../src/reload/env.js';
import { startBackend, startLoad, type Backend, type Load, type LoadOptions } from './load.js';
import { listeningIn, namespaceInode, processesIn, processTable, readProcess, sendSignal } from './process-table.js';

export interface HAProxyBinary {
  /** `2.6` */
  readonly version: string;
  readonly path: string;
}

const cache = fileURLToPath(new URL('../../.cache/haproxy/', import.meta.url));

/**
 * The haproxy in PATH and those that scripts/haproxy-versions has fetched, oldest first. BERTH_HAPROXY selects: `all`
 * (the default), or a list such as `2.6,3.2`, where a version that is missing is an error.
 */
export function haproxyBinaries(): HAProxyBinary[] {
  const found = new Map<string, string>();
  for (const version of existsSync(cache) ? readdirSync(cache) : []) {
    const path = join(cache, version, 'usr/sbin/haproxy');
    if (/^\d+\.\d+$/.test(version) && existsSync(path)) found.set(version, path);
  }
  for (const directory of (process.env['PATH'] ?? '').split(':')) {
    const path = join(directory, 'haproxy');
    if (!existsSync(path)) continue;
    const version = /version (\d+\.\d+)/.exec(execFileSync(path, ['-v'], { encoding: 'utf8' }))?.[1];
    if (version !== undefined) found.set(version, path);
    break;
  }
  const selected = process.env['BERTH_HAPROXY'] ?? 'all';
  const wanted = selected === 'all' ? [...found.keys()] : selected.split(/[,\s]+/).filter(Boolean);
  const missing = wanted.filter((version) => !found.has(version));
  if (missing.length > 0) throw new Error(`BERTH_HAPROXY asks for ${missing.join(', ')}: run scripts/haproxy-versions`);
  return wanted
    .map((version) => ({ version, path: found.get(version) ?? '' }))
    .sort((one, other) => Number(one.version) - Number(other.version));
}

/** Why tests with real HAProxy cannot run here; undefined where they can. Prints it; BERTH_MUST_RUN=1 makes it an error. */
export function cannotRun(): string | undefined {
  const why = reasonNotToRun();
  if (why === undefined) return undefined;
  if (process.env['BERTH_MUST_RUN'] === '1') throw new Error(`BERTH_MUST_RUN: ${why}`);
  console.log(`skipped: ${why}`);
  return why;
}

function reasonNotToRun(): string | undefined {
  try {
    execFileSync('unshare', ['--net', 'true'], { stdio: 'ignore' });
  } catch {
    return 'network namespaces cannot be made here (root or CAP_SYS_ADMIN is needed)';
  }
  return haproxyBinaries().length === 0 ? 'no haproxy in PATH or in .cache/haproxy' : undefined;
}

export interface LabOptions {
  /** Addresses on lo besides 127.0.0.1 and ::1. */
  readonly addresses?: readonly string[];
  /**
   * A second namespace for clients and backends, joined by a veth pair: this side has 169.254.0.101/24, that side
   * 169.254.0.100/24, as on an lbagent host.
   */
  readonly peer?: boolean;
}

/** A private network namespace, a private directory, and everything that was started in them. */
export class Lab {
  /** /proc/PID/ns/net of the namespace's keeper. */
  readonly netns: string;
  readonly peerNetns: string | undefined;
  readonly directory: string;
  readonly kernel: ProcessTable;
  readonly #keepers: ChildProcess[];

  private constructor(keepers: ChildProcess[]) {
    const [own, peer] = keepers.map(({ pid }) => `/proc/${pid ?? 0}/ns/net`);
    this.netns = own ?? '';
    this.peerNetns = peer;
    // Unix sockets must fit into 107 bytes: a short path.
    this.directory = mkdtempSync(join(tmpdir(), 'berth-'));
    this.kernel = processTable(keepers[0]?.pid ?? 0);
    this.#keepers = keepers;
  }

  static async open({ addresses = [], peer = false }: LabOptions = {}): Promise<Lab> {
    const lab = new Lab(await Promise.all(peer ? [keepNamespace(), keepNamespace()] : [keepNamespace()]));
    // HAProxy may give up root for another user: it must still reach its sockets.
    await chmod(lab.directory, 0o755);
    for (const address of addresses) {
      await lab.exec('ip', ['addr', 'add', address.includes(':') ? `${address}/128` : `${address}/32`, 'dev', 'lo']);
    }
    if (peer) await lab.#joinPeer();
    return lab;
  }

  async #joinPeer(): Promise<void> {
    const there = String(this.#keepers[1]?.pid);
    await this.exec('ip', ['link', 'add', 'berth0', 'type', 'veth', 'peer', 'name', 'berth1', 'netns', there]);
    await this.exec('ip', ['addr', 'add', '169.254.0.101/24', 'dev', 'berth0']);
    await this.exec('ip', ['link', 'set', 'berth0', 'up']);
    await this.execPeer('ip', ['addr', 'add', '169.254.0.100/24', 'dev', 'berth1']);
    await this.execPeer('ip', ['link', 'set', 'berth1', 'up']);
  }

  /** Standard output of a command in the namespace. */
  exec(command: string, args: readonly string[]): Promise<string> {
    return inNamespace(this.netns, command, args);
  }

  execPeer(command: string, args: readonly string[]): Promise<string> {
    return inNamespace(this.peerNetns ?? this.netns, command, args);
  }

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  /** Write a file of the lab's directory; its absolute path. */
  write(name: string, text: string): string {
    writeFileSync(this.path(name), text);
    return this.path(name);
  }

  haproxy(options: Partial<HAProxyOptions> = {}): OpenHAProxy {
    return openHAProxy({ netns: this.netns, kernel: this.kernel, signal: sendSignal, ...options });
  }

  command(files: readonly string[], extraArguments: readonly string[] = []): HAProxyCommand {
    return { files, workingDirectory: this.directory, extraArguments };
  }

  startLoad(options: LoadOptions): Promise<Load> {
    return startLoad(this.peerNetns ?? this.netns, options);
  }

  startBackend(listen: readonly { readonly host: string; readonly port: number }[], name?: string): Promise<Backend> {
    return startBackend(this.peerNetns ?? this.netns, { listen, ...(name !== undefined && { name }) });
  }

  /** `address:port` → inodes of all IPv4 TCP sockets in LISTEN. */
  listeners(): Map<string, number[]> {
    const found = new Map<string, number[]>();
    for (const { family, localAddress, localPort, inode } of listeningIn(this.#keepers[0]?.pid ?? 0)) {
      const name = `${localAddress}:${localPort}`;
      if (family === 4) found.set(name, [...(found.get(name) ?? []), inode]);
    }
    return found;
  }

  /** Every HAProxy in the namespace that is not a zombie. */
  haproxies(): ProcessInfo[] {
    return processesIn(namespaceInode(this.netns) ?? 0).flatMap((pid) => {
      const found = readProcess(pid);
      return isHAProxy(found) ? [found] : [];
    });
  }

  /** End every process in the namespaces, whoever started it, and remove the directory. */
  async close(): Promise<void> {
    const own = new Set(this.#keepers.map(({ pid }) => pid));
    for (const path of [this.netns, this.peerNetns]) {
      const inode = path === undefined ? undefined : namespaceInode(path);
      for (let strays = [0]; inode !== undefined && strays.length > 0;) {
        strays = processesIn(inode).filter((pid) => !own.has(pid) && !isDead(readProcess(pid)));
        for (const pid of strays) killQuietly(pid);
        if (strays.length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
    for (const keeper of this.#keepers) keeper.kill('SIGKILL');
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** A process that does nothing but keep a namespace, with lo up; it ends with this one, by the end of its input. */
function keepNamespace(): Promise<ChildProcess> {
  const keeper = spawn('unshare', ['--net', '--', 'sh', '-c', 'ip link set lo up && echo up && exec cat >/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  return new Promise((resolve, reject) => {
    keeper.stdout.once('data', () => resolve(keeper));
    keeper.once('exit', () => reject(new Error('a network namespace could not be made')));
    keeper.once('error', reject);
  });
}

async function inNamespace(netns: string, command: string, args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)('nsenter', [`--net=${netns}`, '--', command, ...args], {
    maxBuffer: 64 << 20,
  });
  return stdout;
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    return;
  }
}

export interface ConfigurationOptions {
  /** Lines of `global`. */
  readonly global?: readonly string[];
  readonly defaults?: readonly string[];
  /** What every listener forwards to. */
  readonly server?: string;
  /** Further sections, their name first. */
  readonly sections?: readonly (readonly string[])[];
}

/** A configuration with one TCP `listen` section per address; `lbN` by its place in the list, as lbagent writes it. */
export function configuration(binds: readonly string[], options: ConfigurationOptions = {}): string {
  const { global = [], defaults = [], server = '127.0.0.1:9000', sections: more = [] } = options;
  const base = ['mode tcp', 'timeout connect 10s', 'timeout client 60s', 'timeout server 60s', ...defaults];
  const sections = [
    ['global', 'maxconn 4000', ...global],
    ['defaults', ...base],
    ...binds.map((bind, at) => [`listen lb${at}`, `bind ${bind}`, `server s ${server}`]),
    ...more,
  ];
  return `${sections.map((lines) => lines.join('\n  ')).join('\n')}\n`;
}

/** The directory of the repository, for tests that run its scripts. */
export const repository = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
