import type { StopReport } from '../../reload/reports.js';
import { count, type Style } from '../style.js';

export function renderStop({ pid, ended, connections }: StopReport, { colour }: Style): string[] {
  if (pid === undefined) return ['No HAProxy runs.'];
  if (ended) return [colour.green(`HAProxy, process ${pid}, has ended.`)];
  return [
    colour.green(`HAProxy, process ${pid}, takes no new connection and ends with its last; ${left(connections)}.`),
  ];
}

function left(connections: number): string {
  return `${count(connections, 'socket')} left`;
}
