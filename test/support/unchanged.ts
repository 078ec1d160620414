/** What a refused or failed reload must leave as it found it. */
import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { expect } from 'vitest';
import { isDead } from '../../src/haproxy/context.js';
import type { Lab } from './haproxy.js';
import type { Load, LoadReport } from './load.js';
import { namespaceInode, processesIn, readProcess } from './process-table.js';

/** Reserved ports, every listening socket by inode, every HAProxy, and what of Berth's files says who serves. */
export async function serving(lab: Lab, stateDir = lab.path('state')): Promise<Record<string, unknown>> {
  const run = `${stateDir}/run`;
  const rows = await lab.exec('ss', ['-tulnHe']);
  return {
    reserved: await lab.exec('sysctl', ['-n', 'net.ipv4.ip_local_reserved_ports']),
    // The queue of connections that wait to be accepted is the clients' doing.
    sockets: rows.split('\n').map(withoutQueues).sort(),
    processes: commandsIn(lab),
    current: existsSync(`${stateDir}/current`) ? readlinkSync(`${stateDir}/current`) : '',
    ledger: textOf(`${stateDir}/ledger.json`),
    remembered: textOf(`${stateDir}/serving.json`),
    pidFile: textOf(`${run}/haproxy.pid`),
    run: existsSync(run) ? readdirSync(run).sort() : [],
    temporary: existsSync(stateDir) ? readdirSync(stateDir, { recursive: true, encoding: 'utf8' }).filter(isAside) : [],
  };
}

/** The names of all generations on disk. */
export function generations(lab: Lab): string[] {
  const directory = lab.path('state', 'generations');
  return existsSync(directory) ? readdirSync(directory).sort() : [];
}

/**
 * Every living process of the namespace: one that a failed start left behind is seen whatever it is. Not by its arguments: a
 * master that tried to reload has new ones.
 */
function commandsIn(lab: Lab): string[] {
  return processesIn(namespaceInode(lab.netns) ?? 0).flatMap((pid) => {
    const found = readProcess(pid);
    return found === undefined || isDead(found) ? [] : [`${pid} ${found.startTicks} ${found.comm}`];
  });
}

const withoutQueues = (row: string): string => row.replace(/\s+/g, ' ').replace(/^(\S+ \S+) \d+ (\d+)/, '$1 $2');
const isAside = (path: string): boolean => /\.(new|berth|staging|removing)$|\/\.haproxy-output-/.test(path);
const textOf = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '');

/** Looks all the while at the kernel's table: how often one of these was not in LISTEN. */
export function watchListening(lab: Lab, addresses: readonly string[]): () => { looks: number; missed: string[] } {
  const missed: string[] = [];
  let looks = 0;
  const timer = setInterval(() => {
    const listening = lab.listeners();
    looks += 1;
    missed.push(...addresses.filter((address) => !listening.has(address)));
  }, 20);
  return () => {
    clearInterval(timer);
    return { looks, missed };
  };
}

/** No client was refused, reset, cut or kept waiting, and some were served. */
export async function expectNobodyNoticed(load: Load): Promise<LoadReport> {
  const seen = await load.stop();
  const { refused, reset, eof, hung, held } = seen;
  expect({ refused, reset, eof, hung, cut: held.cut }).toEqual({ refused: 0, reset: 0, eof: 0, hung: 0, cut: 0 });
  expect(seen.ok).toBeGreaterThan(0);
  return seen;
}
