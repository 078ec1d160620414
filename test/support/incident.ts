/**
 * The incident's host: listeners on one end of a veth pair, backends reached through it, so that every connection of
 * HAProxy's own has the listeners' address as its source. Here a port can be put under any kind of socket, on purpose.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { openBerth, type Berth } from '../../src/berth.js';
import type { ReloadObserver, ReloadReport } from '../../src/reload/reports.js';
import { Lab, configuration, type ConfigurationOptions } from './haproxy.js';
import { startHolder, type Holder } from './holder.js';

/** Where the listeners are, and the source of HAProxy's own connections. */
export const HOST = '169.254.0.101';
/** Clients and the backend. */
export const PEER = '169.254.0.100';
export const SERVER = 2774;
/** Of the new listener: in the default ephemeral range. */
export const PORT = 58824;

export interface IncidentOptions {
  readonly binary: string;
  /** Listeners of the first generation, from port 20001 on: outside of the ephemeral range. */
  readonly listeners: number;
  readonly settings?: Readonly<Record<string, unknown>>;
}

interface OpenOptions {
  /** Run instead of the binary itself. */
  readonly wrapper?: string;
  readonly observer?: ReloadObserver;
}

export class Incident {
  private constructor(
    readonly lab: Lab,
    readonly binary: string,
    readonly berth: Berth,
    /** `address:port` of the listeners that are there from the start. */
    readonly binds: readonly string[],
    /** A process of somebody else, in the namespace of the listeners. */
    readonly stranger: Holder,
    readonly client: Holder,
    /** Of the backend, which echoes lines and closes after `bye`. */
    readonly backend: number,
  ) {}

  /** It ends with the test. */
  static async open({ binary, listeners, settings = {} }: IncidentOptions): Promise<Incident> {
    const lab = await Lab.open({ peer: true });
    onTestFinished(() => lab.close());
    const berth = await open(lab, binary, settings);
    const [stranger, client, backend] = await Promise.all([
      startHolder(spawner(lab.netns)),
      startHolder(spawner(lab.peerNetns ?? '')),
      lab.startBackend([{ host: PEER, port: SERVER }]),
    ]);
    const binds = Array.from({ length: listeners }, (_, at) => `${HOST}:${20001 + at}`);
    return new Incident(lab, binary, berth, binds, stranger, client, backend.pid);
  }

  get config(): string {
    return this.lab.path('haproxy.cfg');
  }

  get stateDir(): string {
    return this.lab.path('state');
  }

  /** One more Berth on the same state directory, with settings of its own. */
  berthWith(settings: Readonly<Record<string, unknown>>, more: OpenOptions = {}): Promise<Berth> {
    return open(this.lab, this.binary, settings, more);
  }

  /** Write the configuration: the listeners of the start, and these. */
  configure(more: readonly string[] = [], options: ConfigurationOptions = {}): string {
    return this.lab.write(
      'haproxy.cfg',
      configuration([...this.binds, ...more], { server: `${PEER}:${SERVER}`, ...options }),
    );
  }

  reload(more: readonly string[] = [], berth: Berth = this.berth): Promise<ReloadReport> {
    return berth.reload([this.configure(more)]);
  }

  /** While `work` runs, the kernel has one port to give to outgoing connections of the listeners' namespace. */
  async onlyPort<T>(port: number, work: () => Promise<T>): Promise<T> {
    const name = 'net.ipv4.ip_local_port_range';
    const before = (await this.lab.exec('sysctl', ['-n', name])).trim();
    await this.lab.exec('sysctl', ['-qw', `${name}=${port} ${port}`]);
    try {
      return await work();
    } finally {
      await this.lab.exec('sysctl', ['-qw', `${name}=${before}`]);
    }
  }

  /** A client's connection through the first listener, with HAProxy's own connection behind it on `port`; the client's id. */
  async throughHAProxy(port: number, options?: { halfOpen?: boolean }): Promise<number> {
    return this.onlyPort(port, async () => {
      const { id } = await this.client.connect(HOST, Number(this.binds[0]?.split(':')[1]), options);
      // The answer is the proof that HAProxy's side stands too.
      await this.client.echo(id, 'hello\n');
      return id;
    });
  }

  /** A connection of the stranger's from `port` to the backend; its id. */
  async ofStranger(port: number): Promise<number> {
    return this.onlyPort(port, async () => (await this.stranger.connect(PEER, SERVER)).id);
  }

  /** Does a new client get an answer from this listener. */
  async answers(port: number): Promise<boolean> {
    const { id } = await this.client.connect(HOST, port);
    const { text } = await this.client.echo(id, 'who is there\n');
    await this.client.drop(id);
    return text === 'who is there\n';
  }

  /** SIGKILL, and wait until its sockets are closed. */
  async killStranger(): Promise<void> {
    process.kill(this.stranger.pid, 'SIGKILL');
    await this.stranger.exited;
  }

  /**
   * Rows of ss(8) for connections from this local port to the backend: `ESTAB`, `TIME-WAIT`, … The backend's port is named
   * because a client of the listener there has the same two addresses, and its end is seen as CLOSE-WAIT for a moment.
   */
  async states(port: number): Promise<string[]> {
    const rows = await this.lab.exec('ss', ['-tanH', 'dst', `${PEER}:${SERVER}`, 'and', 'sport', '=', `:${port}`]);
    return rows.split('\n').flatMap((row) => (row === '' ? [] : [row.split(/\s+/)[0] ?? '']));
  }

  /** The other side's FIN or ACK is on its way over the veth pair; it comes, or the test ends by its own limit. */
  async untilState(port: number, state: string): Promise<void> {
    for (;;) {
      const states = await this.states(port);
      if (states.length === 1 && states[0] === state) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** What must not have changed after a command that changes nothing: sysctls, sockets, processes, the state directory. */
  async everything(): Promise<Record<string, unknown>> {
    const { lab } = this;
    const sysctl = (name: string) => lab.exec('sysctl', ['-n', `net.ipv4.${name}`]);
    return {
      reserved: await sysctl('ip_local_reserved_ports'),
      range: await sysctl('ip_local_port_range'),
      sockets: (await lab.exec('ss', ['-tuanHe'])).split('\n').map(withoutTimer).sort(),
      files: filesOf(lab.directory).filter(([name]) => !/^state(\/|$)/.test(name)),
      processes: lab.haproxies().map(({ pid, startTicks }) => `${pid} ${startTicks}`),
      // But for the note of how the last reload went, which is what a failed one is to leave.
      state: filesOf(this.stateDir).filter(([name]) => name !== 'attempt.json'),
    };
  }
}

async function open(
  lab: Lab,
  binary: string,
  settings: Readonly<Record<string, unknown>>,
  { wrapper = binary, observer }: OpenOptions = {},
): Promise<Berth> {
  const own = { stateDir: lab.path('state'), netns: lab.netns, haproxy: { binary: wrapper } };
  const berth = await openBerth({ settings: { ...own, ...settings }, environment: {}, ...(observer && { observer }) });
  onTestFinished(() => berth.close());
  return berth;
}

function spawner(netns: string) {
  return {
    spawn: (command: string, ...args: string[]) => spawn('nsenter', [`--net=${netns}`, '--', command, ...args]),
  };
}

function withoutTimer(row: string): string {
  return row.replace(/timer:\(\S*\)/, '').replace(/\s+/g, ' ');
}

/** Every file below a directory with its kind, its inode, its time of change and what is in it. */
function filesOf(root: string): [name: string, what: string][] {
  if (!existsSync(root)) return [];
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const path = join(root, name);
      const found = lstatSync(path);
      const content = found.isFile()
        ? createHash('sha256').update(readFileSync(path)).digest('hex')
        : found.isSymbolicLink()
          ? readlinkSync(path)
          : '';
      // Whoever takes the lock writes its name into it, and removes that again.
      const changed = name === 'lock' ? '' : found.mtimeMs;
      return [name, `${found.mode} ${found.ino} ${changed} ${content}`];
    });
}
