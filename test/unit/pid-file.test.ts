/** The pid file may stand in a directory of HAProxy's own user, as Debian's /run/haproxy: what is there may be anything. */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  openSync,
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isWritableByOthers, readPidFile } from '../../src/haproxy/pid-file.js';
import { pidFileAsItIs, writePidFile } from '../../src/reload/commit.js';
import { inodeOf } from '../../src/reload/handover.js';
import { temporaryDirectory } from '../support/state.js';

const root = process.geteuid?.() === 0;

describe('a pid file', () => {
  it.each<[string, (path: string) => void, RegExp]>([
    ['a FIFO', (path) => void spawnSync('mkfifo', [path]), /not a regular file/],
    ['a device without end', (path) => symlinkSync('/dev/zero', path), /not a regular file/],
    ['a directory', (path) => mkdirSync(path), /cannot be read: EISDIR|not a regular file/],
    ['far too long', (path) => writeFileSync(path, '1\n'.repeat(1 << 20)), /not a pid file/],
    ['another file', (path) => symlinkSync('/etc/passwd', path), /not a pid file/],
  ])('that is %s is refused, at once, and nothing of it is told', async (_, make, message) => {
    const path = join(temporaryDirectory(), 'haproxy.pid');
    make(path);
    const error = await readPidFile(path).then(
      () => undefined,
      (thrown: unknown) => thrown as Error,
    );
    expect(error).toMatchObject({ code: 'BERTH_HAPROXY_NOT_FOUND', message: expect.stringMatching(message) as string });
    expect(JSON.stringify(error)).not.toContain('root:');
    // A rollback that finds it does not wait, either.
    pidFileAsItIs(path);
  });

  it('put back after a failed reload, it is not written through a symlink that has taken its place', () => {
    const home = temporaryDirectory();
    const [path, victim] = [join(home, 'haproxy.pid'), join(home, 'crontab')];
    writeFileSync(path, '* * * * * root id\n');
    writeFileSync(victim, 'of root\n');
    const putBack = pidFileAsItIs(path);
    rmSync(path);
    symlinkSync(victim, path);
    putBack();
    expect(readFileSync(victim, 'utf8')).toBe('of root\n');
    expect(lstatSync(path).isFile()).toBe(true);
    expect(readFileSync(path, 'utf8')).toBe('* * * * * root id\n');
  });

  it.each(['haproxy.pid', 'haproxy.pid.berth'])('written, it replaces a symlink at %s', (name) => {
    const home = temporaryDirectory();
    const victim = join(home, 'victim');
    writeFileSync(victim, 'of root\n');
    symlinkSync(victim, join(home, name));
    writePidFile(join(home, 'haproxy.pid'), 42);
    expect(readFileSync(victim, 'utf8')).toBe('of root\n');
    expect(readFileSync(join(home, 'haproxy.pid'), 'utf8')).toBe('42\n');
  });

  it.skipIf(!root).each<[string, boolean, (directory: string, path: string) => void]>([
    ['of root in a directory of root', false, () => undefined],
    ['of root in a sticky directory', false, (directory) => chmodSync(directory, 0o1777)],
    ['of root in a directory of another', true, (directory) => chownSync(directory, 65534, 65534)],
    ['of root in a directory that all can write to', true, (directory) => chmodSync(directory, 0o777)],
    ['of another', true, (_, path) => chownSync(path, 65534, 65534)],
    ['that all can write to', true, (_, path) => chmodSync(path, 0o666)],
  ])('%s: can others write to it? %s', async (_, expected, prepare) => {
    const directory = temporaryDirectory();
    const path = join(directory, 'haproxy.pid');
    writeFileSync(path, '42\n');
    prepare(directory, path);
    expect(await isWritableByOthers(path)).toBe(expected);
  });
});

describe('the inode of a descriptor that was handed over', () => {
  it('is none where it is no socket, so that no file passes for one', () => {
    const fd = openSync('/dev/null', 'r');
    expect(inodeOf(fd)).toBe(0);
    closeSync(fd);
  });
});
