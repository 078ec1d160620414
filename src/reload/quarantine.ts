/**
 * A configuration with some of its addresses left out, line numbers unchanged: a `bind` line all of whose addresses go
 * becomes a comment, of another only the address goes, and a port range is split around the port. A section that is left
 * without any bind is fine with HAProxy (2.6: "has no 'bind' directive", a warning).
 */
import { BerthError } from '../errors.js';
import type { Bind, Listeners, SourcePlace } from '../model/bind.js';
import { formatAddress } from '../model/endpoint.js';

/**
 * Only the addresses of `bind` and `dgram-bind` lines of proxies can be left out. Without its own address a peers section
 * loses its local peer, and without its stats socket HAProxy can no longer be talked to.
 */
export function canLeaveOut(bind: Bind): boolean {
  return bind.origin !== 'peer' && bind.origin !== 'stats-socket';
}

/**
 * @param listeners all binds of the configuration
 * @param leaveOut which of them (the same objects) to leave out
 * @param textOf text of a file, by `place.file`; one character a byte or decoded, only ASCII is looked at
 * @returns the new text of the files that change, by `place.file`
 * Throws BERTH_UNSERVABLE where a bind cannot be left out.
 */
export function withoutBinds(
  listeners: Pick<Listeners, 'binds' | 'unknown'>,
  leaveOut: readonly Bind[],
  textOf: (file: string) => string,
): Map<string, string> {
  const gone = new Set(leaveOut);
  const lines = new Map<string, Bind[]>();
  for (const bind of leaveOut) {
    if (!canLeaveOut(bind)) throw cannot(bind, `the address of a ${bind.origin} cannot be left out`);
    lines.set(placeKey(bind.place), []);
  }
  for (const bind of listeners.binds) lines.get(placeKey(bind.place))?.push(bind);
  const unknown = new Set(listeners.unknown.map(({ place }) => placeKey(place)));

  const texts = new Map<string, string[]>();
  for (const binds of lines.values()) {
    const [first] = binds;
    if (first === undefined) continue;
    const { file, line } = first.place;
    const text = texts.get(file) ?? textOf(file).split('\n');
    texts.set(file, text);
    text[line - 1] = withoutAddresses(text[line - 1] ?? '', binds, gone, unknown.has(placeKey(first.place)));
  }
  return new Map([...texts].map(([file, text]) => [file, text.join('\n')]));
}

const placeKey = ({ file, line }: SourcePlace): string => `${line} ${file}`;

/** @param binds all of this line @param unknown the line holds an address that only HAProxy can resolve */
function withoutAddresses(line: string, binds: readonly Bind[], gone: ReadonlySet<Bind>, unknown: boolean): string {
  const [first] = binds;
  const word = secondWord(line);
  if (first === undefined || word === undefined) return line;
  const left = addressesLeft(word.text, binds, gone) ?? addressesAnew(binds, gone, unknown);
  if (left.length === 0) return line.replace(/^\s*/, (indentation) => `${indentation}# berth: quarantined: `);
  const end = line.endsWith('\r') ? '\r' : '';
  const out = [...new Set(binds.filter((bind) => gone.has(bind)).map((bind) => addressText(bind)))].join(' ');
  const rest = line.slice(word.end, line.length - end.length);
  return `${line.slice(0, word.start)}${left.join(',')}${rest} # berth: quarantined: ${out}${end}`;
}

/**
 * The words of the list that stay, as written, with their variables. undefined where it is not plain which words the
 * binds came from: quotes and escapes.
 */
function addressesLeft(word: string, binds: readonly Bind[], gone: ReadonlySet<Bind>): string[] | undefined {
  const plain = /^"[^"\\$]*"$/.test(word) ? word.slice(1, -1) : word;
  if (/["'\\]/.test(plain)) return undefined;
  const pieces = plain.split(',').filter((piece) => piece !== '');
  if (!binds.every(({ text }) => pieces.includes(text))) return undefined;
  const left: string[] = [];
  for (const piece of pieces) {
    const own = binds.filter(({ text }) => text === piece);
    const stay = own.filter((bind) => !gone.has(bind));
    if (stay.length === own.length) left.push(piece);
    else if (stay.length > 0) {
      const range = /^(.*):\d+-\d+$/.exec(piece);
      if (range === null) return undefined;
      left.push(...portRanges(stay).map((ports) => `${range[1] ?? ''}:${ports}`));
    }
  }
  return left;
}

/** The list written anew from what stays of it. */
function addressesAnew(binds: readonly Bind[], gone: ReadonlySet<Bind>, unknown: boolean): string[] {
  const stay = binds.filter((bind) => !gone.has(bind));
  const [first] = binds;
  if (unknown && first !== undefined) {
    throw cannot(
      first,
      'another address of its line can only be resolved by HAProxy, and quotes or escapes hide where it stands',
    );
  }
  const groups = new Map<string, Bind[]>();
  for (const bind of stay) {
    const host = addressText(bind, 0);
    const group = groups.get(host);
    if (group) group.push(bind);
    else groups.set(host, [bind]);
  }
  return [...groups].flatMap(([host, group]) =>
    group[0]?.endpoint.kind === 'unix' ? [host] : portRanges(group).map((ports) => host.replace(/:0$/, `:${ports}`)),
  );
}

/** `8000-8004`, `8006`: the ports of these binds. */
function portRanges(binds: readonly Bind[]): string[] {
  const ports = binds.flatMap(({ endpoint }) => (endpoint.kind === 'inet' ? [endpoint.port] : []));
  const ranges: [number, number][] = [];
  for (const port of [...new Set(ports)].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last?.[1] === port - 1) last[1] = port;
    else ranges.push([port, port]);
  }
  return ranges.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`));
}

/** As a `bind` line takes it. Variables are off: the address is what they gave. */
function addressText({ endpoint, origin }: Bind, port?: number): string {
  if (endpoint.kind === 'unix') return `${endpoint.abstract ? 'abns' : 'unix'}@${endpoint.path}`;
  const prefix = origin === 'quic' ? `quic${endpoint.family}@` : '';
  return prefix + formatAddress(endpoint.family, endpoint.address, port ?? endpoint.port);
}

/** Where the second word of a line stands, by HAProxy's rules of quoting (parse_line() in tools.c). */
function secondWord(line: string): { readonly text: string; readonly start: number; readonly end: number } | undefined {
  const match = /^\s*\S+\s+((?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'\\#])+)/.exec(line);
  if (match?.[1] === undefined) return undefined;
  const end = match[0].length;
  return { text: match[1], start: end - match[1].length, end };
}

function cannot(bind: Bind, why: string): BerthError {
  const { file, line } = bind.place;
  return new BerthError(
    'BERTH_UNSERVABLE',
    `${file}:${line}: ${bind.text} of ${bind.section} cannot be left out: ${why}`,
    {
      step: 'quarantine',
      details: { file, line, address: bind.text, section: bind.section },
    },
  );
}
