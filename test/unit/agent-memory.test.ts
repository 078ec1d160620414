import { execFileSync, spawnSync } from 'node:child_process';
import { describe, expect, it, onTestFinished } from 'vitest';
import { transpile } from '../support/transpile.js';

describe('the memory of a process that stays', () => {
  it.each([
    ['the young generation does not grow with a load that is over', true, 4],
    ['and would', false, 16],
  ])('%s', (_, bounded, mebibytes) => {
    const modules = transpile('agent/memory');
    onTestFinished(() => modules.remove());
    const script = `
      import { getHeapSpaceStatistics } from 'node:v8';
      import { keepHeapSmall } from ${JSON.stringify(modules.path('agent/memory'))};
      if (${bounded}) keepHeapSmall();
      const kept = [];
      for (let round = 0; round < 300; round++) {
        const made = Array.from({ length: 20_000 }, (_, index) => ({ index, name: 'listener ' + index }));
        kept.push(made.slice(0, 50));
        if (kept.length > 50) kept.shift();
      }
      console.log(getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space').space_size);`;
    const size = Number(execFileSync(process.execPath, ['--input-type=module', '-e', script])) / 2 ** 20;
    if (bounded) expect(size).toBeLessThanOrEqual(mebibytes);
    else expect(size).toBeGreaterThanOrEqual(mebibytes);
  });

  it('V8 knows the flags', () => {
    const modules = transpile('agent/memory');
    onTestFinished(() => modules.remove());
    const script = `import { keepHeapSmall } from ${JSON.stringify(modules.path('agent/memory'))}; keepHeapSmall();`;
    // It says which it does not know, and goes on.
    const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });
});
