import { lstatSync, mkdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  lastGood,
  listGenerations,
  openGeneration,
  readListeners,
  recordListeners,
  servingNumber,
  type Generation,
} from '../../src/reload/generations.js';
import { prune, sweep } from '../../src/reload/prune.js';
import { markFailed, markGood, publish, unpublish } from '../../src/reload/publish.js';
import { openTestState, quickStage } from '../support/state.js';

describe('generations', () => {
  it('are numbered from 1, and a number is never used twice', async () => {
    const { state, config } = await openTestState();
    const numbers: number[] = [];
    for (let i = 0; i < 4; i++) numbers.push((await quickStage(state, config)).number);
    expect(numbers).toEqual([1, 2, 3, 4]);
    await publish(state, await openGeneration(state, 1));
    expect(await prune(state, 1, [])).toEqual([2, 3]);
    expect(await prune(state, 1, [])).toEqual([]);
    expect((await quickStage(state, config)).number).toBe(5);
    // Even when the newest is gone.
    const { rmSync } = await import('node:fs');
    rmSync(join(state.generations, '5'), { recursive: true });
    expect((await quickStage(state, config)).number).toBe(6);
  });

  it('are listed newest first, and the symlink alone says which one serves', async () => {
    const { state, config } = await openTestState();
    const [one, two] = [await quickStage(state, config), await quickStage(state, config)];
    expect((await listGenerations(state)).map(({ number, state: now }) => [number, now])).toEqual([
      [2, 'staged'],
      [1, 'staged'],
    ]);
    await publish(state, one);
    await publish(state, two);
    expect(readlinkSync(state.current)).toBe('generations/2');
    expect((await listGenerations(state)).map(({ number, state: now, serving }) => [number, now, serving])).toEqual([
      [2, 'serving', true],
      [1, 'served', false],
    ]);
  });

  it('go back to the one before, or to none', async () => {
    const { state, config } = await openTestState();
    const one = await publish(state, await quickStage(state, config));
    const two = await publish(state, await quickStage(state, config));
    await unpublish(state, two, one.number, 'it did not come up');
    expect(await servingNumber(state)).toBe(1);
    const [rolledBack] = await listGenerations(state);
    expect(rolledBack).toMatchObject({ number: 2, state: 'rolled-back', failure: 'it did not come up', parent: 1 });
    await unpublish(state, await openGeneration(state, 1), undefined, 'first start failed');
    expect(await servingNumber(state)).toBeUndefined();
  });

  it('publishing twice is fine, and a symlink left aside by a crash is no obstacle', async () => {
    const { state, config } = await openTestState();
    const one = await quickStage(state, config);
    symlinkSync('generations/99', `${state.current}.new`);
    await publish(state, one);
    await publish(state, one);
    expect(await servingNumber(state)).toBe(1);
  });

  it('the last good one is the one committed last, also where the clock was set back since', async () => {
    const { state, config } = await openTestState();
    const [one, two] = [await quickStage(state, config), await quickStage(state, config)];
    await markGood(one, new Date('2026-01-02T00:00:00Z'));
    await markGood(two, new Date('2026-01-01T00:00:00Z'));
    await markFailed(await quickStage(state, config), 'haproxy -c refused it');
    const listed = await listGenerations(state);
    expect(listed.filter((each) => each.lastGood).map(({ number }) => number)).toEqual([2]);
    expect(lastGood(listed, 2)?.number).toBe(1);
    expect(lastGood(listed, 1)).toBeUndefined();
  });

  it('prune keeps the newest, the serving, the last good and the protected ones; 0 keeps all', async () => {
    const { state, config } = await openTestState();
    const all: Generation[] = [];
    for (let i = 0; i < 6; i++) all.push(await quickStage(state, config));
    await markGood(all[1]!);
    await publish(state, all[0]!);
    await markFailed(all[4]!, 'no');
    expect(await prune(state, 0)).toEqual([]);
    expect(await prune(state, 2, [3])).toEqual([4]);
    expect((await listGenerations(state)).map(({ number }) => number)).toEqual([6, 5, 3, 2, 1]);
  });

  it('sweep removes what a crash left half made', async () => {
    const { state, config } = await openTestState();
    await quickStage(state, config);
    mkdirSync(join(state.generations, '.2.staging/root'), { recursive: true });
    mkdirSync(join(state.generations, '.1.removing'));
    expect((await sweep(state)).sort()).toEqual(['.1.removing', '.2.staging']);
    expect(await sweep(state)).toEqual([]);
    expect((await openGeneration(state, 1)).number).toBe(1);
  });

  it('says which ones there are where one is asked for that is not', async () => {
    const { state, config } = await openTestState();
    await quickStage(state, config);
    await expect(openGeneration(state, 7)).rejects.toMatchObject({
      code: 'BERTH_GENERATION_UNKNOWN',
      message: 'There is no generation 7; kept are 1',
    });
  });

  it('refuses a `current` that is not a symlink to a generation', async () => {
    const { state } = await openTestState();
    writeFileSync(state.current, 'x');
    await expect(servingNumber(state)).rejects.toMatchObject({ code: 'BERTH_STATE_DIR' });
    const other = await openTestState();
    symlinkSync('/etc', other.state.current);
    await expect(servingNumber(other.state)).rejects.toMatchObject({ code: 'BERTH_STATE_DIR' });
  });

  it.each(['', '{', '{"number":1}', '[]', 'null', '{"number":2,"created":"x"}'])(
    'a meta.json that holds %j is told, and does not stand in the way of the list',
    async (content) => {
      const { state, config } = await openTestState();
      const one = await quickStage(state, config);
      await quickStage(state, config);
      writeFileSync(join(one.directory, 'meta.json'), content);
      await expect(openGeneration(state, 1)).rejects.toMatchObject({ code: 'BERTH_STATE_DIR' });
      expect((await listGenerations(state)).map(({ number }) => number)).toEqual([2]);
    },
  );

  it('keeps the listeners, and reads none where none were recorded', async () => {
    const { state, config } = await openTestState();
    const one = await quickStage(state, config);
    expect(await readListeners(one)).toEqual([]);
    const listeners = [{ endpoint: '127.0.0.1:80/tcp', section: 'listen a', file: '/etc/a.cfg', line: 3 }];
    await recordListeners(one, listeners);
    expect(await readListeners(await openGeneration(state, 1))).toEqual(listeners);
  });

  it('files are private', async () => {
    const { state, config } = await openTestState();
    const one = await quickStage(state, config);
    for (const name of ['.', 'meta.json', 'manifest.json', 'root']) {
      expect(lstatSync(join(one.directory, name)).mode & 0o077, name).toBe(0);
    }
    expect(JSON.parse(readFileSync(join(one.directory, 'meta.json'), 'utf8'))).toMatchObject({ number: 1 });
  });
});
