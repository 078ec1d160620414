/**
 * The process around run.ts, started by bin/berth-haproxy only. Nothing of Berth's is imported before it is tried: what
 * cannot be loaded ends with the status that gives the call to the real haproxy.
 */
import process from 'node:process';

/** As CANNOT_START of drop-in.ts. */
const CANNOT_START = 125;

function say(line: string): void {
  process.stderr.write(`berth-haproxy: ${line.replace(/\p{Cc}+/gu, ' ').trimEnd()}\n`);
}

async function main(): Promise<number> {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => controller.abort());
  try {
    const { runCall } = await import('./run.js');
    return await runCall(process.argv.slice(2), {
      cwd: process.cwd(),
      environment: process.env,
      say,
      signal: controller.signal,
    });
  } catch (error) {
    say(`Berth cannot be loaded: ${error instanceof Error ? error.message : String(error)}`);
    return CANNOT_START;
  }
}

// Whoever reads standard error may be gone: that must not end a reload in the middle.
process.stderr.on('error', () => undefined);
const status = await main();
process.stderr.write('', () => process.exit(status));
