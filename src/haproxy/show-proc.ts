/** `show proc` of the master CLI (HAProxy src/mworker.c cli_io_handler_show_proc), in the layouts of 2.2 to 3.2. */
import { ask, silent, socketError, type AskOptions } from './cli.js';

export interface ProcRow {
  readonly pid: number;
  /** Reloads since this process was started; the master's counts every reload, failed ones too. */
  readonly reloads: number;
  readonly version: string;
}

export interface ProcTable {
  /** `failed`: failed reloads since the last good one; 2.2 and 2.3 do not tell. */
  readonly master: ProcRow & { readonly failed?: number };
  /** The workers that serve: one, or none after some failed reloads. */
  readonly workers: readonly ProcRow[];
  /** Workers of earlier reloads; after a failed reload of 2.2 and 3.1+ also the one that still serves. */
  readonly oldWorkers: readonly ProcRow[];
}

/** Of an answer: some ten thousand processes. */
const MOST_BYTES = 1 << 20;

/** undefined: the text is not an answer to `show proc`. */
export function parseShowProc(answer: string): ProcTable | undefined {
  if (!answer.trimStart().startsWith('#<PID>')) return undefined;
  let master: ProcTable['master'] | undefined;
  const workers: ProcRow[] = [];
  const oldWorkers: ProcRow[] = [];
  let section = workers;
  for (const line of answer.split('\n')) {
    if (line.startsWith('# old workers')) section = oldWorkers;
    const row = parseRow(line);
    if (row?.type === 'master') master = row;
    else if (row?.type === 'worker') section.push(row);
  }
  return master && { master, workers, oldWorkers };
}

/** In characters, far above any; what is longer is not a master's, and costs more than it tells. */
const LONGEST_ROW = 1000;

/**
 * `PID type [relative-pid] reloads [failed: N] uptime version`. The relative pid (2.2 and 2.3) is a number or
 * `[was: N]`; so the last bare number before the uptime counts the reloads.
 */
function parseRow(line: string): (ProcTable['master'] & { readonly type: string }) | undefined {
  if (line.length > LONGEST_ROW) return undefined;
  // Field by field: one expression for the row takes cubic time, a second for a thousand blanks.
  const [pid = '', type = '', ...rest] = line.split(/\s+/);
  const uptime = rest.findIndex((field) => /^\d+d\d+h\d+m\d+s$/.test(field));
  const version = rest[uptime + 1] ?? '';
  if (!/^\d{1,10}$/.test(pid) || !/^\w+$/.test(type) || uptime < 0 || version === '') return undefined;
  const counters = rest.slice(0, uptime).join(' ');
  const failed = /\[failed: (\d{1,10})\]/.exec(counters)?.[1];
  const reloads = counters
    .replaceAll(/\[.*?\]/g, ' ')
    .trim()
    .split(/\s+/)
    .at(-1);
  if (reloads === undefined || !/^\d{1,10}$/.test(reloads)) return undefined;
  return {
    pid: Number(pid),
    type,
    reloads: Number(reloads),
    version,
    ...(failed !== undefined && { failed: Number(failed) }),
  };
}

/** @throws BERTH_HAPROXY_SOCKET where the socket is dead or not a HAProxy master's. */
export async function showProc(path: string, options: AskOptions): Promise<ProcTable> {
  const answer = await ask(path, 'show proc', { ...options, untilEmptyLine: true, mostBytes: MOST_BYTES });
  const table = parseShowProc(answer);
  if (table) return table;
  if (answer === '') throw silent(path, 'closed without an answer to "show proc"');
  const stats = answer.startsWith('Unknown command') ? ': it is a stats socket, not the one given with -S' : '';
  throw socketError(
    path,
    `is not a HAProxy master's${stats}: to "show proc" it answered "${answer.slice(0, 80).replaceAll(/\s+/g, ' ')}"`,
  );
}

/**
 * True where the master would start the next worker without handing over the sockets, because it has lost sight of the
 * serving worker: 3.1 and later after any failed reload, 2.2 and 2.3 after a refused configuration (after a failed bind
 * they show the same and do hand over, so there it is a maybe). The worker after that gets them again.
 */
export function handoffLost(table: ProcTable): boolean {
  return table.workers.length === 0 && table.oldWorkers.length > 0;
}
