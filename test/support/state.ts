/** A state directory and a small configuration in a temporary directory that is removed after the test. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { tmpdir } from 'node:os';
import { onTestFinished, type TestContext } from 'vitest';
import type { Generation } from '../../src/reload/generations.js';
import { stage } from '../../src/reload/stage.js';
import { openStateDir, type LockFile, type StateDir } from '../../src/reload/state-dir.js';

export const noLock: LockFile = () => Promise.reject(new Error('the test takes no lock'));

/** A new directory below the system's temporary one, removed when the test has finished. */
export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'berth-test-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Write a file, and the directories above it, with a modification time that is no longer young. */
export function put(path: string, content: string | Buffer, mode = 0o644): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content, { mode });
  const past = Date.now() / 1000 - 60;
  utimesSync(path, past, past);
  return path;
}

export async function openTestState(): Promise<{ state: StateDir; config: string; home: string }> {
  const home = temporaryDirectory();
  const state = await openStateDir(join(home, 'state'), { create: true, lockFile: noLock });
  return { state, config: put(join(home, 'etc/haproxy.cfg'), 'listen a\n  bind 127.0.0.1:80\n'), home };
}

/** Stage one configuration file. */
export function quickStage(state: StateDir, config: string): Promise<Generation> {
  return stage(state, {
    sources: [config],
    files: [config],
    references: [],
    haproxyVersion: '2.6.12',
    reason: 'reload',
  });
}

/**
 * A tmpfs of its own for the test, unmounted afterwards. Needs root; without it the test is skipped and says so, with
 * BERTH_MUST_RUN=1 it fails.
 * @param remount the option to mount again with, `ro`
 */
export async function withFileSystem(
  context: TestContext,
  options: string,
  work: (mount: string, remount: (option: string) => void) => Promise<void>,
): Promise<void> {
  const mount = mkdtempSync(join(tmpdir(), 'berth-mount-'));
  const run = (...args: string[]): string | undefined => {
    const { status, stderr, error } = spawnSync('mount', args, { encoding: 'utf8' });
    return status === 0 ? undefined : (error?.message ?? stderr).trim();
  };
  try {
    const failure = run('-t', 'tmpfs', '-o', `${options},mode=0755`, 'berth-test', mount);
    if (failure !== undefined) {
      if (process.env['BERTH_MUST_RUN'] === '1') throw new Error(`cannot mount a tmpfs: ${failure}`);
      console.log(`skipped: cannot mount a tmpfs: ${failure}`);
      context.skip();
    }
    try {
      await work(mount, (option) => {
        const refused = run('-o', `remount,${option}`, mount);
        if (refused !== undefined) throw new Error(refused);
      });
    } finally {
      spawnSync('umount', ['-l', mount]);
    }
  } finally {
    rmSync(mount, { recursive: true, force: true });
  }
}
