/** The port checkers that Berth is held against: packages of their own, installed when they are first asked. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const DIRECTORY = fileURLToPath(new URL('.', import.meta.url));

/** Where there is no network, the part says which one is missing. */
export function installPeers() {
  if (existsSync(`${DIRECTORY}node_modules/.package-lock.json`)) return;
  process.stderr.write('bench: installing the port checkers (npm ci)\n');
  const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  try {
    execFileSync('npm', ['ci', ...options], {
      cwd: DIRECTORY,
      stdio: ['ignore', 'ignore', 'inherit'],
      timeout: 120_000,
    });
  } catch (error) {
    process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  }
}
