import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { StateDir } from '../../src/reload/state-dir.js';
import { stage, type StageRequest } from '../../src/reload/stage.js';
import { openTestState, put } from '../support/state.js';

const FACTS = { haproxyVersion: '2.6.12', reason: 'reload', references: [] as string[] };

/** Nothing of a failed stage is left, and the next one works. */
async function refused(state: StateDir, request: Partial<StageRequest>, expected: object): Promise<void> {
  const before = readdirSync(state.generations).sort();
  const complete = { sources: [], files: [], ...FACTS, ...request };
  await expect(stage(state, complete, { retryMs: 1 })).rejects.toMatchObject(expected);
  expect(readdirSync(state.generations).sort()).toEqual([...new Set([...before, 'last'])].sort());
}

describe('stage', () => {
  it('mirrors the files at their own paths, byte by byte, and gives the command for the copy', async () => {
    const { state, home } = await openTestState();
    const etc = join(home, 'etc');
    const files = [
      put(join(etc, 'conf.d/a.cfg'), 'listen a\n'),
      put(join(etc, 'conf.d/b.cfg'), Buffer.from([0xff, 10])),
    ];
    put(join(etc, 'conf.d/ignored.txt'), 'x');
    const generation = await stage(state, {
      ...FACTS,
      sources: [join(etc, 'conf.d')],
      files,
      privateConfiguration: ({ number, directory }) => `# ${number} ${directory}\n`,
      extraArguments: ['-L', 'me'],
      quarantined: ['10.9.0.1:80/tcp'],
    });
    const root = join(generation.directory, 'root');
    expect(generation.command).toEqual({
      files: [root + join(etc, 'conf.d'), join(generation.directory, 'private.cfg')],
      workingDirectory: undefined,
      extraArguments: ['-L', 'me'],
    });
    expect(readdirSync(root + join(etc, 'conf.d')).sort()).toEqual(['a.cfg', 'b.cfg']);
    expect(readFileSync(root + files[1]!)).toEqual(Buffer.from([0xff, 10]));
    expect(readFileSync(join(generation.directory, 'private.cfg'), 'utf8')).toBe(`# 1 ${generation.directory}\n`);
    expect(generation.meta).toMatchObject({
      state: 'staged',
      good: false,
      fileCount: 2,
      bytes: 11,
      quarantined: ['10.9.0.1:80/tcp'],
    });
    expect(generation.staged(files[0]!)).toBe(root + files[0]!);
    expect(generation.toOriginal(`parsing [${root}${files[0]!}:3] : and ${root}/etc/x`)).toBe(
      `parsing [${files[0]!}:3] : and /etc/x`,
    );
  });

  it('relative sources, files and references start from the working directory, which becomes the mirror’s', async () => {
    const { state, home } = await openTestState();
    put(join(home, 'etc/conf.d/a.cfg'), 'listen a\n');
    put(join(home, 'etc/acl-1'), '10.0.0.0/8\n');
    put(join(home, 'certs/x.pem'), 'key', 0o600);
    const { command, meta, staged } = await stage(state, {
      ...FACTS,
      sources: ['conf.d'],
      workingDirectory: join(home, 'etc'),
      files: ['conf.d/a.cfg'],
      references: ['acl-1', '../certs'],
      rewritten: new Map([['conf.d/a.cfg', (text) => text.replace('a\n', 'new \u00e9\n')]]),
    });
    expect(meta.workingDirectory).toBe(join(home, 'etc'));
    const cwd = command.workingDirectory!;
    expect(cwd).toBe(staged(join(home, 'etc')));
    expect(readFileSync(join(command.files[0]!, 'a.cfg'), 'latin1')).toBe('listen new é\n');
    expect(readFileSync(join(cwd, 'acl-1'), 'utf8')).toBe('10.0.0.0/8\n');
    expect(readFileSync(`${cwd}/../certs/x.pem`, 'utf8')).toBe('key');
  });

  it('keeps the user’s working directory where nothing is named by relative path', async () => {
    const { state, home, config } = await openTestState();
    const generation = await stage(state, { ...FACTS, sources: [config], files: [config], workingDirectory: home });
    expect(generation.command.workingDirectory).toBe(home);
  });

  it('symlinked directories stay what they are, so that .. leads where it led', async () => {
    const { state, home } = await openTestState();
    put(join(home, 'configs/20260101/a.cfg'), 'listen a\n');
    put(join(home, 'configs/20260101/acl-1'), 'one');
    put(join(home, 'configs/shared/x.lua'), 'two');
    put(join(home, 'shared/x.lua'), 'not this one');
    symlinkSync('configs/20260101', join(home, 'current'));
    const cwd = join(home, 'current');
    expect(readFileSync(`${cwd}/../shared/x.lua`, 'utf8')).toBe('two');
    const { command } = await stage(state, {
      ...FACTS,
      sources: [cwd],
      workingDirectory: cwd,
      files: [join(cwd, 'a.cfg')],
      references: [join(cwd, 'acl-1'), join(home, 'configs/shared')],
    });
    expect(readFileSync(`${command.workingDirectory!}/../shared/x.lua`, 'utf8')).toBe('two');
    expect(readFileSync(`${command.workingDirectory!}/acl-1`, 'utf8')).toBe('one');
    expect(readdirSync(command.files[0]!).sort()).toEqual(['a.cfg', 'acl-1']);
    // The user's own symlink is turned; the generation does not notice.
    renameSync(join(home, 'configs/20260101'), join(home, 'gone'));
    expect(readFileSync(`${command.workingDirectory!}/acl-1`, 'utf8')).toBe('one');
  });

  it('a directory that is referred to is taken whole; loops, dead links and special files in it are no obstacle', async () => {
    const { state, home, config } = await openTestState();
    const certs = join(home, 'certs');
    put(join(certs, 'a/deep/x.pem'), 'x');
    put(join(home, 'archive/real.pem'), 'real', 0o600);
    symlinkSync('../archive/real.pem', join(certs, 'live.pem'));
    symlinkSync('..', join(certs, 'a/loop'));
    symlinkSync('self', join(certs, 'self'));
    symlinkSync('/nonexistent/y', join(certs, 'dead'));
    symlinkSync('../archive', join(certs, 'linked'));
    expect(spawnSync('mkfifo', [join(certs, 'fifo')]).status).toBe(0);
    const { staged } = await stage(state, { ...FACTS, sources: [config], files: [config], references: [certs] });
    expect(readdirSync(staged(certs)).sort()).toEqual(['a', 'linked', 'live.pem']);
    expect(lstatSync(staged(join(certs, 'live.pem'))).isFile()).toBe(true);
    expect(readFileSync(staged(join(certs, 'a/loop/live.pem')), 'utf8')).toBe('real');
    expect(readFileSync(staged(join(certs, 'linked/real.pem')), 'utf8')).toBe('real');
  });

  it('never copies into itself', async () => {
    const { state, home, config } = await openTestState();
    const { staged } = await stage(state, { ...FACTS, sources: [config], files: [config], references: [home] });
    expect(readdirSync(staged(home)).sort()).toEqual(['etc', 'state']);
    expect(readdirSync(staged(state.path))).toEqual([]);
  });

  it('a .cfg file that appeared in a source directory after it was read is not taken', async () => {
    const { state, home } = await openTestState();
    const dir = join(home, 'conf.d');
    put(join(dir, 'a.cfg'), 'listen a\n');
    put(join(dir, 'late.cfg'), 'listen late\n');
    put(join(dir, 'sub/x.cfg'), 'not read by HAProxy, but perhaps referred to\n');
    const { staged } = await stage(state, { ...FACTS, sources: [dir], files: [join(dir, 'a.cfg')], references: [dir] });
    expect(readdirSync(staged(dir)).sort()).toEqual(['a.cfg', 'sub']);
  });

  it('a socket that is referred to stays the socket itself', async () => {
    const { state, home, config } = await openTestState();
    const path = join(home, 's.sock');
    const server = createServer().listen(path);
    await new Promise((done) => server.once('listening', done));
    const { staged } = await stage(state, { ...FACTS, sources: [config], files: [config], references: [path] });
    expect(statSync(staged(path)).isSocket()).toBe(true);
    expect(statSync(staged(path)).ino).toBe(statSync(path).ino);
    server.close();
  });

  it('keeps permissions, but lets nobody else write and drops set-id bits', async () => {
    const { state, home } = await openTestState();
    const modes = { key: 0o600, read: 0o400, open: 0o666, exec: 0o4777 };
    const files = Object.entries(modes).map(([name, mode]) => {
      const path = put(join(home, name), 'x');
      chmodSync(path, mode);
      return path;
    });
    const { staged } = await stage(state, { ...FACTS, sources: files, files });
    const found = files.map((file) => (statSync(staged(file)).mode & 0o7777).toString(8));
    expect(found).toEqual(['600', '400', '644', '755']);
  });

  it('two at once get different numbers, and both are whole', async () => {
    const { state, config } = await openTestState();
    const request = { ...FACTS, sources: [config], files: [config] };
    const made = await Promise.all([1, 2, 3, 4].map(() => stage(state, request)));
    expect(made.map(({ number }) => number).sort()).toEqual([1, 2, 3, 4]);
    for (const { staged } of made) expect(readFileSync(staged(config), 'utf8')).toBe(readFileSync(config, 'utf8'));
    expect((await stage(state, request)).number).toBe(5);
  });

  it('one flush of the file system for many files, one of each file for few', async () => {
    const { state, home, config } = await openTestState();
    const synced: string[] = [];
    const syncFileSystem = (path: string): Promise<void> => {
      synced.push(path);
      return Promise.resolve();
    };
    const files = Array.from({ length: 100 }, (_, i) => put(join(home, `d/${String(i)}.cfg`), `listen ${i}\n`));
    await stage(state, { ...FACTS, sources: [config], files: [config] }, { syncFileSystem });
    expect(synced).toEqual([]);
    await stage(state, { ...FACTS, sources: [join(home, 'd')], files }, { syncFileSystem });
    expect(synced).toEqual([join(state.generations, '.2.staging')]);
  });
});

describe('stage refuses, and leaves nothing behind', () => {
  it.each<[string, (home: string) => string, object]>([
    [
      'a file that does not exist',
      (home) => join(home, 'none'),
      { code: 'BERTH_CONFIG_UNREADABLE', details: { changed: true } },
    ],
    [
      'a directory for a file',
      (home) => home,
      { code: 'BERTH_CONFIG_UNREADABLE', message: expect.stringMatching(/is a directory/) as string },
    ],
    ['a device', () => '/dev/null', { code: 'BERTH_CONFIG_UNREADABLE', message: '/dev/null is not a regular file' }],
    [
      'a loop of links',
      (home) => {
        symlinkSync('loop', join(home, 'loop'));
        return join(home, 'loop');
      },
      { code: 'BERTH_CONFIG_UNREADABLE', message: expect.stringMatching(/ELOOP/) as string },
    ],
  ])('%s', async (_, make, expected) => {
    const { state, home } = await openTestState();
    const file = make(home);
    await refused(state, { sources: [file], files: [file] }, expected);
  });

  it('a dangling symlink, saying where it points', async () => {
    const { state, home } = await openTestState();
    symlinkSync('/nonexistent/z', join(home, 'dead.cfg'));
    await refused(
      state,
      { files: [join(home, 'dead.cfg')] },
      {
        code: 'BERTH_CONFIG_UNREADABLE',
        message: expect.stringMatching(/dead\.cfg points to \/nonexistent\/z, which does not exist/) as string,
      },
    );
  });

  it('a pipe that is referred to', async () => {
    const { state, home, config } = await openTestState();
    spawnSync('mkfifo', [join(home, 'fifo')]);
    await refused(state, { files: [config], references: [join(home, 'fifo')] }, { code: 'BERTH_CONFIG_UNREADABLE' });
  });

  it('more than the limits', async () => {
    const { state, home, config } = await openTestState();
    const big = put(join(home, 'big'), Buffer.alloc(1000));
    const request = { ...FACTS, sources: [config], files: [config], references: [big] };
    for (const limits of [
      { maxFiles: 1, maxBytes: 1e6 },
      { maxFiles: 10, maxBytes: 999 },
    ]) {
      await expect(stage(state, request, { limits })).rejects.toMatchObject({ code: 'BERTH_CONFIG_TOO_LARGE' });
    }
    expect(readdirSync(state.generations)).toEqual(['last']);
  });
});

describe('a configuration that changes while it is copied', () => {
  it('is waited for: what is staged is one of the states it had, whole', async () => {
    const { state, home } = await openTestState();
    const version = (n: number): void => {
      for (const name of ['a', 'b', 'c']) put(join(home, `v${n}/${name}.cfg`), `# ${n}\n`.repeat(n * 100));
    };
    const files = ['a', 'b', 'c'].map((name) => join(home, `current/${name}.cfg`));
    for (let n = 1; n <= 8; n++) version(n);
    symlinkSync('v1', join(home, 'current'));
    let n = 1;
    // As an agent does it: the symlink is removed and made anew; for a moment there is none.
    const turning = setInterval(() => {
      if (n === 8) return;
      unlinkSync(join(home, 'current'));
      setImmediate(() => symlinkSync(`v${++n}`, join(home, 'current')));
    }, 3);
    try {
      const { staged } = await stage(state, { ...FACTS, sources: [join(home, 'current')], files }, { retryMs: 50 });
      const texts = files.map((file) => readFileSync(staged(file), 'utf8'));
      expect(new Set(texts).size).toBe(1);
      expect(texts[0]).toMatch(/^(# \d\n)\1*$/);
    } finally {
      clearInterval(turning);
      // The new symlink may still be due.
      await new Promise((resolve) => setImmediate(resolve));
    }
  });

  it('a file written a moment ago is looked at again, since its next change might not show in its times', async () => {
    const { state, config } = await openTestState();
    writeFileSync(config, 'listen young\n');
    const { staged } = await stage(state, { ...FACTS, sources: [config], files: [config] });
    expect(readFileSync(staged(config), 'utf8')).toBe('listen young\n');
    rmSync(config);
  });
});
