/**
 * lbagent on an incident host, from generation to generation, with any program in haproxy's place: what its clients and
 * its listeners go through, in figures.
 */
import { spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { Lab } from '../haproxy.js';
import { startHolder, type Holder } from '../holder.js';
import type { LoadReport } from '../load.js';
import { selfSigned } from '../listening.js';
import { Lbagent } from './agent.js';
import { Generator, type Listener, type RenderedGeneration } from './generator.js';
import { DirectoryWriter } from './writer.js';

export interface DriveOptions {
  /** lbagent's `haproxy_bin`. */
  readonly haproxyBin: string;
  readonly environment?: (lab: Lab) => NodeJS.ProcessEnv;
  /** After the first one. */
  readonly generations: number;
  readonly seed: number;
  readonly listeners?: number;
  /** Short connections a second. */
  readonly rate?: number;
}

export interface DriveReport {
  readonly generations: number;
  readonly injected: { readonly connections: number; readonly foreign: number };
  /** Calls of the program, and those that ended with anything but 0. */
  readonly calls: number;
  readonly failed: number;
  /** HAProxies that lbagent killed while they served. */
  readonly killed: number;
  /** Clients of listeners that exist before and after. */
  readonly clients: LoadReport;
  /** 100 ms of the run in which a client failed. */
  readonly badMs: number;
  /** Listeners that were not served after their generation's reload, though nobody else held their port. */
  readonly missing: readonly string[];
  /** Likewise at the end, when nobody holds anything. */
  readonly missingAtEnd: readonly string[];
  readonly callMs: { readonly median: number; readonly max: number };
  readonly seconds: number;
  /** What the program said to its last failure. */
  readonly words: string;
}

const HOST = '169.254.0.101';
const PEER = '169.254.0.100';
const SERVER = 2774;
/** Of HAProxies that drain because of a held connection. */
const HELD = 4;

export async function drive(options: DriveOptions): Promise<DriveReport> {
  const lab = await Lab.open({ peer: true });
  const pem = selfSigned();
  try {
    return await new Drive(lab, readFileSync(pem, 'utf8'), options).run();
  } finally {
    await lab.close();
    rmSync(dirname(pem), { recursive: true, force: true });
  }
}

class Drive {
  readonly #lab: Lab;
  readonly #options: DriveOptions;
  readonly #generator: Generator;
  readonly #lbagent: Lbagent;
  #generation: RenderedGeneration;
  /** Ports that a program of somebody else listens on, with its socket. */
  readonly #foreign = new Map<number, number>();
  /** Ports that somebody else had when the generation in use was brought in: nobody's clients expect an answer there yet. */
  #foreignThen = new Set<number>();
  readonly #held: number[] = [];
  readonly #injected = { connections: 0, foreign: 0 };
  readonly #calls: { readonly status: number; readonly ms: number }[] = [];
  readonly #missing: string[] = [];
  #killed = 0;
  #words = '';

  constructor(lab: Lab, pem: string, options: DriveOptions) {
    this.#lab = lab;
    this.#options = options;
    const writer = new DirectoryWriter(lab.path('lbagent'));
    this.#lbagent = new Lbagent(writer, {
      haproxyBin: options.haproxyBin,
      netns: lab.netns,
      environment: { PATH: process.env['PATH'], ...options.environment?.(lab) },
      log: lab.path('call'),
    });
    this.#generator = new Generator({
      seed: options.seed,
      address: HOST,
      server: `${PEER}:${SERVER}`,
      statsSocket: writer.statsSocket,
      clients: `${PEER}/32`,
      pem,
      listeners: options.listeners ?? 40,
      ports: [20_000, 60_999],
    });
    this.#generation = this.#generator.render();
  }

  async run(): Promise<DriveReport> {
    const began = performance.now();
    const lab = this.#lab;
    await lab.exec('sysctl', ['-qw', 'net.ipv4.ip_nonlocal_bind=1']);
    await lab.startBackend([{ host: PEER, port: SERVER }]);
    const [stranger, client] = await Promise.all([holderIn(lab.netns), holderIn(lab.peerNetns ?? '')]);
    await this.#apply();
    const load = await lab.startLoad({ targets: [], rate: this.#options.rate ?? 200 });
    for (let at = 1; at <= this.#options.generations; at += 1) {
      const wanted: number[] = [];
      const kind = this.#generator.pick(6);
      const port = 32_768 + (this.#generator.freePort() % 20_000);
      if (this.#generation.listeners.every((listener) => listener.port !== port)) {
        await load.aim([]);
        if (kind === 0 && (await this.#holdByConnection(client, port))) wanted.push(port);
        if (kind === 1 && (await this.#holdByListener(stranger, port))) wanted.push(port);
      }
      if (kind === 2) await this.#releaseForeign(stranger);
      if (this.#held.length > HELD || kind === 3) await this.#releaseOldest(client);
      const before = this.#generation.listeners;
      this.#generation = this.#generator.next(wanted);
      await load.aim(this.#kept(before));
      await this.#apply();
      this.#missing.push(...this.#notServed().map((name) => `generation ${at}: ${name}`));
    }
    await load.aim([]);
    while (this.#foreign.size > 0) await this.#releaseForeign(stranger);
    while (this.#held.length > 0) await this.#releaseOldest(client);
    const before = this.#generation.listeners;
    this.#generation = this.#generator.next();
    await load.aim(this.#kept(before));
    await this.#apply();
    const clients = await load.stop();
    return this.#report(clients, (performance.now() - began) / 1000);
  }

  async #apply(): Promise<void> {
    this.#lbagent.writer.write(this.#generation.files);
    this.#foreignThen = new Set(this.#foreign.keys());
    const { calls, killed } = await this.#lbagent.reloadHaproxy();
    this.#calls.push(...calls);
    this.#words = calls.findLast(({ status }) => status !== 0)?.stderr ?? this.#words;
    if (killed !== undefined) this.#killed += 1;
  }

  /** The incident: the kernel gives a connection of HAProxy's own a port that becomes a listener's. False where HAProxy is down. */
  async #holdByConnection(client: Holder, port: number): Promise<boolean> {
    const through = this.#generation.listeners.find(({ mode, port: at }) => mode === 'tcp' && !this.#foreign.has(at));
    if (!through) return false;
    const name = 'net.ipv4.ip_local_port_range';
    const before = (await this.#lab.exec('sysctl', ['-n', name])).trim();
    await this.#lab.exec('sysctl', ['-qw', `${name}=${port} ${port}`]);
    try {
      const { id } = await client.connect(HOST, through.port);
      // The answer is the proof that HAProxy's side stands, too.
      await client.echo(id, 'hello\n');
      this.#held.push(id);
      this.#injected.connections += 1;
      return true;
    } catch {
      return false;
    } finally {
      await this.#lab.exec('sysctl', ['-qw', `${name}=${before}`]);
    }
  }

  async #holdByListener(stranger: Holder, port: number): Promise<boolean> {
    try {
      const { id } = await stranger.listen(HOST, port);
      this.#foreign.set(port, id);
      this.#injected.foreign += 1;
      return true;
    } catch {
      return false;
    }
  }

  async #releaseForeign(stranger: Holder): Promise<void> {
    const [oldest] = this.#foreign;
    if (!oldest) return;
    this.#foreign.delete(oldest[0]);
    await stranger.close(oldest[1]);
  }

  async #releaseOldest(client: Holder): Promise<void> {
    const oldest = this.#held.shift();
    if (oldest !== undefined) await client.drop(oldest);
  }

  /** Targets for clients: what was a listener before and is one now, on the same port; the statistics page always is. */
  #kept(before: readonly Listener[]): string[] {
    const now = new Map(this.#generation.listeners.map(({ port, mode }) => [port, mode]));
    const kept = before.filter(
      ({ port, mode }) => now.get(port) === mode && !this.#foreign.has(port) && !this.#foreignThen.has(port),
    );
    return [`${HOST}:778`, ...kept.map(({ port, mode }) => `${HOST}:${port}${mode === 'https' ? '/connect' : ''}`)];
  }

  #notServed(): string[] {
    const listening = this.#lab.listeners();
    const wanted = this.#generation.listeners.map(({ port }) => port).filter((port) => !this.#foreign.has(port));
    const names = [...new Set(wanted)].map((port) => `${HOST}:${port}`);
    return [...names, '0.0.0.0:778'].filter((name) => !listening.has(name));
  }

  #report(clients: LoadReport, seconds: number): DriveReport {
    const times = this.#calls.map(({ ms }) => ms).sort((one, other) => one - other);
    return {
      generations: this.#options.generations,
      injected: this.#injected,
      calls: this.#calls.length,
      failed: this.#calls.filter(({ status }) => status !== 0).length,
      killed: this.#killed,
      clients,
      badMs: clients.timeline.filter(({ failed }) => failed > 0).length * 100,
      missing: this.#missing,
      missingAtEnd: this.#notServed(),
      callMs: { median: times[times.length >> 1] ?? 0, max: times.at(-1) ?? 0 },
      seconds,
      words: this.#words,
    };
  }
}

function holderIn(netns: string): Promise<Holder> {
  return startHolder({
    spawn: (command, ...args) => spawn('nsenter', [`--net=${netns}`, '--', command, ...args]),
  });
}
