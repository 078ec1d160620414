/** What cannot be watched: told once, tried again, and told again only after it had worked. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished, vi } from 'vitest';
import type { BerthError } from '../../src/errors.js';
import { watchSources } from '../../src/agent/watch.js';
import type { DirectoryEvents } from '../../src/agent/watch-directory.js';
import { temporaryDirectory } from '../support/state.js';

let left = 0;

/** A kernel that has so many watches left. */
vi.mock('../../src/agent/watch-directory.js', () => ({
  watchDirectory: (path: string, { onError }: DirectoryEvents) => {
    if (--left < 0) onError(Object.assign(new Error(path), { code: 'ENOSPC', errno: -28, syscall: 'watch' }));
    return { ready: Promise.resolve(), close: () => Promise.resolve() };
  },
}));

it('max_user_watches is used up', async () => {
  const source = join(temporaryDirectory(), 'conf.d');
  for (const name of ['a', 'b', 'c']) mkdirSync(join(source, name), { recursive: true });
  const errors: BerthError[] = [];
  left = 2;
  const watch = await watchSources([source], {
    delayMs: 0,
    onChange: () => undefined,
    onError: (error) => errors.push(error),
  });
  onTestFinished(() => watch.close());
  expect(errors).toHaveLength(1);
  expect(errors[0]).toMatchObject({
    code: 'BERTH_KERNEL',
    step: 'watch',
    advice: 'Raise fs.inotify.max_user_watches (sysctl)',
    system: { code: 'ENOSPC' },
  });
  expect(errors[0]?.message).toMatch(/cannot be watched: no inotify watch is left; .* found by the reconciliation$/);

  await watch.refresh();
  expect(errors).toHaveLength(1);
  left = 10;
  await watch.refresh();
  mkdirSync(join(source, 'd'));
  left = 0;
  await watch.refresh();
  expect(errors).toHaveLength(2);
});
