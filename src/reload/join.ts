/** Which directories of a configuration are joined into bundles, and what HAProxy is given in their place. */
import { dirname, join } from 'node:path';
import { BerthError } from '../errors.js';
import { joinFiles, type Bundle, type Joined } from './bundle.js';

/** A directory of more files than this is joined: below, what it saves is not worth that `ps` shows other names. */
const JOIN_ABOVE = 100;

/** Bytes of joined names; MAX_ARG_STRLEN less the name of the variable and room for growth. */
const JOINED_NAMES_LIMIT = 100 * 1024;

export interface JoinRequest {
  /** Absolute, as given. */
  readonly sources: readonly string[];
  /** Absolute, in HAProxy's order. */
  readonly files: readonly string[];
  /** The master is given all names in one string (HAProxy before 3.1). */
  readonly namesInOneString: boolean;
  /** Where the mirror is going to stand. */
  readonly root: string;
}

/** The source directories to join, each with its files. */
export function directoriesToJoin(request: JoinRequest): Map<string, readonly string[]> {
  const { sources, files, root } = request;
  const tooLong = request.namesInOneString && nameBytes(files.map((file) => join(root, file))) > JOINED_NAMES_LIMIT;
  const asked = new Set(sources);
  const inside = new Map<string, string[]>();
  for (const file of files) {
    const directory = dirname(file);
    const known = inside.get(directory);
    if (known) known.push(file);
    else inside.set(directory, [file]);
  }
  const named = new Set(files.filter((file) => asked.has(file)).map((file) => dirname(file)));
  const wanted = [...inside].filter(
    // A file that is given by its own name, too, is read twice: it has to stand by itself.
    ([directory, own]) => asked.has(directory) && !named.has(directory) && (tooLong || own.length > JOIN_ABOVE),
  );
  return new Map(wanted);
}

/** @param contents of the files of {@link directoriesToJoin} */
export function joinDirectories(
  directories: ReadonlyMap<string, readonly string[]>,
  contents: ReadonlyMap<string, Buffer>,
): Map<string, Joined> {
  const joined = new Map<string, Joined>();
  for (const [directory, files] of directories) {
    // HAProxy works on bytes; latin1 keeps each as it is.
    const texts = files.map((file) => ({ file, text: contents.get(file)?.toString('latin1') ?? '' }));
    joined.set(directory, joinFiles(directory, texts));
  }
  return joined;
}

/**
 * The `-f` arguments below the mirror's root.
 * Throws BERTH_CONFIG_SYNTAX or BERTH_HAPROXY_UNSUITABLE where the master cannot be given so many names.
 */
export function filesToGive(request: JoinRequest, joined: ReadonlyMap<string, Joined>): string[] {
  const { sources, files, root } = request;
  if (request.namesInOneString) {
    const bundles = bundlesOf(joined);
    const inBundles = new Set(bundles.flatMap(namesIn));
    const names = [...files.filter((file) => !inBundles.has(file)), ...bundles.map(({ path }) => path)];
    if (nameBytes(names.map((path) => join(root, path))) > JOINED_NAMES_LIMIT) throw tooManyNames(names.length, joined);
  }
  return sources.flatMap((source) => joined.get(source)?.order ?? [source]).map((path) => join(root, path));
}

export function bundlesOf(joined: ReadonlyMap<string, Joined>): Bundle[] {
  return [...joined.values()].flatMap(({ bundles }) => bundles.map(({ bundle }) => bundle));
}

export function namesIn({ parts }: Bundle): string[] {
  return parts.map(({ file }) => file);
}

/** Bytes of all file names as HAProxy joins them, one separator each. */
function nameBytes(files: readonly string[]): number {
  return files.reduce((sum, file) => sum + Buffer.byteLength(file) + 1, 0);
}

function tooManyNames(count: number, joined: ReadonlyMap<string, Joined>): BerthError {
  const [first] = [...joined.values()].flatMap(({ apart }) => apart);
  if (first === undefined)
    return new BerthError(
      'BERTH_HAPROXY_UNSUITABLE',
      `The master of this HAProxy cannot be given ${count} file names: joined they exceed 128 KiB`,
      { step: 'stage', advice: 'Put the files into a directory and give that, or use HAProxy 3.1 or later' },
    );
  const { file, line, why } = first;
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
