/** What the addon exports, called as no caller of ours does: an error, never the end of the process. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { amount, recordFigure } from '../support/figures.js';
import { repository } from '../support/haproxy.js';
import { describeInNamespaces } from '../support/netns.js';

const addon =
  process.env['BERTH_ADDON'] ??
  (createRequire(import.meta.url)('node-gyp-build') as { path(directory: string): string }).path(repository);

describeInNamespaces('the addon and arguments that are none', () => {
  test('every call, with wrong types, numbers beyond their range, detached buffers and getters that throw', async () => {
    const calls = amount('addon_calls', { short: 1500, full: 12_000 });
    const fuzzer = join(repository, 'test/support/addon-fuzzer.mjs');
    const child = spawn('unshare', ['--net', process.execPath, fuzzer, addon, '1', String(calls)]);
    const [said, log, [code, signal]] = (await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'close'),
    ])) as [string, string, [number | null, NodeJS.Signals | null]];
    const died = code !== 0 || signal !== null;
    const count = died
      ? { calls: 0, threw: 0, rejected: 0, notErrors: 0, functions: 0, unknown: [] as string[] }
      : (JSON.parse(said) as Record<'calls' | 'threw' | 'rejected' | 'notErrors' | 'functions', number> & {
          unknown: string[];
        });
    const last = log.trim().split('\n').slice(-30).join('\n');
    recordFigure({
      part: 'fuzz',
      name: 'calls of the addon',
      promise: 'No argument, however wrong, makes the native code end the process or touch memory that is not its own.',
      figure: died
        ? `ended by ${signal ?? `status ${code}`}`
        : `${count.calls} calls of ${count.functions} functions, ${count.threw + count.rejected} refused with an error, 0 crashes`,
      kept: !died && count.calls === calls && count.notErrors === 0,
      haproxy: [],
    });
    expect({ code, signal, last: died ? last : '' }).toEqual({ code: 0, signal: null, last: '' });
    // A function that is new: its arguments belong into addon-fuzzer.mjs.
    expect(count.unknown).toEqual([]);
    expect(count.calls).toBe(calls);
    expect(count.notErrors).toBe(0);
    expect(count.threw + count.rejected).toBeGreaterThan(calls / 4);
  }, 300_000);
});
