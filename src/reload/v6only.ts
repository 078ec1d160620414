/**
 * The word `v6only` where a specific IPv6 address stands without it. The kernel sets IPV6_V6ONLY on such a socket whatever
 * HAProxy asks for (__inet6_bind() in net/ipv6/af_inet6.c), and HAProxy from 2.3 on then takes the socket that it is handed
 * for one of another bind (sock_find_compatible_fd() in sock.c): it binds anew, and what waits in the old backlog is lost.
 * With the word it is the same socket, and HAProxy takes it over.
 */
import type { Bind } from '../model/bind.js';

/** By file, as in `place.file`, the lines that can say it. */
export function linesWithoutV6only(binds: readonly Bind[]): Map<string, Set<number>> {
  const lines = new Map<string, Set<number>>();
  for (const { place, v6onlyFits } of binds) {
    if (!v6onlyFits) continue;
    const known = lines.get(place.file);
    if (known) known.add(place.line);
    else lines.set(place.file, new Set([place.line]));
  }
  return lines;
}

/**
 * The word behind the addresses of these lines; line numbers stay. A line that is no plain bind any more stays as it is.
 * @param text one character a byte or decoded: only ASCII is added
 */
export function withV6only(text: string, lines: ReadonlySet<number>): string {
  const rows = text.split('\n');
  for (const line of lines) {
    const row = rows[line - 1];
    if (row !== undefined) rows[line - 1] = row.replace(PLAIN_BIND, '$& v6only');
  }
  return rows.join('\n');
}

const PLAIN_BIND = /^\s*(?:dgram-)?bind\s+[^\s"'\\#$]+/;
