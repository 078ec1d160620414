/** Files of settings that live as long as the test file that made them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

export const settingsDirectory = mkdtempSync(join(tmpdir(), 'berth-settings-'));
afterAll(() => rmSync(settingsDirectory, { recursive: true }));

let files = 0;

export function settingsFile(text: string | Uint8Array): string {
  const path = join(settingsDirectory, `${++files}.yaml`);
  writeFileSync(path, text);
  return path;
}
