/** Starting HAProxy beside the one that serves: never `-sf`, so that no failure of the new one reaches the old. */
import { randomBytes } from 'node:crypto';
import { constants, type FileHandle, open, unlink } from 'node:fs/promises';
import { constants as os } from 'node:os';
import { dirname, join } from 'node:path';
import { BerthError } from '../errors.js';
import type { HAProxyCommand, HAProxyMessage, StartedHAProxy } from '../reload/env.js';
import { configurationArguments } from './check.js';
import { identity } from '../model/process.js';
import { livingHAProxies, sleep, type Context } from './context.js';
import { bindFailures, parseMessages, summary } from './messages.js';
import { readPidFile } from './pid-file.js';
import { awaitStarted, interrupted, late, type StartOptions } from './started.js';
import { runHAProxy, type Finished, type Invocation } from './process.js';

const OUTPUT_LIMIT = 4 << 20;
const POLL_MS = 5;

/**
 * `haproxy -D -p PIDFILE -C … -f … [-x HANDOFF]` or `haproxy -W -D -p PIDFILE [-S SOCKET] …`. HAProxy forks into the
 * background once it serves; it outlives Berth and inherits nothing of Berth's but the environment. In master-worker
 * mode the result is the master. On any failure what was started is ended before the error is thrown.
 * @throws BERTH_RELOAD_FAILED with HAProxy's messages, BERTH_TIMEOUT, BERTH_INTERRUPTED, BERTH_HAPROXY_UNSUITABLE (nbproc).
 */
export async function startHAProxy(
  context: Context,
  invocation: Invocation,
  command: HAProxyCommand,
  options: StartOptions,
): Promise<StartedHAProxy> {
  const deadline = performance.now() + options.timeoutMs;
  const before = new Set((await context.kernel.haproxyProcesses()).map(identity));
  const output = await openOutput(options.pidFile);
  try {
    const { timeoutMs, signal } = options;
    const finished = await runHAProxy(invocation, startArguments(command, options), {
      timeoutMs,
      output: output.fd,
      ...(signal && { signal }),
    });
    const said = async () => parseMessages(await readOutput(output));
    const failure = failureOf(finished, options, await said());
    if (failure) throw failure;
    const started = await awaitStarted(context, { options, before, deadline, said });
    return { pid: started.pid, startTicks: started.startTicks, messages: await said() };
  } catch (error) {
    await endStrays(context, options.pidFile, before);
    throw error;
  } finally {
    await output.close();
  }
}

function startArguments(command: HAProxyCommand, options: StartOptions): string[] {
  return [
    ...(options.mode === 'master-worker' ? ['-W'] : []),
    '-D',
    '-p',
    options.pidFile,
    ...(options.mode === 'master-worker' && options.masterSocket !== undefined ? ['-S', options.masterSocket] : []),
    ...(options.handoff === undefined ? [] : ['-x', options.handoff]),
    ...configurationArguments(command),
  ];
}

/**
 * A file without a name for what HAProxy says until it is in the background. A pipe would not do: whoever keeps its
 * writing end open (a master does, to go on logging) would keep Berth waiting for its end.
 */
async function openOutput(pidFile: string): Promise<FileHandle> {
  const path = join(dirname(pidFile), `.haproxy-output-${randomBytes(6).toString('hex')}`);
  let file: FileHandle | undefined;
  try {
    file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_APPEND, 0o600);
    await unlink(path);
    return file;
  } catch (error) {
    await file?.close();
    throw new BerthError('BERTH_STATE_WRITE', `${dirname(pidFile)} cannot be written`, {
      step: 'hand-over',
      cause: error,
    });
  }
}

async function readOutput(file: FileHandle): Promise<string> {
  const { size } = await file.stat();
  const buffer = Buffer.alloc(Math.min(size, OUTPUT_LIMIT));
  const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
  return buffer.toString('utf8', 0, bytesRead);
}

function failureOf(
  { status, killedBy, ended }: Finished,
  options: StartOptions,
  messages: readonly HAProxyMessage[],
): BerthError | undefined {
  const details = { messages, failedBinds: bindFailures(messages) };
  if (ended === 'aborted') return interrupted();
  if (ended === 'timeout') return late(options, messages);
  if (status === 0) return undefined;
  const end = killedBy ? `died of ${killedBy}` : `ended with status ${status ?? 'none'}`;
  return new BerthError('BERTH_RELOAD_FAILED', `The new HAProxy ${end}: ${summary(messages)}`, {
    step: 'hand-over',
    details,
  });
}

/**
 * End what this start left behind. HAProxy's background processes are in sessions of their own; they are known by the
 * pid file on their command line and by not having been there before.
 */
async function endStrays({ kernel, sendSignal }: Context, pidFile: string, before: ReadonlySet<string>): Promise<void> {
  const ended = new Set<number>();
  // A dying master may still be forking: look again until a look finds nothing.
  for (let round = 0; round < 100; round += 1) {
    const strays = (await livingHAProxies(kernel)).filter(
      (found) =>
        !before.has(identity(found)) && found.argv.some((word, at) => word === '-p' && found.argv[at + 1] === pidFile),
    );
    if (strays.length === 0) break;
    for (const { pid, startTicks } of strays) {
      await sendSignal(pid, startTicks, os.signals.SIGKILL);
      ended.add(pid);
    }
    await sleep(POLL_MS);
  }
  const named = await readPidFile(pidFile).catch(() => undefined);
  if (named?.some((pid) => ended.has(pid))) await unlink(pidFile).catch(() => undefined);
}
