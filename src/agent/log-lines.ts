/** What each event says in the log: its level, one sentence for people, and stable fields for machines. */
import type { SocketOwner } from '../model/socket.js';
import type { ProcessReport, ReloadEvent, ReloadReport } from '../reload/reports.js';
import type { AgentEvent } from './contract.js';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

export interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** @returns one line; `event` and `instance` are added by the one who writes it. */
export function lineOf(event: AgentEvent): LogLine {
  switch (event.type) {
    case 'source-changed':
      return line('info', `changed: ${some(event.paths)}`, { paths: event.paths.slice(0, NAMES) });
    case 'reload-begun':
      return line('info', `reload: ${event.reason}`, { reason: event.reason });
    case 'reload-progress':
      return progressLine(event.event);
    case 'reload-ended':
      return reloadLine(event.reason, event.ms, event.report);
    case 'reload-unchanged':
      return line('debug', `nothing to reload: ${event.reason}`, { reason: event.reason });
    case 'reload-failed': {
      const { reason, ms, error } = event;
      return line('error', `reload failed, what served goes on serving: ${text(error)}`, { reason, ms, error });
    }
    case 'haproxy-died': {
      const { pid, how, deliberate } = event;
      const fields = { pid, how, deliberate };
      return deliberate
        ? line('info', `HAProxy ${pid} ended on purpose: ${how}`, fields)
        : line('error', `HAProxy ${pid} died: ${how}`, fields);
    }
    case 'haproxy-restarted': {
      const { generation, pid, listeners, sameSocket, ms, warnings } = event.report;
      return line('warn', `HAProxy restarted as ${pid}: ${sameSocket} of ${listeners} listeners never closed`, {
        ...{ generation, pid, listeners, sameSocket, ms, warnings },
      });
    }
    case 'restart-failed': {
      const { error, nextInMs } = event;
      const next = nextInMs === undefined ? 'no further try' : `next try in ${nextInMs} ms`;
      return line('error', `HAProxy cannot be restarted, ${next}: ${text(error)}`, { error, nextInMs });
    }
    case 'haproxy-stopped': {
      const { pid, how, ended, connections } = event.report;
      const left = ended ? '' : `, ${connections} connections left`;
      return line('info', `HAProxy ${pid ?? ''} stopped (${how})${left}`, { pid, how, ended, connections });
    }
    case 'listeners-repaired':
      return line('warn', `listeners had vanished, repaired by ${event.how}: ${some(event.names)}`, {
        how: event.how,
        ...listed(event.names),
      });
    case 'quarantine-freed':
      return line('info', `out of quarantine: ${some(event.names)}`, listed(event.names));
    case 'reservations-reasserted':
      return line('warn', `reservations were overwritten by somebody and put back: ${event.ports}`, {
        ports: event.ports,
      });
    case 'old-process-warned':
      return line('warn', `old HAProxy ${who(event.process)}: ${event.why}`, touching(event.process, event.why));
    case 'old-process-ended':
      return line('warn', `ended old HAProxy ${who(event.process)}: ${event.why}`, touching(event.process, event.why));
    case 'stray-found':
      return line('warn', `a HAProxy that no generation knows: ${who(event.process)}`, touching(event.process));
    case 'recovered':
      return line('warn', `recovered from ${event.found}`, { found: event.found, done: event.done });
    case 'settings-read':
      return line('info', event.changed.length === 0 ? 'settings read' : `settings changed: ${some(event.changed)}`, {
        changed: event.changed,
      });
    case 'settings-refused':
      return line('error', `settings refused, the old ones stay: ${text(event.error)}`, { error: event.error });
    case 'warning':
      return line('warn', event.text);
  }
}

/** The steps of a reload; who was touched by sharing or destroying is named, with process, command and unit. */
function progressLine(event: ReloadEvent): LogLine {
  switch (event.type) {
    case 'phase': {
      const { name, state, ms } = event;
      return line('debug', state === 'begin' ? `${name}…` : `${name} done`, { phase: name, state, ms });
    }
    case 'secured': {
      const { name, action, cause, owners, sentence } = event.listener;
      const touches = action === 'share' || action === 'destroy';
      const fields = { listener: name, action, cause, ...(touches ? { touched: owners.map(ownerOf) } : {}) };
      return line(touches ? 'warn' : action === 'guard' ? 'trace' : 'info', sentence, fields);
    }
    case 'quarantined': {
      const { name, section, place, verdict, sentence } = event.listener;
      return line('warn', `left out: ${sentence}`, { listener: name, section, place, cause: verdict.kind });
    }
    case 'repair':
      return line('warn', event.text);
    case 'warning':
      return line('warn', event.text);
  }
}

/** Two thousand listeners are counted here; which ones is in the history of the generation. */
function reloadLine(reason: string, ms: number, report: ReloadReport): LogLine {
  const { outcome, generation, previous, mode, haproxy, listeners, quarantined, reserved, insteadOf } = report;
  const fields = {
    ...{ reason, ms, outcome, generation, previous, mode, haproxy, listeners },
    quarantined: quarantined.length,
    reserved,
    phases: Object.fromEntries(report.phases.map((phase) => [phase.name, Math.round(phase.ms * 10) / 10])),
    ...(insteadOf === undefined ? {} : { insteadOf }),
  };
  if (insteadOf !== undefined) {
    const why = text(insteadOf.error);
    return line('error', `generation ${generation} serves in place of what was asked for: ${why}`, fields);
  }
  const left = quarantined.length === 0 ? '' : `, ${quarantined.length} left out`;
  return line(
    outcome === 'served' ? 'info' : 'warn',
    `generation ${generation} serves ${listeners.served} listeners${left}`,
    fields,
  );
}

/** A burst names this many; the count says the rest. */
const NAMES = 20;

function some(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(', ');
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}

function listed(names: readonly string[]): Record<string, unknown> {
  return { listeners: names.slice(0, NAMES), count: names.length };
}

function who({ pid, unit, connections }: ProcessReport): string {
  return `${pid}${unit === undefined ? '' : ` (${unit})`}, ${connections} connections`;
}

function touching(process: ProcessReport, why?: string): Record<string, unknown> {
  return { touched: [process], ...(why === undefined ? {} : { why }) };
}

function ownerOf({ pid, comm, unit }: SocketOwner): Record<string, unknown> {
  return { pid, comm, unit };
}

function text(error: Readonly<Record<string, unknown>>): string {
  return typeof error['message'] === 'string' ? error['message'] : JSON.stringify(error);
}

function line(level: LogLevel, message: string, fields: LogLine['fields'] = {}): LogLine {
  return { level, message, fields };
}
