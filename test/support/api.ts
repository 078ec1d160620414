/** An agent that answers with samples and does nothing, and a server in front of it: what the tests of the API work with. */
import { mkdtempSync, rmSync } from 'node:fs';
import { request, type IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Agent, AgentEvent, Instance, InstanceState, ReloadDemand } from '../../src/agent/contract.js';
import { startServer, type Peer, type Server, type ServerOptions } from '../../src/agent/server/server.js';
import type { Berth } from '../../src/berth.js';
import { loadSettings, type Settings } from '../../src/settings.js';
import * as sample from '../unit/cli-samples.js';

export const SOURCE = '/srv/haproxy';

export const state: InstanceState = {
  phase: 'idle',
  generation: 42,
  haproxy: { pid: 3244000, startedAt: '2026-08-07T14:02:00.000Z' },
  listeners: { served: 2001, missing: 0, quarantined: 0 },
  keeper: { enabled: true, held: 2001, restarts: 0 },
  reservations: { ours: '58824', foreign: '40000', share: 0.0001, reasserted: 0 },
  oldProcesses: [],
  problems: [],
};

export class FakeAgent implements Agent {
  readonly version = '0.1.0';
  readonly startedAt = '2026-08-07T14:00:00.000Z';
  readonly instances = new Map<string, Instance>();
  readonly listeners = new Set<(event: AgentEvent) => void>();
  logLevel = 'info';
  live = true;
  /** What was asked of it, in order: `reload`, its demand. */
  readonly asked: (readonly [string, unknown])[] = [];
  /** How a reload goes. */
  reloading: (demand: ReloadDemand) => Promise<unknown> = () => Promise.resolve(sample.reload);

  constructor(names: readonly string[] = ['default'], berth: Partial<Berth> = {}) {
    for (const name of names) this.instances.set(name, this.#instance(name, berth));
  }

  subscribe(listener: (event: AgentEvent) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  emit(event: AgentEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  health() {
    return {
      live: this.live,
      ready: false,
      instances: { default: { phase: 'idle' as const, stale: false, problems: [] } },
    };
  }

  setLogLevel(level: Settings['agent']['logLevel']): void {
    this.logLevel = level;
  }

  handOver(): Promise<readonly { readonly name: string; readonly socket: string }[]> {
    this.asked.push(['handOver', undefined]);
    return Promise.resolve([]);
  }

  reloadSettings(): Promise<void> {
    this.asked.push(['reloadSettings', undefined]);
    return Promise.resolve();
  }

  #instance(name: string, over: Partial<Berth>): Instance {
    const settings = loadSettings({
      flags: { stateDir: `/var/lib/berth/${name}`, sources: [SOURCE], haproxy: { pidFile: `/run/${name}.pid` } },
    });
    const note =
      <T>(what: string, value: T) =>
      (...words: readonly unknown[]): Promise<T> => {
        this.asked.push([what, words]);
        return Promise.resolve(value);
      };
    const reserve = { ...sample.reservations, added: '58824', removed: '' };
    const berth = sample.sampleBerth({
      preflight: note('preflight', sample.preflight),
      plan: note('plan', sample.plan),
      diff: note('diff', sample.diff),
      doctor: note('doctor', sample.doctor),
      listeners: note('listeners', {
        generation: 42,
        total: 1,
        listeners: [{ name: '0.0.0.0:80/tcp', section: 'listen web', state: 'served' as const, inode: 5 }],
      }),
      conflicts: note('conflicts', { listeners: [sample.foreign] }),
      processes: note('processes', {
        processes: [
          {
            pid: 3244000,
            startTicks: '4711',
            role: 'serving' as const,
            startedAt: '2026-08-07T14:02:00.000Z',
            connections: 7,
            ports: '80',
          },
        ],
      }),
      ...over,
    });
    return {
      name,
      settings,
      berth,
      state,
      reload: (demand) => {
        this.asked.push(['reload', demand]);
        return this.reloading(demand) as ReturnType<Instance['reload']>;
      },
      rollback: note('rollback', sample.reload),
      reserve: note('reserve', reserve),
      release: note('release', { ...reserve, added: '', removed: '58824' }),
      stop: note('stop', { pid: 7, how: 'soft' as const, ended: false, connections: 3 }),
      reconcile: note('reconcile', undefined),
    };
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly body: unknown;
}

export interface Api {
  readonly agent: FakeAgent;
  readonly socket: string;
  readonly server: Server;
  readonly warnings: string[];
  /** Who the next connection comes from. */
  peer: Peer;
  ask(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  close(): Promise<void>;
}

export const ROOT: Peer = { pid: 1, uid: 0, gid: 0, groups: [0] };
/** Group 0 is root's everywhere; tests that need a group name take it. */
export const MEMBER: Peer = { pid: 2, uid: 1000, gid: 1000, groups: [1000, 0] };
export const OTHER: Peer = { pid: 3, uid: 1001, gid: 1001, groups: [1001] };

export async function openApi(
  agent = new FakeAgent(),
  settings: Partial<Settings['agent']> = {},
  over: Partial<ServerOptions> = {},
): Promise<Api> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-api-'));
  const socket = settings.socket ?? join(directory, 'berth.sock');
  const warnings: string[] = [];
  const api = { agent, socket, warnings, peer: ROOT } as { -readonly [key in keyof Api]: Api[key] };
  api.server = await startServer(agent, {
    settings: { ...loadSettings().agent, group: 'root', ...settings, socket },
    peerOf: () => api.peer,
    warn: (text) => void warnings.push(text),
    heartbeatMs: 50,
    ...over,
  });
  api.ask = (method, path, body, headers = {}) => askSocket({ socketPath: socket }, method, path, body, headers);
  api.close = async () => {
    await api.server.close();
    rmSync(directory, { recursive: true, force: true });
  };
  return api;
}

export function askSocket(
  to: { socketPath: string } | { host: string; port: number },
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const type = text === undefined ? {} : { 'content-type': 'application/json' };
    const sent = request({ ...to, method, path, agent: false, headers: { ...type, ...headers } }, (response) => {
      let all = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (all += chunk));
      response
        .on('error', reject)
        .on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text: all, body: parsed(all) }),
        );
    });
    sent.on('error', reject).end(text);
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
