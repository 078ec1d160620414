/** IP addresses as text: read as inet_pton(3) and HAProxy's str2ip2() (tools.c) read them, written canonically. */

/**
 * The address part: `*` and nothing are the wildcard of the family (IPv4 where none is forced), `::`, brackets around
 * either. Undefined: a host name, or not of that family.
 */
export function parseIP(text: string, family: 0 | 4 | 6): { family: 4 | 6; address: string } | undefined {
  let bare = text;
  if (text.startsWith('[')) {
    if (text.length < 4 || !text.endsWith(']')) return undefined;
    bare = text.slice(1, -1);
  }
  if (bare === '::') return family === 4 ? undefined : { family: 6, address: '::' };
  if (bare === '' || bare === '*')
    return family === 6 ? { family: 6, address: '::' } : { family: 4, address: '0.0.0.0' };
  if (family !== 6 && isIPv4(bare)) return { family: 4, address: bare };
  const groups = family === 4 ? undefined : parseIPv6(bare);
  return groups === undefined ? undefined : { family: 6, address: formatIPv6(groups) };
}

/** inet_pton(3): four decimals without leading zeros. */
function isIPv4(text: string): boolean {
  let value = -1;
  let dots = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x2e) {
      if (value < 0) return false;
      dots++;
      value = -1;
    } else if (c >= 0x30 && c <= 0x39) {
      if (value === 0) return false;
      value = (value < 0 ? 0 : value * 10) + c - 0x30;
      if (value > 255) return false;
    } else {
      return false;
    }
  }
  return dots === 3 && value >= 0;
}

/** Eight groups, as inet_pton(3) reads them (no zone). */
function parseIPv6(text: string): number[] | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const parts = halves.map((half) => (half === '' ? [] : half.split(':')));
  const groups: number[][] = [];
  for (const [h, half] of parts.entries()) {
    const values: number[] = [];
    for (const [i, part] of half.entries()) {
      if (h === parts.length - 1 && i === half.length - 1 && isIPv4(part)) {
        const [a = 0, b = 0, c = 0, d = 0] = part.split('.').map(Number);
        values.push(a * 256 + b, c * 256 + d);
      } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
        values.push(parseInt(part, 16));
      } else {
        return undefined;
      }
    }
    groups.push(values);
  }
  const [head = [], tail = []] = groups;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1) return missing === 0 ? head : undefined;
  return missing < 1 ? undefined : [...head, ...Array.from({ length: missing }, () => 0), ...tail];
}

/** RFC 5952, with the last 32 bits as a dotted quad where inet_ntop(3) writes them so (`::ffff:10.0.0.1`, `::10.0.0.1`). */
export function formatIPv6(groups: readonly number[]): string {
  let best = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let run = 0;
    while (i + run < 8 && groups[i + run] === 0) run++;
    if (run > length) [best, length] = [i, run];
    i += run;
  }
  const [, , , , , mark = 0, high = 0, low = 0] = groups;
  const quad = best === 0 && (length === 6 || (length === 5 && mark === 0xffff));
  const hex = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(':');
  if (quad) {
    const dotted = `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
    return length === 6 ? `::${dotted}` : `::ffff:${dotted}`;
  }
  return best < 0 ? hex(0, 8) : `${hex(0, best)}::${hex(best + length, 8)}`;
}
