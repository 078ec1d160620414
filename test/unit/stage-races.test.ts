/** What happens between two system calls of a copy: changes to the source, and failures, put there by a stand-in for copyFile. */
import type * as FileSystem from 'node:fs/promises';
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { stage } from '../../src/reload/stage.js';
import { openTestState, put } from '../support/state.js';

const hooks: { beforeCopy: (source: string) => void; afterCopy: (source: string) => void } = vi.hoisted(() => ({
  beforeCopy: () => undefined,
  afterCopy: () => undefined,
}));

vi.mock('node:fs/promises', async (importOriginal) => {
  const original = await importOriginal<typeof FileSystem>();
  const copyFile: typeof original.copyFile = async (source, ...rest) => {
    hooks.beforeCopy(String(source));
    await original.copyFile(source, ...rest);
    hooks.afterCopy(String(source));
  };
  return { ...original, copyFile };
});

beforeEach(() => {
  hooks.beforeCopy = hooks.afterCopy = () => undefined;
});

const FACTS = { references: [], haproxyVersion: '2.6.12', reason: 'reload' };

async function twoFiles(): Promise<{
  state: Awaited<ReturnType<typeof openTestState>>['state'];
  a: string;
  b: string;
}> {
  const { state, home } = await openTestState();
  return { state, a: put(join(home, 'd/a.cfg'), 'old a\n'), b: put(join(home, 'd/b.cfg'), 'old b\n') };
}

describe('between two system calls', () => {
  it('a file that was copied already is changed while the next one is: both are taken anew', async () => {
    const { state, a, b } = await twoFiles();
    let turns = 0;
    hooks.afterCopy = (source) => {
      if (source !== a || turns++ > 0) return;
      put(a, 'new a\n');
      put(b, 'new b\n');
    };
    const { staged } = await stage(state, { ...FACTS, sources: [a, b], files: [a, b] }, { retryMs: 1 });
    expect([a, b].map((file) => readFileSync(staged(file), 'utf8'))).toEqual(['new a\n', 'new b\n']);
    expect(turns).toBe(2);
  });

  it('replaced by rename with a file of the same size and time, it is told by its inode', async () => {
    const { state, a } = await twoFiles();
    let turns = 0;
    hooks.beforeCopy = () => {
      if (turns++ === 0) renameSync(put(`${a}.tmp`, 'NEW A\n'), a);
    };
    const { staged } = await stage(state, { ...FACTS, sources: [a], files: [a] }, { retryMs: 1 });
    expect(readFileSync(staged(a), 'utf8')).toBe('NEW A\n');
    expect(turns).toBe(2);
  });

  it('changed at every try, it is refused, and nothing is left', async () => {
    const { state, a } = await twoFiles();
    let turns = 0;
    hooks.afterCopy = () => put(a, `${String(turns++)}\n`);
    await expect(stage(state, { ...FACTS, sources: [a], files: [a] }, { retryMs: 1 })).rejects.toMatchObject({
      code: 'BERTH_CONFIG_UNREADABLE',
      message: `${a} was changed while it was read`,
      details: { path: a, changed: true },
    });
    expect(turns).toBe(5);
    expect(readdirSync(state.generations)).toEqual(['last']);
  });

  it('written to again and again within the clock’s tick, it is refused before it is copied', async () => {
    const { state, a } = await twoFiles();
    const soon = new Date(Date.now() + 60_000);
    vi.useFakeTimers({ now: soon, toFake: ['Date'] });
    try {
      const { utimesSync } = await import('node:fs');
      utimesSync(a, soon, soon);
      await expect(stage(state, { ...FACTS, sources: [a], files: [a] }, { retryMs: 1 })).rejects.toMatchObject({
        code: 'BERTH_CONFIG_UNREADABLE',
        message: `${a} is being written`,
      });
    } finally {
      vi.useRealTimers();
    }
  });

  it('removed after it was looked at, and back at the next try', async () => {
    const { state, a } = await twoFiles();
    let turns = 0;
    hooks.beforeCopy = () => {
      if (turns++ > 0) return;
      rmSync(a);
      setTimeout(() => put(a, 'back\n'), 5);
    };
    const { staged } = await stage(state, { ...FACTS, sources: [a], files: [a] }, { retryMs: 40 });
    expect(readFileSync(staged(a), 'utf8')).toBe('back\n');
  });

  it.each(['ENOSPC', 'EDQUOT', 'EROFS', 'EPERM', 'EIO'])('%s while copying a file that can be read', async (code) => {
    const { state, a } = await twoFiles();
    hooks.beforeCopy = () => {
      throw Object.assign(new Error(code), { code, errno: -5, syscall: 'copyfile', path: a });
    };
    await expect(stage(state, { ...FACTS, sources: [a], files: [a] })).rejects.toMatchObject({
      code: 'BERTH_STATE_WRITE',
      details: { errno: code },
    });
    expect(readdirSync(state.generations)).toEqual(['last']);
  });

  it.each(['EMFILE', 'ENFILE'])('%s: says how to get more descriptors', async (code) => {
    const { state, a } = await twoFiles();
    hooks.beforeCopy = () => {
      throw Object.assign(new Error(code), { code, errno: -24, syscall: 'copyfile', path: a });
    };
    await expect(stage(state, { ...FACTS, sources: [a], files: [a] })).rejects.toMatchObject({
      code: 'BERTH_STATE_WRITE',
      advice: 'Raise LimitNOFILE (ulimit -n)',
    });
  });

  it('one file of many fails: no straggler writes into what was removed', async () => {
    const { state, a } = await twoFiles();
    const files = Array.from({ length: 200 }, (_, i) => put(join(a, `../${i}.cfg`), `${i}\n`));
    hooks.beforeCopy = (source) => {
      if (source === files[50])
        throw Object.assign(new Error('x'), { code: 'ENOSPC', errno: -28, syscall: 'copyfile' });
    };
    await expect(stage(state, { ...FACTS, sources: files, files })).rejects.toMatchObject({
      code: 'BERTH_STATE_WRITE',
    });
    await new Promise((done) => setTimeout(done, 20));
    expect(readdirSync(state.generations)).toEqual(['last']);
    writeFileSync(files[50]!, 'fine\n');
  });
});
