/** HAProxy's binary and processes, descriptors, capabilities, Yama. */
import { formatEndpoint } from '../model/endpoint.js';
import { socketEndpoint } from '../model/socket.js';
import type { Examination, Part } from './doctor.js';
import type { ProcessInfo } from './env.js';
import type { Finding } from './reports.js';

export function examineProcesses(examination: Examination): Part[] {
  return [
    ['haproxy', 'HAProxy cannot be examined', () => Promise.resolve(haproxy(examination))],
    ['other-haproxy', 'Other HAProxy processes cannot be examined', () => others(examination)],
    ['descriptors', 'The descriptor limits cannot be read', () => descriptors(examination)],
    ['capabilities', 'The capabilities cannot be read', () => capabilities(examination)],
    ['yama', 'kernel.yama.ptrace_scope cannot be read', () => yama(examination)],
  ];
}

function haproxy({ build, running }: Examination): Finding[] {
  const findings: Finding[] = [];
  if (build !== undefined) {
    findings.push({
      id: 'haproxy-binary',
      level: 'ok',
      title: `HAProxy ${build.version}`,
      facts: [build.binary, `features: ${build.features.length > 0 ? build.features.join(' ') : 'none named'}`],
    });
  }
  findings.push(
    running === undefined
      ? {
          id: 'haproxy-running',
          level: 'note',
          title: 'No HAProxy runs here',
          facts: ['a reload would be its first start'],
        }
      : {
          id: 'haproxy-running',
          level: 'ok',
          title: `haproxy[${running.worker.pid}] serves, ${running.mode}`,
          facts: [
            `found by ${running.foundBy}, started ${running.worker.startedAt}`,
            ...(running.master === undefined ? [] : [`master haproxy[${running.master.pid}]`]),
          ],
        },
  );
  return findings;
}

/** HAProxy processes of this namespace other than the running one: still listening (stale), or draining. */
async function others({ kernel, running, ports }: Examination): Promise<Finding[]> {
  const known = new Set([running?.worker.pid, running?.master?.pid]);
  const processes = (await kernel.haproxyProcesses()).filter(({ pid }) => !known.has(pid));
  const listening = (await kernel.boundSockets()).filter(({ state }) => state === 'LISTEN');
  const stale: string[] = [];
  const elsewhere: string[] = [];
  const draining: string[] = [];
  for (const process of processes) {
    const sockets = await kernel.socketsOf(process.pid).catch(() => new Map<number, number[]>());
    const rows = listening.filter(({ inode }) => sockets.has(inode));
    const ours = rows.filter(({ localPort }) => ports.includes(localPort));
    const names = (ours.length > 0 ? ours : rows).map((row) => formatEndpoint(socketEndpoint(row)));
    const listed = `${nameOf(process)} listens on ${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`;
    if (ours.length > 0) stale.push(listed);
    else if (rows.length > 0) elsewhere.push(listed);
    // A master listens nowhere and has workers; only a process with connections of its own drains.
    else if (!processes.some(({ ppid }) => ppid === process.pid))
      draining.push(`${nameOf(process)}, ${sockets.size} sockets${sizeOf(process)}`);
  }
  return [
    finding(
      'stale-haproxy',
      'problem',
      `${stale.length} other HAProxy processes take a part of the connections`,
      stale,
      'End them: kill -USR1 PID lets their connections finish',
    ),
    finding(
      'draining-haproxy',
      'note',
      `${draining.length} old HAProxy processes wait for their last connections`,
      draining,
      'hard-stop-after in the global section ends them after a time',
    ),
    finding('unrelated-haproxy', 'note', `${elsewhere.length} HAProxy processes serve other ports`, elsewhere),
  ].filter(({ facts }) => facts.length > 0);
}

function finding(id: string, level: Finding['level'], title: string, facts: string[], advice?: string): Finding {
  return { id, level, title, facts, ...(advice === undefined ? {} : { advice }) };
}

function nameOf({ pid, startedAt, unit }: ProcessInfo): string {
  return `haproxy[${pid}]${unit === undefined ? '' : ` of ${unit}`}, started ${startedAt}`;
}

function sizeOf({ residentBytes }: ProcessInfo): string {
  return residentBytes === undefined ? '' : `, ${Math.round(residentBytes / 1048576)} MiB`;
}

/** HAProxy needs two descriptors a connection and one a listener (src/haproxy.c compute_ideal_maxconn); Berth one a listener. */
async function descriptors({ kernel, host, running, listeners, sockets }: Examination): Promise<Finding[]> {
  const [perProcess, system] = await Promise.all([kernel.sysctl('fs.nr_open'), kernel.sysctl('fs.file-max')]);
  const facts = [`fs.nr_open = ${perProcess ?? 'unknown'}, fs.file-max = ${system ?? 'unknown'}`];
  const short: string[] = [];
  const hold = (who: string, hard: number, need: number, what: string) => {
    const text = `${who} may open ${hard === Infinity ? 'any number of' : hard} descriptors and needs ${need}: ${what}`;
    (hard < need ? short : facts).push(text);
  };
  // A standalone HAProxy gets its limit from Berth, who starts it; a worker from its master.
  const starter = running?.master?.pid ?? process.pid;
  const [limit, own] = await Promise.all([host?.descriptorLimit(starter), host?.descriptorLimit(process.pid)]);
  const maxconn = listeners?.global.maxconn;
  if (maxconn === undefined) facts.push('no maxconn is set: HAProxy takes what its limit allows');
  else if (limit !== undefined) {
    // CAP_SYS_RESOURCE raises the hard limit as far as fs.nr_open.
    const raised =
      (await host?.capabilities())?.has('CAP_SYS_RESOURCE') === true ? Number(perProcess ?? limit.hard) : 0;
    hold(
      'HAProxy',
      Math.max(limit.hard, raised),
      2 * maxconn + sockets,
      `2 × maxconn ${maxconn} + ${sockets} listeners`,
    );
  }
  // The sockets of the old process and the guards of the new listeners, all at once for a moment.
  if (own !== undefined) hold('Berth', own.hard, sockets + 64, `${sockets} listeners and some more`);
  return [
    finding(
      'descriptors',
      short.length > 0 ? 'problem' : 'ok',
      short.length > 0 ? 'The descriptor limits are too low' : 'The descriptor limits suffice',
      [...short, ...facts],
      short.length > 0 ? 'Raise LimitNOFILE of the unit (ulimit -n), at most to fs.nr_open' : undefined,
    ),
  ];
}

async function capabilities(examination: Examination): Promise<Finding[]> {
  const { host, settings, listeners, kernel, ports } = examination;
  if (host === undefined) return [];
  const held = await host.capabilities();
  const unprivileged = Number((await kernel.sysctl('net.ipv4.ip_unprivileged_port_start')) ?? 1024);
  const inet = listeners?.binds.flatMap(({ endpoint }) => (endpoint.kind === 'inet' ? [endpoint] : [])) ?? [];
  const needs: readonly (readonly [capability: string, needed: boolean, what: string])[] = [
    ['CAP_NET_BIND_SERVICE', ports.some((port) => port < unprivileged), `to guard ports below ${unprivileged}`],
    [
      'CAP_NET_ADMIN',
      settings.conflicts.destroy !== 'off',
      'to remove what is left of closed connections (conflicts.destroy)',
    ],
    ['CAP_NET_ADMIN', inet.some(({ transparent }) => transparent), 'to guard transparent binds'],
    ['CAP_NET_RAW', inet.some(({ device }) => device !== undefined), 'to guard binds with an interface'],
    [
      'CAP_SYS_PTRACE',
      settings.conflicts.share !== 'off',
      'to share ports (conflicts.share), and to hand over sockets that no stats socket exposes',
    ],
    ['CAP_SYS_ADMIN', settings.netns !== undefined, `to enter the network namespace ${settings.netns ?? ''}`],
    ['CAP_KILL', true, 'to end the old HAProxy where it runs as another user'],
  ];
  const missing = needs.filter(([capability, needed]) => needed && !held.has(capability));
  return [
    finding(
      'capabilities',
      missing.length > 0 ? 'warning' : 'ok',
      missing.length > 0
        ? `${new Set(missing.map(([name]) => name)).size} capabilities are missing`
        : 'All capabilities that are needed are there',
      missing.map(([capability, , what]) => `${capability} ${what}`),
      missing.length > 0 ? 'Run Berth as root, or grant them (docs/operations.md)' : undefined,
    ),
  ];
}

/** Documentation/admin-guide/LSM/Yama.rst; pidfd_getfd(2) asks for the right to ptrace. */
async function yama({ kernel, settings }: Examination): Promise<Finding[]> {
  const scope = await kernel.sysctl('kernel.yama.ptrace_scope');
  const off = scope === '3';
  const facts = [`kernel.yama.ptrace_scope = ${scope ?? 'missing (no Yama in this kernel)'}`];
  if (!off) return [finding('yama', 'ok', 'Sockets of other processes can be duplicated, with CAP_SYS_PTRACE', facts)];
  const title = 'Yama forbids to duplicate sockets of other processes';
  const advice =
    'Declare a stats socket with expose-fd listeners; ports cannot be shared until the next boot with a lower ptrace_scope';
  return [finding('yama', settings.conflicts.share === 'off' ? 'note' : 'warning', title, facts, advice)];
}
