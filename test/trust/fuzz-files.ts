/** Files of a state directory, and others, with any bytes in them. */
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { listGenerations, openGeneration, servingNumber } from '../../src/reload/generations.js';
import type { StateDir } from '../../src/reload/state-dir.js';
import { MANIFEST, META, RECORDS } from './fuzz-samples.js';

export const directory = mkdtempSync(join(tmpdir(), 'berth-fuzz-'));
/** A file that holds these bytes. */
export function file(name: string, bytes: Buffer): string {
  const path = join(directory, name);
  writeFileSync(path, bytes, { mode: 0o600 });
  return path;
}

/** A state directory whose generation 7 has this in one of its files, what it should have in the others. */
export function generation(name: string, bytes: Buffer): StateDir {
  const at = join(directory, 'state', 'generations', '7');
  mkdirSync(at, { recursive: true });
  const whole = { 'meta.json': META, 'manifest.json': MANIFEST, 'listeners.json': RECORDS };
  for (const [each, content] of Object.entries(whole)) writeFileSync(join(at, each), each === name ? bytes : content);
  const current = join(directory, 'state', 'current');
  try {
    symlinkSync('generations/7', current);
  } catch {
    // It is there from the last case.
  }
  return { path: join(directory, 'state'), generations: join(directory, 'state', 'generations'), current } as StateDir;
}

export async function readGeneration(state: StateDir): Promise<unknown> {
  const [serving, listed] = await Promise.all([servingNumber(state), listGenerations(state)]);
  const opened = await openGeneration(state, 7);
  return {
    serving,
    listed,
    said: opened.toOriginal(`[/etc/h/.berth-bundle-1.cfg:3] and ${opened.directory}/root/x`),
    meta: opened.meta,
  };
}
export const generationShape = z.object({
  serving: z.literal(7),
  listed: z.array(z.unknown()).max(1),
  said: z.string().max(100_000),
});
