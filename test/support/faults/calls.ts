/**
 * The calls that Berth makes of the system while it works: file operations, system calls of the addon, processes that it
 * starts, sockets that it connects. They are watched where they leave Berth's code, so that a call which is added to the
 * code is watched by itself; and any of them can be made to fail as the kernel would.
 */
import childProcess from 'node:child_process';
import { EventEmitter } from 'node:events';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';
import { constants as os } from 'node:os';

export interface Call {
  /** What Berth was doing, a phase of the reload. */
  readonly phase: string;
  /** `rename current`, `addon probe`, `spawn haproxy -c`: with the numbers of generations and processes taken out. */
  readonly name: string;
  /** How many calls of this name there were in this phase, this one included. */
  readonly nth: number;
}

/** What stands for a call in lists and in the names of cases. */
export function keyOf({ phase, name, nth }: Call): string {
  return `${phase}: ${name}${nth > 1 ? ` (${nth})` : ''}`;
}

/** Called before each call; what it throws is how the call fails, what it returns is called with what the call returned. */
export type Hook = (call: Call) => ((result: unknown) => void) | undefined;

export interface Watch {
  /** The next calls belong to this phase. */
  phase(name: string): void;
  /** The record that the journal's next calls write. */
  record(kind: string | undefined): void;
  end(): void;
}

type Method = (this: unknown, ...args: unknown[]) => unknown;
type Methods = Record<string, Method>;

interface Watching {
  readonly root: string;
  readonly hook: Hook;
  phase: string;
  record: string | undefined;
  readonly counts: Map<string, number>;
}

let watching: Watching | undefined;
/** The hook's own calls are not Berth's. */
let inHook = false;
let patched: Promise<void> | undefined;

/**
 * Watch the calls of this process that concern `root` (a directory), processes and sockets, until the end.
 * @param addon the loaded addon
 */
export async function watchCalls(root: string, addon: object, hook: Hook): Promise<Watch> {
  patched ??= patch(addon as Methods);
  await patched;
  const own: Watching = { root, hook, phase: 'open', record: undefined, counts: new Map() };
  watching = own;
  return {
    phase: (name) => void (own.phase = name),
    record: (kind) => void (own.record = kind),
    end: () => void (watching = undefined),
  };
}

function strike(name: string): ReturnType<Hook> {
  if (!watching || inHook) return undefined;
  const { phase, counts, hook } = watching;
  const key = `${phase}: ${name}`;
  const nth = (counts.get(key) ?? 0) + 1;
  counts.set(key, nth);
  inHook = true;
  try {
    return hook({ phase, name, nth });
  } finally {
    inHook = false;
  }
}

/** As Node and the addon throw it. */
export function systemError(code: string, syscall: string): NodeJS.ErrnoException {
  const errno = -(os.errno as Readonly<Record<string, number>>)[code]!;
  return Object.assign(new Error(`${code}: injected, ${syscall}`), { code, errno, syscall });
}

/** Closing cannot fail for want of anything, and these look at nothing outside. */
const PURE = new Set(['errnoName', 'closeDescriptors', 'serverServed', 'stopServer', 'raiseDescriptorLimit']);
const TWO_PATHS = new Set(['rename', 'renameSync', 'symlink', 'symlinkSync', 'copyFile', 'copyFileSync']);

async function patch(addon: Methods): Promise<void> {
  const promises = fs.promises as unknown as Methods;
  const files = fs as unknown as Methods;
  const { readlinkSync } = fs;
  const opened = new WeakMap<object, string>();
  const nameOf = (subject: unknown): string | undefined => {
    const path =
      typeof subject === 'number' && watching && !inHook ? descriptorPath(subject, readlinkSync) : String(subject);
    return path === undefined ? undefined : normal(path);
  };
  for (const [name, real] of Object.entries(promises)) {
    if (typeof real !== 'function') continue;
    promises[name] = async function (...args) {
      const path = args[TWO_PATHS.has(name) ? 1 : 0];
      const subject = nameOf(path);
      if (subject === undefined) return real.apply(this, args);
      strike(`${name} ${subject}`);
      const result = await real.apply(this, args);
      if (name === 'open') opened.set(result as object, String(path));
      return result;
    };
  }
  for (const [name, real] of Object.entries(files)) {
    if (typeof real !== 'function' || !name.endsWith('Sync')) continue;
    if (name === 'closeSync' || name === 'existsSync' || name === 'fstatSync') continue;
    files[name] = function (...args) {
      const subject = watching && nameOf(args[TWO_PATHS.has(name) ? 1 : 0]);
      if (subject !== undefined) strike(`${name.replace(/Sync$/, '')} ${subject}`);
      return real.apply(this, args);
    };
  }
  await patchHandles(opened);
  for (const [name, real] of Object.entries(addon)) {
    if (typeof real !== 'function' || PURE.has(name)) continue;
    addon[name] = function (...args) {
      strike(`addon ${name}`);
      return real.apply(this, args);
    };
  }
  patchSpawn();
  patchConnect();
  syncBuiltinESMExports();
}

/** Every handle has the same prototype; there is no other way to it. */
async function patchHandles(opened: WeakMap<object, string>): Promise<void> {
  const handle = await fs.promises.open('/dev/null', 'r');
  const prototype = Object.getPrototypeOf(handle) as Methods;
  await handle.close();
  for (const name of ['writeFile', 'write', 'sync', 'datasync', 'truncate', 'readFile', 'read', 'stat']) {
    const real = prototype[name];
    if (real === undefined) continue;
    prototype[name] = async function (...args) {
      const path = opened.get(this as object);
      const subject = path === undefined ? undefined : normal(path);
      if (subject !== undefined) strike(`${name} ${subject}`);
      return await real.apply(this, args);
    };
  }
}

function patchSpawn(): void {
  const real = childProcess.spawn as unknown as Method;
  (childProcess as unknown as Methods)['spawn'] = function (this: unknown, ...args: unknown[]) {
    let afterwards: ReturnType<Hook>;
    try {
      afterwards = strike(
        `spawn haproxy ${/ (-vv|-c|-D|-W) /.exec(` ${(args[1] as string[]).join(' ')} `)?.[1] ?? ''}`,
      );
    } catch (error) {
      // These spawn() throws; of all others it tells by an event (lib/internal/child_process.js).
      const { code = '' } = error as NodeJS.ErrnoException;
      if (!['EACCES', 'EAGAIN', 'EMFILE', 'ENFILE', 'ENOENT'].includes(code)) throw error;
      const child = new EventEmitter();
      process.nextTick(() => child.emit('error', error));
      return child;
    }
    const child = real.apply(this, args);
    afterwards?.(child);
    return child;
  };
}

function patchConnect(): void {
  const real = net.connect as unknown as Method;
  net.connect = function (this: unknown, ...args: unknown[]) {
    const { path } = args[0] as { path?: string };
    const subject = path === undefined ? undefined : normal(path);
    if (subject === undefined) return real.apply(this, args);
    try {
      strike(`connect ${subject}`);
    } catch (error) {
      const socket = new net.Socket();
      process.nextTick(() => socket.destroy(error as Error));
      return socket;
    }
    return real.apply(this, args);
  } as typeof net.connect;
}

function descriptorPath(descriptor: number, readlink: (path: string) => string): string | undefined {
  inHook = true;
  try {
    return readlink(`/proc/self/fd/${descriptor}`);
  } catch {
    return undefined;
  } finally {
    inHook = false;
  }
}

/** Without what differs from run to run; undefined for what is not Berth's doing. */
function normal(path: string): string | undefined {
  if (!watching) return undefined;
  const { root, record } = watching;
  if (/^\/proc\/(\d+\/|stat$|sys\/)/.test(path)) return path.replace(/^\/proc\/\d+/, '/proc/PID');
  if (path !== root && !path.startsWith(`${root}/`)) return undefined;
  const name = path
    .slice(root.length + 1)
    .replace(/^state\/?/, '')
    .replaceAll(root, '')
    .replace(/(generations\/\.?)\d+/g, '$1N')
    .replace(/run\/\d+/, 'run/N')
    .replace(/output-[0-9a-f]+/, 'output-X');
  return name === 'journal' && record !== undefined ? `journal (${record})` : name || '.';
}
