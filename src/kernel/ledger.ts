/**
 * Which reserved ports are ours: the kernel keeps one list without names, so what others put there is told apart by this
 * file. Reservations end with their network namespace and with the boot; so does what is recorded of them.
 */
import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BerthError, systemCause } from '../errors.js';
import { formatPorts, NO_PORTS, parsePorts, type PortSet } from '../model/ports.js';

export interface Ledger {
  /** The ports that we reserved in this namespace; none where nothing is recorded. */
  ours(namespaceKey: string): PortSet;
  /**
   * Record all that is ours in this namespace from now on; durable when it resolves. Record additions before they are
   * written to the kernel and removals after: a crash in between leaves a port recorded too many, never a port forgotten.
   * @throws BERTH_STATE_WRITE
   */
  record(namespaceKey: string, ports: PortSet): Promise<void>;
  /** Why the file could not be understood, where it could not: then nothing is ours, and nothing of what is there is removed. */
  readonly warning: string | undefined;
}

/** `BOOT:INODE`: a namespace's inode number is used again after its end, at the latest after a boot. */
export async function namespaceKey(inode: number): Promise<string> {
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  return `${boot}:${inode}`;
}

/**
 * @param path of the ledger, a JSON file; it need not exist.
 * @throws BERTH_STATE_DIR where the file exists and cannot be read at all
 */
export async function openLedger(path: string): Promise<Ledger> {
  const { lists, warning } = await read(path);
  return {
    warning,
    ours: (key) => lists.get(key) ?? NO_PORTS,
    record: async (key, ports) => {
      const boot = key.split(':')[0] ?? '';
      for (const other of lists.keys()) if (!other.startsWith(`${boot}:`)) lists.delete(other);
      if (ports.ranges.length > 0) lists.set(key, ports);
      else lists.delete(key);
      await write(path, lists);
    },
  };
}

interface Contents {
  readonly lists: Map<string, PortSet>;
  readonly warning: string | undefined;
}

async function read(path: string): Promise<Contents> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const cause = systemCause(error);
    if (cause?.code === 'ENOENT') return { lists: new Map(), warning: undefined };
    throw new BerthError(
      'BERTH_STATE_DIR',
      `The ledger of reserved ports ${path} cannot be read: ${cause?.code ?? ''}`,
      {
        step: 'reserve',
        cause: error,
      },
    );
  }
  try {
    return { lists: parse(text), warning: undefined };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return {
      lists: new Map(),
      warning: `The ledger of reserved ports ${path} cannot be understood (${why}): all reserved ports count as others', none is released`,
    };
  }
}

function parse(text: string): Map<string, PortSet> {
  const content = JSON.parse(text) as unknown;
  if (typeof content !== 'object' || content === null) throw new Error('it is not an object');
  const { version, reserved } = content as Record<string, unknown>;
  if (version !== 1) throw new Error('its version is not 1');
  if (typeof reserved !== 'object' || reserved === null) throw new Error('"reserved" is missing');
  return new Map(
    Object.entries(reserved).map(([key, list]: [string, unknown]) => {
      if (typeof list !== 'string') throw new Error(`"${key}" is not a list of ports`);
      return [key, parsePorts(list)];
    }),
  );
}

/** Written aside, flushed, renamed, and the directory flushed: a crash leaves the old file or the new one, whole. */
async function write(path: string, lists: ReadonlyMap<string, PortSet>): Promise<void> {
  const reserved = Object.fromEntries([...lists].map(([key, ports]) => [key, formatPorts(ports)]));
  const aside = `${path}.new`;
  try {
    await rm(aside, { force: true });
    const file = await open(aside, 'wx', 0o600);
    try {
      await file.writeFile(`${JSON.stringify({ version: 1, reserved }, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(aside, path);
    const directory = await open(dirname(path), 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  } catch (error) {
    const code = systemCause(error)?.code ?? String(error);
    throw new BerthError('BERTH_STATE_WRITE', `Cannot write the ledger of reserved ports ${path}: ${code}`, {
      step: 'reserve',
      cause: error,
    });
  }
}
