/** Which errors a call can end with, and faults that let it. */
import type { Call } from './calls.js';
import { systemError } from './calls.js';
import type { Fault } from './matrix.js';

const READS = /^(readFile|readlink|realpath|stat|lstat|readdir|access|read) /;
/** These take no descriptor. */
const CHANGES = /^(mkdir|rename|symlink|unlink|rm|write|truncate|ftruncate|sync|datasync|chmod) /;
const WRITES = /^(writeFile|copyFile|open) /;

/** By open(2), write(2), fsync(2), rename(2), mkdir(2), socket(2), bind(2), pidfd_open(2), fork(2) and what they share. */
function errorsOf({ name }: Call): readonly string[] {
  // Whoever is root may look at these.
  if (/^readFile \/proc\//.test(name)) return ['EMFILE', 'ENOMEM'];
  if (/^(lstat|readlink|stat|access|realpath) /.test(name)) return ['ENOMEM', 'EPERM'];
  if (READS.test(name)) return ['EMFILE', 'ENOMEM', 'EPERM'];
  if (CHANGES.test(name)) return ['ENOSPC', 'EROFS', 'ENOMEM', 'EPERM'];
  if (WRITES.test(name)) return ['ENOSPC', 'EROFS', 'EMFILE', 'ENOMEM', 'EPERM'];
  if (name === 'addon writeSysctl') return ['EROFS', 'EMFILE', 'ENOMEM', 'EPERM'];
  if (name === 'addon bindUnix' || name === 'addon serveSockets' || name === 'addon tryLock')
    return ['ENOSPC', 'EROFS', 'EMFILE', 'ENOMEM', 'EPERM'];
  return ['EMFILE', 'ENOMEM', 'EPERM'];
}

const syscallOf = ({ name }: Call): string => name.replace(/^addon /, '').split(' ')[0] ?? '';

/** This one call fails. */
function once(errno: string): Fault {
  return {
    name: errno,
    strikes: (step) => errorsOf(step).includes(errno),
    begin: () => ({
      strike: (call, first) => {
        if (first) throw systemError(errno, syscallOf(call));
        return undefined;
      },
    }),
  };
}

/** Every call that can fail so fails, until Berth gives up: a full disk stays full, while it undoes what it did. */
function lasting(errno: string): Fault {
  return {
    name: `${errno} from then on`,
    strikes: (step) => errorsOf(step).includes(errno),
    begin: () => ({
      strike: (call) => {
        if (errorsOf(call).includes(errno)) throw systemError(errno, syscallOf(call));
        return undefined;
      },
    }),
  };
}

export const ERRORS: readonly Fault[] = [
  ...['ENOSPC', 'EROFS', 'EMFILE', 'ENOMEM', 'EPERM'].map(once),
  ...['ENOSPC', 'EROFS', 'EMFILE'].map(lasting),
];
