/** Unified diff of two texts: Myers, "An O(ND) Difference Algorithm and Its Variations" (1986), the greedy forward form. */

/** Above this many changed lines the rest is shown as replaced: the search costs the square of it. */
const MAX_CHANGES = 3000;
const CONTEXT = 3;

type Edit = readonly [kind: ' ' | '-' | '+', line: string];

/** The patch as `diff -u` writes it, with `a/FILE` and `b/FILE`; empty where the texts are equal. undefined: no such file. */
export function unifiedDiff(file: string, before: string | undefined, after: string | undefined): string {
  if (before === after) return '';
  const edits = editScript(splitLines(before), splitLines(after));
  const name = file.replace(/^\//, '');
  const header = `--- ${before === undefined ? '/dev/null' : `a/${name}`}\n+++ ${after === undefined ? '/dev/null' : `b/${name}`}\n`;
  return header + hunks(edits).join('');
}

/** Each with its line feed; the last one without, where the text has none. */
function splitLines(text = ''): string[] {
  return text === '' ? [] : text.split(/(?<=\n)/);
}

function editScript(a: readonly string[], b: readonly string[]): Edit[] {
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < Math.min(a.length, b.length) - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const keep = (line: string): Edit => [' ', line];
  const middle = shortest(a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  return [...a.slice(0, head).map(keep), ...middle, ...a.slice(a.length - tail).map(keep)];
}

function shortest(a: readonly string[], b: readonly string[]): Edit[] {
  const limit = Math.min(a.length + b.length, MAX_CHANGES);
  const furthest = new Int32Array(2 * limit + 3); // by diagonal k, at k + limit + 1: how far into `a` it gets
  const trace: Int32Array[] = [];
  for (let d = 0; d <= limit; d++) {
    trace.push(furthest.slice(limit + 1 - d - 1, limit + 1 + d + 2));
    for (let k = -d; k <= d; k += 2) {
      const at = k + limit + 1;
      const down = k === -d || (k !== d && (furthest[at - 1] ?? 0) < (furthest[at + 1] ?? 0));
      let x = down ? (furthest[at + 1] ?? 0) : (furthest[at - 1] ?? 0) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x++;
      furthest[at] = x;
      if (x >= a.length && x - k >= b.length) return backtrack(a, b, trace);
    }
  }
  return [...a.map((line): Edit => ['-', line]), ...b.map((line): Edit => ['+', line])];
}

/** @param trace for each d what every diagonal -d-1..d+1 had reached before it */
function backtrack(a: readonly string[], b: readonly string[], trace: readonly Int32Array[]): Edit[] {
  const edits: Edit[] = [];
  let x = a.length;
  let y = b.length;
  for (let d = trace.length - 1; d >= 0; d--) {
    const reached = (k: number): number => trace[d]?.[k + d + 1] ?? 0;
    const k = x - y;
    const down = k === -d || (k !== d && reached(k - 1) < reached(k + 1));
    const startX = d === 0 ? 0 : down ? reached(k + 1) : reached(k - 1);
    const startY = d === 0 ? 0 : startX - (down ? k + 1 : k - 1);
    while (x > startX && y > startY && a[x - 1] === b[y - 1]) {
      edits.push([' ', a[--x] ?? '']);
      y--;
    }
    if (d > 0) edits.push(down ? ['+', b[--y] ?? ''] : ['-', a[--x] ?? '']);
  }
  return edits.reverse();
}

function hunks(edits: readonly Edit[]): string[] {
  const result: string[] = [];
  let [oldLine, newLine, done] = [1, 1, 0];
  for (let at = 0; at < edits.length;) {
    if (edits[at]?.[0] === ' ') {
      at++;
      continue;
    }
    const from = Math.max(done, at - CONTEXT);
    let to = at;
    for (let same = 0; to < edits.length && same <= 2 * CONTEXT; to++) same = edits[to]?.[0] === ' ' ? same + 1 : 0;
    while (to > at && edits[to - 1]?.[0] === ' ') to--;
    to = Math.min(edits.length, to + CONTEXT);
    const skipped = from - done;
    const hunk = edits.slice(from, to);
    const [olds, news] = [hunk.filter(([kind]) => kind !== '+').length, hunk.filter(([kind]) => kind !== '-').length];
    [oldLine, newLine] = [oldLine + skipped, newLine + skipped];
    result.push(`@@ -${range(oldLine, olds)} +${range(newLine, news)} @@\n`, ...hunk.map(lineText));
    [oldLine, newLine] = [oldLine + olds, newLine + news];
    at = done = to;
  }
  return result;
}

/** An empty range names the line before it. */
const range = (first: number, count: number): string =>
  count === 1 ? String(first) : `${count === 0 ? first - 1 : first},${count}`;

const lineText = ([kind, line]: Edit): string =>
  line.endsWith('\n') ? kind + line : `${kind}${line}\n\\ No newline at end of file\n`;
