/** Ephemeral range, reservations and the sysctls that decide what can be bound. */
import { formatPorts, portSet } from '../model/ports.js';
import type { Examination, Part } from './doctor.js';
import type { Finding } from './reports.js';
import { isExposed } from './reservation.js';
import { shareOf } from './reserve.js';

export function examineNetwork(examination: Examination): Part[] {
  return [
    ['ephemeral-range', 'The ephemeral range cannot be read', () => ports(examination)],
    ['nonlocal-bind', 'ip_nonlocal_bind cannot be read', () => nonlocalBind(examination)],
    ['tcp-migrate-req', 'tcp_migrate_req cannot be read', () => migration(examination)],
    ['socket-destroy', 'The settings cannot be read', () => Promise.resolve(destroying(examination))],
  ];
}

async function ports({ kernel, settings, ports, unsourced }: Examination): Promise<Finding[]> {
  const [ephemeral, reserved] = await Promise.all([kernel.ephemeralRange(), kernel.reservedPorts()]);
  const { first, last } = ephemeral;
  const inside = ports.filter((port) => port >= first && port <= last);
  const exposed = inside.filter((port) => isExposed(port, ephemeral, reserved));
  const share = shareOf(reserved, ephemeral);
  const { maxShare } = settings.reserve;
  const findings: Finding[] = [
    {
      id: 'ephemeral-range',
      level: 'ok',
      title: `Outgoing connections get ports ${first}–${last}`,
      facts: [`${last - first + 1} ports; ${inside.length} of ${ports.length} listener ports lie among them`],
    },
    {
      id: 'overlap',
      level: exposed.length > 0 ? 'warning' : 'ok',
      title:
        exposed.length > 0
          ? `${exposed.length} listener ports can be taken by an outgoing connection at any moment`
          : 'No listener port can be taken by an outgoing connection',
      facts: exposed.length > 0 ? [`not reserved: ${shorten(formatPorts(portSet(exposed)))}`] : [],
      ...(exposed.length > 0 ? { advice: 'berth reload reserves them, and so does berth reserve CONFIG' } : {}),
    },
    {
      id: 'reserved-share',
      level: share > maxShare ? 'warning' : 'ok',
      title: `${(share * 100).toFixed(1)} % of the ephemeral range is reserved`,
      facts: [`the limit for Berth is ${(maxShare * 100).toFixed(0)} % (reserve.maxShare)`],
      ...(share > maxShare
        ? { advice: 'Move or widen net.ipv4.ip_local_port_range, or move the listeners out of it' }
        : {}),
    },
  ];
  const advice = sourceAdvice(unsourced, inside.length);
  return advice === undefined ? findings : [...findings, advice];
}

/** HAProxy sets SO_REUSEADDR on outgoing sockets where `source` stands (2.2 to 3.2): they then hold nobody's port. */
function sourceAdvice(unsourced: Examination['unsourced'], inside: number): Finding | undefined {
  if (unsourced?.length === 0) {
    return {
      id: 'source',
      level: 'ok',
      title: "HAProxy's own connections never hold a listener's port",
      facts: ['`source` stands in every section with servers'],
    };
  }
  if (inside === 0) return undefined;
  const where = unsourced?.map(({ section, file, line }) => `${file}:${line} ${section}`) ?? [];
  return {
    id: 'source',
    level: 'note',
    title: "HAProxy's own connections can hold a listener's port",
    facts: [
      'without `source` HAProxy opens them without SO_REUSEADDR, alive and in TIME_WAIT they keep others from binding',
      ...where.slice(0, 5),
      ...(where.length > 5 ? [`and ${where.length - 5} more sections`] : []),
    ],
    advice: '`source 0.0.0.0` in defaults or backend ends that; berth reload --harden source adds it where none stands',
  };
}

async function nonlocalBind({ kernel, listeners }: Examination): Promise<Finding[]> {
  const families = new Set(
    listeners?.binds.flatMap(({ endpoint }) =>
      endpoint.kind === 'inet' && !endpoint.transparent ? [endpoint.family] : [],
    ) ?? [4],
  );
  const findings = [...families].map(async (family): Promise<Finding> => {
    const name = `net.ipv${family}.ip_nonlocal_bind`;
    const value = await kernel.sysctl(name);
    return {
      id: `nonlocal-bind-ipv${family}`,
      level: value === undefined ? 'warning' : 'ok',
      title:
        value === '1'
          ? `IPv${family} addresses that are not on this host can be bound`
          : `Only IPv${family} addresses of this host can be bound`,
      facts: [`${name} = ${value ?? 'missing'}`],
      ...(value === '0'
        ? { advice: `A floating address (VRRP) needs ${name} = 1, or \`transparent\` on its binds` }
        : {}),
    };
  });
  return Promise.all(findings);
}

async function migration({ kernel }: Examination): Promise<Finding[]> {
  const name = 'net.ipv4.tcp_migrate_req';
  const value = await kernel.sysctl(name);
  return [
    {
      id: 'tcp-migrate-req',
      level: value === '1' ? 'ok' : 'note',
      title:
        value === '1'
          ? 'Connections that wait on a closing socket move to another one'
          : 'Connections that wait on a closing socket are lost',
      facts: [`${name} = ${value ?? 'missing (kernel before 5.14)'}`],
      ...(value === '0'
        ? {
            advice: `Sockets that are handed over lose none; for those that HAProxy binds anew (IPv6 addresses) ${name} = 1 helps`,
          }
        : {}),
    },
  ];
}

function destroying({ settings }: Examination): Finding[] {
  const { destroy } = settings.conflicts;
  if (destroy === 'off') return [];
  return [
    {
      id: 'socket-destroy',
      level: 'note',
      title: 'Whether this kernel can remove sockets shows only when it is asked to',
      facts: [`conflicts.destroy = ${destroy}; it needs CONFIG_INET_DIAG_DESTROY, which no file names reliably`],
      advice: 'Where it is missing, Berth waits instead',
    },
  ];
}

function shorten(text: string): string {
  return text.length > 100 ? `${text.slice(0, 97)}...` : text;
}
