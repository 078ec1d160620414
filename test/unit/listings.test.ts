import { lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Listings } from '../../src/agent/listings.js';

const { listed } = vi.hoisted(() => ({ listed: vi.fn() }));
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  const readdirSync = ((path: Buffer, ...more: []) => {
    listed(String(path));
    return fs.readdirSync(path, ...more);
  }) as typeof fs.readdirSync;
  return { ...fs, readdirSync };
});

describe('what stands in directories', () => {
  let directory: string;
  let listings: Listings;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'berth-listings-'));
    mkdirSync(join(directory, 'below'));
    symlinkSync('below', join(directory, 'link'));
    writeFileSync(join(directory, 'lb.cfg'), '');
    listings = new Listings('utf8');
    listed.mockClear();
  });
  afterEach(() => {
    vi.useRealTimers();
    rmSync(directory, { recursive: true });
  });

  const look = () => {
    listings.begin();
    return listings.notFiles(directory, lstatSync(directory, { bigint: true })).toSorted();
  };
  /** As if all that was done had been done a while ago. */
  const later = () => vi.useFakeTimers({ now: Date.now() + 60_000, toFake: ['Date'] });

  it('is read once while nothing changes, regular files left out', () => {
    later();
    expect([look(), look(), look()]).toEqual(Array.from({ length: 3 }, () => ['below', 'link']));
    expect(listed).toHaveBeenCalledTimes(1);
  });

  it('is read anew when something came or went', () => {
    later();
    look();
    mkdirSync(join(directory, 'new'));
    expect(look()).toEqual(['below', 'link', 'new']);
    rmSync(join(directory, 'link'));
    expect(look()).toEqual(['below', 'new']);
  });

  it('of a directory that changed a moment ago is not believed: what comes next may bear the same time', () => {
    look();
    look();
    expect(listed).toHaveBeenCalledTimes(2);
  });

  it('that a walk did not come to is forgotten', () => {
    later();
    look();
    listings.begin();
    look();
    expect(listed).toHaveBeenCalledTimes(2);
  });

  it('that cannot be read is an error each time', () => {
    const found = lstatSync(directory, { bigint: true });
    for (let time = 0; time < 2; time++)
      expect(() => listings.notFiles(join(directory, 'lb.cfg'), found)).toThrow('ENOTDIR');
  });
});
