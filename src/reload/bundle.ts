/**
 * A directory of configuration files as one file. The master of HAProxy 2.2 to 3.0 re-executes itself with all file names
 * joined in the environment variable HAPROXY_CFGFILES; one string of more than 128 KiB (MAX_ARG_STRLEN) is refused by
 * execve(2) with E2BIG: 2.6 and 3.0 then die at boot, 2.2 cannot be reloaded any more. 3.1 and later do not.
 */
import { z } from 'zod';
import { BerthError } from '../errors.js';

/** Hidden, so that HAProxy does not read it as one of the directory's files. */
export const BUNDLE_NAME = '.berth-bundle.cfg';

/** Joined names above this are bundled; MAX_ARG_STRLEN less the name of the variable and room for growth. */
export const JOINED_NAMES_LIMIT = 100 * 1024;

export const bundleSchema = z.object({
  /** Where the joined file stands below the mirror's root, beside the files that it replaces, so that `default-path` keeps its meaning. */
  path: z.string(),
  /** The directory that it replaces. */
  directory: z.string(),
  /** Which of its lines come from where, ascending; `firstLine` from 1. */
  parts: z.array(z.object({ file: z.string(), firstLine: z.int().positive(), lines: z.int().positive() })),
});
export type Bundle = z.infer<typeof bundleSchema>;

/** Bytes of all file names as HAProxy joins them, one separator each. */
export function joinedNameBytes(files: readonly string[]): number {
  return files.reduce((sum, file) => sum + Buffer.byteLength(file) + 1, 0);
}

/**
 * Join the files of a directory, in order.
 * Throws BERTH_CONFIG_SYNTAX where joining would change what they mean: HAProxy ends a section with its file, so a file
 * that has lines before its first section would continue the section of the file before; a missing line feed at the end
 * would join two lines; an `.if` left open would swallow the next file.
 */
export function joinFiles(
  directory: string,
  path: string,
  files: readonly { readonly file: string; readonly text: string }[],
): { readonly text: string; readonly bundle: Bundle } {
  const parts: Bundle['parts'] = [];
  let line = 1;
  for (const { file, text } of files) {
    if (text === '') continue;
    refuseUnjoinable(file, text);
    const lines = countLines(text);
    parts.push({ file, firstLine: line, lines });
    line += lines;
  }
  return { text: files.map((each) => each.text).join(''), bundle: { path, directory, parts } };
}

/** `file:line` of the user's for a line of the bundle; the directory where no line is given. */
export function originOf(bundle: Bundle, line: number | undefined): string {
  if (line === undefined) return bundle.directory;
  const part = bundle.parts.findLast(({ firstLine }) => firstLine <= line);
  return part ? `${part.file}:${line - part.firstLine + 1}` : `${bundle.directory}:${line}`;
}

function refuseUnjoinable(file: string, text: string): void {
  if (!text.endsWith('\n')) throw unjoinable(file, countLines(`${text}\n`), 'its last line has no line feed');
  let open = 0;
  let inSection = false;
  let number = 0;
  for (const line of text.split('\n')) {
    number++;
    const [word = ''] = line.trim().split(/\s/, 1);
    if (word === '.if') open++;
    else if (word === '.endif') open--;
    if (inSection || word === '' || word.startsWith('#') || word.startsWith('.')) continue;
    if (!SECTIONS.has(word)) throw unjoinable(file, number, `"${word}" stands before its first section`);
    inSection = true;
  }
  if (open !== 0) throw unjoinable(file, number, 'its .if and .endif do not match');
}

/** Section keywords of HAProxy 2.2 to 3.2 (REGISTER_CONFIG_SECTION, cfgparse.c). */
const SECTIONS: ReadonlySet<string> = new Set(
  (
    'global defaults listen frontend backend userlist peers mailers resolvers cache program ring http-errors fcgi-app ' +
    'log-forward log-profile crt-store traces acme ruleset'
  ).split(' '),
);

function unjoinable(file: string, line: number, why: string): BerthError {
  return new BerthError(
    'BERTH_CONFIG_SYNTAX',
    `${file}:${line}: ${why}, and this HAProxy's master cannot be given so many files one by one: their names exceed 128 KiB`,
    {
      step: 'stage',
      advice: 'Correct the line, put several sections into one file, or use HAProxy 3.1 or later',
      details: { file, line },
    },
  );
}

function countLines(text: string): number {
  let lines = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines++;
  return lines;
}
