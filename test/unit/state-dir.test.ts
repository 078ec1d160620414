import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openStateDir, SOCKET_PATH_LIMIT, type LockFile } from '../../src/reload/state-dir.js';
import { Journal } from '../../src/reload/journal.js';
import { publish } from '../../src/reload/publish.js';
import { openGeneration, servingNumber } from '../../src/reload/generations.js';
import { noLock, openTestState, put, quickStage, temporaryDirectory, withFileSystem } from '../support/state.js';

/** Two levels, not through symlinks. */
const listing = (home: string): string[] =>
  readdirSync(home, { withFileTypes: true }).flatMap((entry) => [
    entry.name,
    ...(entry.isDirectory() ? readdirSync(join(home, entry.name)) : []),
  ]);

const directory = (path: string, mode: number): void => {
  mkdirSync(path, { recursive: true });
  chmodSync(path, mode);
};

const create = (path: string) => openStateDir(path, { create: true, lockFile: noLock });

describe('state directory', () => {
  it('is made, private, with its parents', async () => {
    const path = join(temporaryDirectory(), 'var/lib/berth');
    const state = await create(path);
    expect(statSync(path).mode & 0o7777).toBe(0o700);
    expect(readdirSync(path).sort()).toEqual(['generations', 'run']);
    expect(state.path).toBe(path);
    await create(path);
  });

  it('opened for reading, it is not made', async () => {
    const path = join(temporaryDirectory(), 'berth');
    const state = await openStateDir(path, { create: false, lockFile: noLock });
    expect(await servingNumber(state)).toBeUndefined();
    expect(state.holder()).toBeUndefined();
    await expect(openGeneration(state, 1)).rejects.toMatchObject({
      code: 'BERTH_GENERATION_UNKNOWN',
      message: 'There is no generation 1; none is kept yet',
    });
    expect(() => statSync(path)).toThrow(/ENOENT/);
  });

  it.each<[string, (path: string) => void, RegExp]>([
    ['a symlink', (path) => symlinkSync('/tmp', path), /is a symbolic link/],
    ['a dangling symlink', (path) => symlinkSync('/nonexistent/x', path), /is a symbolic link/],
    ['a file', (path) => writeFileSync(path, ''), /not a directory/],
    ['writable by its group', (path) => directory(path, 0o770), /mode 0770 lets others write/],
    ['writable by others', (path) => directory(path, 0o702), /mode 0702 lets others write/],
    [
      'below a file',
      (path) => writeFileSync(path.replace(/\/[^/]*$/, ''), ''),
      /a part of its path is not a directory|cannot be looked at \(ENOTDIR\)/,
    ],
    [
      'below a directory that others can write to',
      (path) => directory(join(path, '..'), 0o777),
      /above it has mode 0777/,
    ],
  ])('refuses what is %s, and changes nothing there', async (what, prepare, message) => {
    const home = temporaryDirectory();
    const path = join(home, 'berth', 'state');
    if (what !== 'below a file') mkdirSync(join(home, 'berth'));
    prepare(path);
    const before = listing(home);
    await expect(create(path)).rejects.toMatchObject({
      code: 'BERTH_STATE_DIR',
      message: expect.stringMatching(message) as string,
    });
    expect(listing(home)).toEqual(before);
    if (what === 'below a file') return;
    const reading = openStateDir(path, { create: false, lockFile: noLock });
    await expect(reading).rejects.toMatchObject({ code: 'BERTH_STATE_DIR' });
  });

  it.each<[string, (path: string) => void, RegExp]>([
    ['lock', (path) => symlinkSync('/etc/passwd', path), /lock is a symbolic link/],
    ['lock', (path) => linkSync(put(`${path}.other`, 'of root'), path), /lock has 2 names/],
    ['journal', (path) => void spawnSync('mkfifo', [path]), /journal is not a regular file/],
    ['ledger.json', (path) => put(path, '{}', 0o666), /ledger.json has mode 0666, which lets others write to it/],
    ['serving.json', (path) => mkdirSync(path), /serving.json is not a regular file/],
    ['generations/last', (path) => symlinkSync('/etc/passwd', path), /last is a symbolic link/],
    ['generations/7', (path) => symlinkSync('/etc', path), /7 is not a directory/],
    ['generations/7', (path) => directory(path, 0o777), /7 has mode 0777/],
    ['run/7.pid', (path) => symlinkSync('/etc/passwd', path), /7.pid is neither a socket nor a pid file/],
  ])('refuses a %s that it cannot have made (%#)', async (name, plant, message) => {
    const path = join(temporaryDirectory(), 'berth');
    await create(path);
    plant(join(path, name));
    if (name === 'ledger.json') chmodSync(join(path, name), 0o666);
    await expect(create(path)).rejects.toMatchObject({
      code: 'BERTH_STATE_DIR',
      message: expect.stringMatching(message) as string,
    });
  });

  it('is used by its resolved path, so that a symlink above it cannot be turned elsewhere later', async () => {
    const home = temporaryDirectory();
    mkdirSync(join(home, 'real'));
    symlinkSync('real', join(home, 'link'));
    expect((await create(join(home, 'link/berth'))).path).toBe(join(home, 'real/berth'));
    symlinkSync('gone', join(home, 'dangling'));
    await expect(create(join(home, 'dangling/x/berth'))).rejects.toMatchObject({ code: 'BERTH_STATE_DIR' });
  });

  it('accepts a sticky directory above it, as /tmp is', async () => {
    const home = temporaryDirectory();
    mkdirSync(join(home, 'tmp'));
    chmodSync(join(home, 'tmp'), 0o1777);
    await create(join(home, 'tmp/berth'));
  });

  it.runIf(process.geteuid?.() === 0)('refuses what belongs to somebody else, and what stands below that', async () => {
    const home = temporaryDirectory();
    const path = join(home, 'a/berth');
    mkdirSync(path, { recursive: true, mode: 0o700 });
    chownSync(path, 65534, 65534);
    await expect(create(path)).rejects.toMatchObject({
      message: expect.stringMatching(/belongs to uid 65534, not to uid 0/) as string,
    });
    chownSync(path, 0, 0);
    chownSync(join(home, 'a'), 65534, 65534);
    await expect(create(path)).rejects.toMatchObject({
      message: expect.stringMatching(/a above it belongs to uid 65534/) as string,
    });
  });

  it('refuses a socket path that the kernel or HAProxy would cut off', async () => {
    const home = temporaryDirectory();
    const short = await create(join(home, 'b'));
    expect(short.socket('7.stats')).toBe(join(home, 'b/run/7.stats'));
    const room = SOCKET_PATH_LIMIT - Buffer.byteLength(join(home, 'b/run/'));
    expect(() => short.socket('x'.repeat(room))).not.toThrow();
    expect(() => short.socket('x'.repeat(room + 1))).toThrow(
      /too long for a unix socket: .* has 96 bytes, the limit is 95/,
    );
    expect(() => short.socket('é'.repeat(room))).toThrow(/too long/);
  });
});

describe('state lock', () => {
  const locks = new Map<string, number>();
  /** flock(2)'s meaning within this process. */
  const lockFile: LockFile = (path) => {
    if (locks.has(path)) return Promise.resolve({ busyPid: undefined });
    locks.set(path, openSync(path, 'a+'));
    const fd = openSync(path, 'r+');
    return Promise.resolve({ fd });
  };

  it('says who works here, on what, since when', async () => {
    const path = join(temporaryDirectory(), 'berth');
    const state = await openStateDir(path, { create: true, lockFile });
    const lock = await state.lock('reload of /etc/haproxy', 0);
    expect(state.holder()).toMatchObject({ pid: process.pid, doing: 'reload of /etc/haproxy' });
    await expect(state.lock('prune', 0)).rejects.toMatchObject({
      code: 'BERTH_LOCKED',
      message: expect.stringMatching(
        new RegExp(`in use by Berth with pid ${process.pid}, which does "reload of /etc/haproxy" since 20..-`),
      ) as string,
      details: { pid: process.pid, doing: 'reload of /etc/haproxy' },
    });
    lock.release();
    lock.release();
    expect(state.holder()).toBeUndefined();
    expect(readFileSync(join(path, 'lock'), 'utf8')).toBe('');
  });

  it('a lock file with junk in it is no obstacle', async () => {
    const path = join(temporaryDirectory(), 'berth');
    const state = await openStateDir(path, { create: true, lockFile });
    writeFileSync(join(path, 'lock'), 'junk\u0000\n\n');
    expect(state.holder()).toBeUndefined();
    (await state.lock('x', 0)).release();
  });

  it('a lock that cannot be taken is told with its errno', async () => {
    const refused: LockFile = () =>
      Promise.reject(Object.assign(new Error('x'), { code: 'EROFS', errno: -30, syscall: 'open' }));
    const state = await openStateDir(join(temporaryDirectory(), 'b'), { create: true, lockFile: refused });
    await expect(state.lock('x', 0)).rejects.toMatchObject({ code: 'BERTH_STATE_WRITE', details: { errno: 'EROFS' } });
  });
});

describe('a file system that cannot be written', () => {
  it('read-only: told before anything is begun', async (context) => {
    await withFileSystem(context, 'size=1m', async (mount, remount) => {
      const path = join(mount, 'berth');
      await create(path);
      remount('ro');
      await expect(create(path)).rejects.toMatchObject({ code: 'BERTH_STATE_WRITE', details: { errno: 'EROFS' } });
      await expect(create(join(mount, 'new'))).rejects.toMatchObject({
        code: 'BERTH_STATE_WRITE',
        details: { errno: 'EROFS' },
      });
    });
  });

  it('turned read-only under Berth: each write says so, and what was there stays readable', async (context) => {
    await withFileSystem(context, 'size=1m', async (mount, remount) => {
      const { config } = await openTestState();
      const state = await create(join(mount, 'berth'));
      const one = await publish(state, await quickStage(state, config));
      const journal = await Journal.open(state.journal);
      remount('ro');
      const refused = { code: 'BERTH_STATE_WRITE', details: { errno: 'EROFS' } };
      await expect(quickStage(state, config)).rejects.toMatchObject(refused);
      await expect(publish(state, one)).rejects.toMatchObject(refused);
      await expect(journal.begin({ kind: 'begin', transaction: 't', generation: 1 })).rejects.toMatchObject(refused);
      expect(await servingNumber(state)).toBe(1);
    });
  });

  it('full: the generation is absent, the journal and what serves as before', async (context) => {
    await withFileSystem(context, 'size=256k', async (mount) => {
      const { home, config } = await openTestState();
      const state = await create(join(mount, 'berth'));
      await publish(state, await quickStage(state, config));
      const journal = await Journal.open(state.journal);
      await journal.begin({ kind: 'begin', transaction: 't', generation: 1 });
      const big = put(join(home, 'big.cfg'), Buffer.alloc(512 * 1024, '# comment\n'));
      await expect(quickStage(state, big)).rejects.toMatchObject({
        code: 'BERTH_STATE_WRITE',
        details: { errno: 'ENOSPC' },
        message: expect.stringMatching(/Cannot .*: ENOSPC .*; nothing was changed/) as string,
      });
      expect(readdirSync(state.generations).sort()).toEqual(['1', 'last']);

      try {
        writeFileSync(join(mount, 'filler'), Buffer.alloc(512 * 1024));
      } catch {
        // as full as it gets
      }
      const reason = 'x'.repeat(8192);
      await expect(journal.append({ kind: 'aborting', reason })).rejects.toMatchObject({ code: 'BERTH_STATE_WRITE' });
      rmSync(join(mount, 'filler'));
      await journal.append({ kind: 'aborting', reason }, { kind: 'aborted' });
      await journal.close();
      const again = await Journal.open(state.journal);
      expect(again.records.map(({ kind }) => kind)).toEqual(['begin', 'aborting', 'aborted']);
      expect(again.dropped).toBeUndefined();
      expect(await servingNumber(state)).toBe(1);
    });
  });
});
