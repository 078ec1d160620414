/**
 * What stands in the state directory was written there by Berth. Nobody else can write to it; but a directory that was
 * copied, restored or lent out before may hold anything, and a link to /etc/passwd would be written through as root.
 */
import type { Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from './files.js';

/** Written to where they stand: a second name of theirs may be any file of root's. The others are replaced by rename(2). */
const IN_PLACE = ['lock', 'journal', 'generations/last'];
const FILES = [
  ...IN_PLACE,
  ...['ledger.json', 'attempt.json', 'serving.json', 'stopped.json', 'applied.json', 'halted'],
];

export interface Strange {
  readonly path: string;
  /** `is a symbolic link` */
  readonly why: string;
}

/**
 * The first thing in a state directory that Berth cannot have made: a file that is a link, a FIFO (which would hold its
 * reader for ever) or a device, or that others own or can write to; undefined where all is as it should be.
 */
export async function strangeInside(path: string): Promise<Strange | undefined> {
  const below = (name: string) => readdir(join(path, name)).catch((): string[] => []);
  const [generations, run] = await Promise.all([below('generations'), below('run')]);
  const numbers = generations.filter((name) => /^[1-9]\d*$/.test(name)).map((name) => `generations/${name}`);
  const looks = [
    ...FILES.map((name) => look(path, name, (found) => ofFile(found, IN_PLACE.includes(name)))),
    ...['generations', 'run', ...numbers].map((name) => look(path, name, ofDirectory)),
    ...run.map((name) => look(path, `run/${name}`, ofRun)),
  ];
  return (await Promise.all(looks)).find((found) => found !== undefined);
}

async function look(
  directory: string,
  name: string,
  judge: (found: Stats) => string | undefined,
): Promise<Strange | undefined> {
  const path = join(directory, name);
  try {
    const why = judge(await lstat(path));
    return why === undefined ? undefined : { path, why };
  } catch (error) {
    // Anything else is told by whoever opens it.
    if (errnoOf(error) === 'ENOENT') return undefined;
    return { path, why: `cannot be looked at (${errnoOf(error) ?? 'unknown error'})` };
  }
}

function ofFile(found: Stats, inPlace: boolean): string | undefined {
  if (found.isSymbolicLink()) return 'is a symbolic link';
  if (!found.isFile()) return 'is not a regular file';
  if (inPlace && found.nlink > 1) return `has ${found.nlink} names (hard links), and is written to where it stands`;
  return ofOthers(found);
}

/** Whose they are is HAProxy's matter (`unix-bind`). */
function ofRun(found: Stats): string | undefined {
  return found.isSocket() || found.isFile() ? undefined : 'is neither a socket nor a pid file';
}

function ofDirectory(found: Stats): string | undefined {
  return found.isDirectory() ? ofOthers(found) : 'is not a directory';
}

function ofOthers({ uid, mode }: Stats): string | undefined {
  const us = process.geteuid?.() ?? 0;
  if (uid !== us) return `belongs to uid ${uid}, not to uid ${us}`;
  if ((mode & 0o022) === 0) return undefined;
  return `has mode ${(mode & 0o7777).toString(8).padStart(4, '0')}, which lets others write to it`;
}
