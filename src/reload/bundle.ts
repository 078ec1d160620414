/**
 * A directory of configuration files as few files, for two reasons. HAProxy opens and parses thousands of files slowly
 * (2.6: 20 s for 19000 of one listener each, 1 s for the same in one file). And the master of HAProxy 2.2 to 3.0
 * re-executes itself with all file names joined in the environment variable HAPROXY_CFGFILES; one string of more than
 * 128 KiB (MAX_ARG_STRLEN) is refused by execve(2) with E2BIG: 2.6 and 3.0 then die at boot, 2.2 cannot be reloaded any more.
 */
import { z } from 'zod';

/** Hidden, so that HAProxy does not read them as files of the directory. */
export const BUNDLE_NAME = '.berth-bundle';

export const bundleSchema = z.object({
  /** Where the joined file stands below the mirror's root, beside the files that it replaces, so that `default-path` keeps its meaning. */
  path: z.string().regex(/^\/.*\.berth-bundle(?:-\d+)?\.cfg$/s),
  /** The directory that it stands for, or a part of it. */
  directory: z.string(),
  /** Which of its lines come from where, ascending; `firstLine` from 1. */
  parts: z.array(z.object({ file: z.string(), firstLine: z.int().positive(), lines: z.int().nonnegative() })),
});
export type Bundle = z.infer<typeof bundleSchema>;

export interface Joined {
  /** What stands for the directory as `-f` arguments, in order: bundles and files that stay by themselves. */
  readonly order: readonly string[];
  readonly bundles: readonly { readonly bundle: Bundle; readonly text: string }[];
  /** Files that stay by themselves: joined they would mean something else. */
  readonly apart: readonly { readonly file: string; readonly line: number; readonly why: string }[];
}

/**
 * Join the files of a directory, in order. A file that would change what it or its neighbours mean stays by itself,
 * between two bundles, and HAProxy says of it whatever it says without Berth.
 * @param files absolute, in HAProxy's order; `text` with one character a byte
 */
export function joinFiles(
  directory: string,
  files: readonly { readonly file: string; readonly text: string }[],
): Joined {
  const order: string[] = [];
  const bundles: { bundle: Bundle; text: string }[] = [];
  const apart: { file: string; line: number; why: string }[] = [];
  let open: { bundle: Bundle; texts: string[]; next: number } | undefined;
  const close = (): void => {
    if (open !== undefined) bundles.push({ bundle: open.bundle, text: open.texts.join('') });
    open = undefined;
  };
  for (const { file, text } of files) {
    const reason = unjoinable(text);
    if (reason !== undefined) {
      close();
      apart.push({ file, ...reason });
      order.push(file);
      continue;
    }
    if (open === undefined) {
      const path = `${directory}/${BUNDLE_NAME}-${bundles.length + 1}.cfg`;
      open = { bundle: { path, directory, parts: [] }, texts: [], next: 1 };
      order.push(path);
    }
    const lines = countLines(text);
    open.bundle.parts.push({ file, firstLine: open.next, lines });
    open.texts.push(text);
    open.next += lines;
  }
  close();
  return { order, bundles, apart };
}

/** The files of a bundle again, by path; undefined where the bundle is not what was written. */
export function splitBundle({ parts }: Bundle, content: Buffer): Map<string, Buffer> | undefined {
  const files = new Map<string, Buffer>();
  let start = 0;
  for (const { file, lines } of parts) {
    let end = start;
    for (let line = 0; line < lines; line++) {
      const feed = content.indexOf(10, end);
      if (feed < 0) return undefined;
      end = feed + 1;
    }
    files.set(file, content.subarray(start, end));
    start = end;
  }
  return start === content.length ? files : undefined;
}

/**
 * A text in which the bundle's own path becomes the user's file, with the user's line where HAProxy names one
 * (`[PATH:12]`, `'PATH' line 12`); else the directory.
 * @param path the bundle's, as it stands in the text
 */
export function inUsersPaths(text: string, path: string, bundle: Bundle): string {
  if (!text.includes(path)) return text;
  const place = new RegExp(`${escapeRegExp(path)}(?:(:|'? line )(\\d+))?`, 'g');
  return text.replaceAll(place, (_, between: string | undefined, line: string | undefined) => {
    if (between === undefined || line === undefined) return bundle.directory;
    const origin = originOf(bundle, Number(line));
    return `${origin.file}${between}${origin.line}`;
  });
}

/** The user's file and line of a line of the bundle. */
export function originOf({ parts, directory }: Bundle, line: number): { readonly file: string; readonly line: number } {
  let [low, high] = [0, parts.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((parts[middle]?.firstLine ?? 0) <= line) low = middle + 1;
    else high = middle;
  }
  const part = parts[low - 1];
  return part ? { file: part.file, line: line - part.firstLine + 1 } : { file: directory, line };
}

/**
 * Why a file cannot be joined with others: HAProxy ends a section, a scope (`[name]`) and an `.if` with its file, refuses a
 * last line without a line feed, and knows a file's own name and lines (`.FILE`, `.LINE`, 2.4 and later).
 */
function unjoinable(text: string): { readonly line: number; readonly why: string } | undefined {
  if (text === '') return undefined;
  if (!text.endsWith('\n')) return { line: countLines(text) + 1, why: 'its last line has no line feed' };
  let open = 0;
  let inSection = false;
  let number = 0;
  for (const line of text.split('\n')) {
    number++;
    const [word = ''] = line.trim().split(/\s/, 1);
    if (word === '' || word.startsWith('#')) continue;
    if (word.startsWith('[')) return { line: number, why: 'it has a scope' };
    if (line.includes('.FILE') || line.includes('.LINE')) return { line: number, why: 'it asks for its own place' };
    if (word === '.if') open++;
    else if (word === '.endif') open--;
    if (inSection || word.startsWith('.')) continue;
    if (!SECTIONS.has(word)) return { line: number, why: `"${word}" stands before its first section` };
    inSection = true;
  }
  return open === 0 ? undefined : { line: number, why: 'its .if and .endif do not match' };
}

/** Section keywords of HAProxy 2.2 to 3.2 (REGISTER_CONFIG_SECTION, cfgparse.c). */
const SECTIONS: ReadonlySet<string> = new Set(
  (
    'global defaults listen frontend backend userlist peers mailers resolvers cache program ring http-errors fcgi-app ' +
    'log-forward log-profile crt-store traces acme ruleset'
  ).split(' '),
);

const escapeRegExp = (text: string): string => text.replaceAll(/[$()*+.?[\\\]^{|}]/g, '\\$&');

function countLines(text: string): number {
  let lines = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines++;
  return lines;
}
