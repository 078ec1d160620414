#!/usr/bin/env node
/** The command `berth`. Everything is in run.ts; this file is the process around it. */
import { readFileSync } from 'node:fs';
import { ERROR_TABLE } from '../errors.js';
import type { Sink } from './host.js';
import { run } from './run.js';

/** Errors of writing an answer, for example to a full disk. */
const lost: Error[] = [];

/** A reader that has gone (`berth plan … | head`) is no error, and must not end a reload in the middle. */
function sinkOf(stream: NodeJS.WriteStream): Sink {
  let gone = false;
  stream.on('error', (error: NodeJS.ErrnoException) => {
    gone = true;
    if (error.code !== 'EPIPE' && error.code !== 'EIO') lost.push(error);
  });
  return {
    write: (text) => {
      if (!gone) stream.write(text);
    },
    terminal: stream.isTTY,
    columns: stream.columns || 80,
  };
}

function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** Pipes are written behind the program's back; what is still on its way is waited for. */
function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => (stream.writable ? stream.write('', () => resolve()) : resolve()));
}

const status = await run(process.argv.slice(2), {
  stdout: sinkOf(process.stdout),
  stderr: sinkOf(process.stderr),
  environment: process.env,
  version: packageVersion(),
  openBerth: async (options, how) => (await import('./open.js')).openBerthOrAgent(options, how),
  measure: async (options, seconds) => (await import('../measure.js')).measureHost(options, seconds),
  onSignal: (listener) => {
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
    for (const signal of signals) process.on(signal, listener);
    return () => signals.forEach((signal) => process.off(signal, listener));
  },
  exit: (code) => process.exit(code),
});
await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
process.exit(lost.length > 0 && status === 0 ? ERROR_TABLE.BERTH_KERNEL.exit : status);
