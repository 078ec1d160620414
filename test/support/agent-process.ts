/** `berth agent` as a process of its own, as it runs on a host: its memory and its descriptors are nobody else's. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectAgent, type AgentClient } from '../../src/client/client.js';
import { repository, type Lab } from './haproxy.js';

/** What the agent has at a moment. */
export interface AgentMeasure {
  /** V8's heap after a full collection, bytes. */
  readonly heap: number;
  /** Anonymous of smaps_rollup (proc(5)), bytes: V8's heap and malloc's. What is mapped of files does not grow. */
  readonly memory: number;
  /** Less the listening sockets that the keeper holds. */
  readonly descriptors: number;
  /** Of these, pidfd_open(2). */
  readonly pidfds: number;
  readonly threads: number;
  /** Processor time of all its threads so far, milliseconds. */
  readonly cpuMs: number;
}

export interface AgentProcess {
  readonly pid: number;
  readonly client: AgentClient;
  measure(): Promise<AgentMeasure>;
  /** The end of what it has logged. */
  log(): string;
  /** Ends its HAProxy and itself. */
  stop(): Promise<void>;
}

/** For three times 19000 listeners, where the limit may be raised; else as high as it goes. */
export const RAISE_LIMIT = 'ulimit -n 131072 2>/dev/null || ulimit -n "$(ulimit -Hn)"';

/**
 * @param settings over the state directory, namespace, pid file and sockets, which are the lab's
 * @throws where dist/ is missing
 */
export async function startAgentProcess(
  lab: Lab,
  binary: string,
  settings: Readonly<Record<string, unknown>> = {},
): Promise<AgentProcess> {
  const main = join(repository, 'dist/cli/main.js');
  if (!existsSync(main)) throw new Error('dist is missing: npm run build');
  const { haproxy = {}, ...more } = settings as Record<string, Record<string, unknown> | undefined>;
  const socket = lab.path('agent.sock');
  const file = lab.write(
    'berth.yaml',
    // YAML has JSON in it.
    JSON.stringify({
      stateDir: lab.path('state'),
      netns: lab.netns,
      haproxy: { binary, pidFile: lab.path('haproxy.pid'), ...haproxy },
      agent: { socket },
      ...more,
    }),
  );
  const heapFile = lab.path('heap');
  const log = openSync(lab.path('agent.log'), 'a');
  const words = ['--expose-gc', '--import', heapOnDemand(heapFile), main, 'agent', '--settings', file];
  const child = spawn('sh', ['-c', `${RAISE_LIMIT}; exec "$0" "$@"`, process.execPath, ...words], {
    stdio: ['ignore', 'ignore', log],
    env: { PATH: process.env['PATH'] },
  });
  closeSync(log);
  const said = () => readFileSync(lab.path('agent.log'), 'utf8').slice(-4000);
  const client = await connected(child, socket, said);
  // The shell execs: the pid is the agent's own.
  const pid = child.pid ?? 0;
  return {
    pid,
    client,
    log: said,
    measure: async () => {
      rmSync(heapFile, { force: true });
      process.kill(pid, 'SIGPWR');
      while (!existsSync(heapFile)) await sleep(10);
      const { instances } = await client.instances();
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
      const links = await fewestOpen(pid);
      return {
        heap: (JSON.parse(readFileSync(heapFile, 'utf8')) as NodeJS.MemoryUsage).heapUsed,
        memory: Number(/^Anonymous:\s+(\d+) kB/m.exec(rollup)?.[1]) * 1024,
        descriptors: links.length - (instances[0]?.state.keeper.held ?? 0),
        pidfds: links.filter((link) => link.includes('pidfd')).length,
        threads: readdirSync(`/proc/${pid}/task`).length,
        cpuMs: cpuOf(pid),
      };
    },
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      await client.stop({ hard: true }).catch(() => undefined);
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

async function connected(child: ChildProcess, socket: string, said: () => string): Promise<AgentClient> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`the agent ended: ${said()}`);
    const client = existsSync(socket) ? await connectAgent({ socket }) : undefined;
    if (client !== undefined) return client;
    await sleep(50);
  }
}

/** A module that answers SIGPWR, which the agent has no use for, with what V8 uses after a full collection, in a file that appears whole. */
function heapOnDemand(file: string): string {
  const code = `
    import { renameSync, writeFileSync } from 'node:fs';
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    process.on('SIGPWR', async () => {
      for (let i = 0; i < 3; i++) { gc(); await turn(); }
      writeFileSync('${file}.new', JSON.stringify(process.memoryUsage()));
      renameSync('${file}.new', '${file}');
    });`;
  return `data:text/javascript,${encodeURIComponent(code)}`;
}

/** User and system time of proc_pid_stat(5), in ticks of 10 ms. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /, '')
    .split(' ');
  return 10 * (Number(fields[11]) + Number(fields[12]));
}

/** What it has open for a moment, the connection of a question or a directory, is not in all of the looks. */
async function fewestOpen(pid: number): Promise<readonly string[]> {
  let fewest: readonly string[] | undefined;
  for (let look = 0; look < 10; look++) {
    const links = readdirSync(`/proc/${pid}/fd`).flatMap((fd) => linkOf(`/proc/${pid}/fd/${fd}`));
    if (links.length < (fewest?.length ?? Infinity)) fewest = links;
    await sleep(20);
  }
  return fewest ?? [];
}

function linkOf(path: string): string[] {
  try {
    return [readlinkSync(path)];
  } catch {
    // Closed meanwhile.
    return [];
  }
}
