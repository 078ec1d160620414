/** HAProxy's own command line, as far as lbagent uses it. */
import { resolve } from 'node:path';

/** A start or a reload as lbagent asks for it; paths as HAProxy finds them, absolute. */
export interface HAProxyCall {
  /** `-p` */
  readonly pidFile: string;
  /** `-C`, else the directory of the call: where relative paths start from. */
  readonly workingDirectory: string;
  /** `-f`, in their order. */
  readonly sources: readonly string[];
  /** `-sf`: who is to finish. Empty: a start. */
  readonly finish: readonly number[];
  /** `-n`, `-m`, `-N`, `-L` with their values and `-d…`: what changes how HAProxy runs, not who runs it. */
  readonly extraArguments: readonly string[];
}

const WITH_VALUE = ['-p', '-C', '-f', '-x', '-n', '-m', '-N', '-L'];
/** Say more, say less: nothing to hand on to a HAProxy whose words Berth reads. */
const TALK = ['-q', '-V'];
const DEBUGGING = /^-d([epSGrVWZ]|M.*)$/;

/**
 * Read as HAProxy reads it (src/haproxy.c): the last of two `-p` or `-C` counts, `-sf` takes all words up to the next
 * option, all words after `--` are files, and HAProxy changes to `-C` before it opens anything.
 * @returns undefined where it is not lbagent's: without `-D`, `-p` or `-f`, with `-x` but without `-sf`, or with any
 *   other option (`-v`, `-c`, `-W`, `-S`, `-db`, `-st`, …)
 */
export function parseCommandLine(words: readonly string[], cwd: string): HAProxyCall | undefined {
  const values = new Map<string, string[]>();
  const finish: number[] = [];
  const extraArguments: string[] = [];
  const add = (option: string, value: string) => values.set(option, [...(values.get(option) ?? []), value]);
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? '';
    if (word === '--') {
      for (const file of words.slice(at + 1)) add('-f', file);
      break;
    }
    if (WITH_VALUE.includes(word)) {
      const value = words[++at];
      if (value === undefined) return undefined;
      if (/^-[nmNL]$/.test(word)) extraArguments.push(word, value);
      else add(word, value);
    } else if (word === '-sf') {
      add('-sf', '');
      for (let pid = words[at + 1]; pid !== undefined && /^[^-]/.test(pid); pid = words[at + 1]) {
        if (!/^\d{1,10}$/.test(pid)) return undefined;
        finish.push(Number(pid));
        at += 1;
      }
    } else if (word === '-D') add('-D', '');
    else if (DEBUGGING.test(word)) extraArguments.push(word);
    else if (!TALK.includes(word)) return undefined;
  }
  const [pidFile, files] = [values.get('-p')?.at(-1), values.get('-f') ?? []];
  if (!values.has('-D') || pidFile === undefined || files.length === 0) return undefined;
  if (values.has('-x') && !values.has('-sf')) return undefined;
  const workingDirectory = resolve(cwd, values.get('-C')?.at(-1) ?? '.');
  return {
    pidFile: resolve(workingDirectory, pidFile),
    workingDirectory,
    sources: files.map((file) => resolve(workingDirectory, file)),
    finish,
    extraArguments,
  };
}
