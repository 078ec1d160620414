/** What the binary says about itself (`-vv`) and about a configuration (`-c`). */
import { access, constants, stat } from 'node:fs/promises';
import { delimiter, isAbsolute, join, resolve } from 'node:path';
import { BerthError } from '../errors.js';
import type { HAProxyBuild, HAProxyCommand, HAProxyMessage } from '../reload/env.js';
import { parseMessages } from './messages.js';
import { runHAProxy, type Invocation } from './process.js';

const VERSION_LIMIT_MS = 10_000;
const OLDEST = { major: 2, minor: 2 };

/** Absolute path of the binary: looked up in PATH where it is a bare name. Throws BERTH_HAPROXY_MISSING. */
export async function locateBinary(binary: string, path: string | undefined): Promise<string> {
  const candidates = binary.includes('/')
    ? [isAbsolute(binary) ? binary : resolve(binary)]
    : (path ?? '')
        .split(delimiter)
        .filter(Boolean)
        .map((directory) => join(directory, binary));
  let found: { readonly path: string; readonly error: unknown } | undefined;
  for (const candidate of candidates) {
    try {
      if (!(await stat(candidate)).isFile()) continue;
      await access(candidate, constants.X_OK);
      return candidate;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') found ??= { path: candidate, error };
    }
  }
  if (found) throw missing(`${found.path} cannot be executed`, found.error);
  throw missing(
    binary.includes('/') ? `${binary} is not an executable file` : `${binary} is not in PATH (${path ?? ''})`,
  );
}

function missing(message: string, cause?: unknown): BerthError {
  return new BerthError('BERTH_HAPROXY_MISSING', message, { step: 'check', cause });
}

const builds = new Map<string, { readonly stamp: string; readonly build: HAProxyBuild }>();

/** Version and features; asked once per binary as it stands on disk. Throws BERTH_HAPROXY_MISSING, BERTH_HAPROXY_UNSUITABLE. */
export async function readBuild(invocation: Invocation): Promise<HAProxyBuild> {
  const { mtimeMs, size, ino } = await stat(invocation.binary).catch((error: unknown) => {
    throw missing(`${invocation.binary} cannot be found`, error);
  });
  const stamp = `${mtimeMs}:${size}:${ino}`;
  const known = builds.get(invocation.binary);
  if (known?.stamp === stamp) return known.build;
  const { status, output } = await runHAProxy(invocation, ['-vv'], { timeoutMs: VERSION_LIMIT_MS });
  const build = status === 0 ? parseBuild(invocation.binary, output) : undefined;
  if (!build) {
    const said = output.trim().split('\n', 1)[0]?.slice(0, 200) ?? '';
    throw missing(`${invocation.binary} is not HAProxy: -vv ended with status ${status ?? 'none'} and said "${said}"`);
  }
  if (build.major < OLDEST.major || (build.major === OLDEST.major && build.minor < OLDEST.minor)) {
    throw new BerthError(
      'BERTH_HAPROXY_UNSUITABLE',
      `${invocation.binary} is HAProxy ${build.version}; Berth needs ${OLDEST.major}.${OLDEST.minor} or later`,
      { step: 'check', advice: 'Install a later HAProxy, or name another binary with --haproxy' },
    );
  }
  builds.set(invocation.binary, { stamp, build });
  return build;
}

/** `haproxy -vv`: `HA-Proxy version …` until 2.3, `HAProxy version …` since. undefined: not HAProxy's. */
export function parseBuild(binary: string, output: string): HAProxyBuild | undefined {
  const version = /^HA-?Proxy version (\d{1,4})\.(\d{1,4})(\S*)/m.exec(output);
  if (!version) return undefined;
  const listed = /^Feature list : (.*)$/m.exec(output)?.[1] ?? '';
  const features = new Set(listed.split(/\s+/).flatMap((word) => (word.startsWith('+') ? [word.slice(1)] : [])));
  for (const [, option = ''] of output.matchAll(/\bUSE_(\w+)=(?!0\b)\S/g)) features.add(option);
  return {
    binary,
    version: `${version[1] ?? ''}.${version[2] ?? ''}${version[3] ?? ''}`,
    major: Number(version[1]),
    minor: Number(version[2]),
    features: [...features].sort(),
  };
}

/** `-C DIR -f FILE … EXTRA…`: what says which configuration, the same for a check and for a start. */
export function configurationArguments(command: HAProxyCommand): string[] {
  return [
    ...(command.workingDirectory === undefined ? [] : ['-C', command.workingDirectory]),
    ...command.files.flatMap((file) => ['-f', file]),
    ...command.extraArguments,
  ];
}

/**
 * `haproxy -c`, judged by its exit status alone: what it prints differs between versions (3.x prints nothing on
 * success) and a warning is no refusal. It binds nothing.
 */
export async function checkConfiguration(
  invocation: Invocation,
  command: HAProxyCommand,
  timeoutMs: number,
): Promise<{ readonly ok: boolean; readonly messages: readonly HAProxyMessage[] }> {
  const { status, killedBy, ended, output } = await runHAProxy(invocation, ['-c', ...configurationArguments(command)], {
    timeoutMs,
  });
  if (ended) {
    throw new BerthError('BERTH_TIMEOUT', `haproxy -c was not done after ${timeoutMs} ms and was ended`, {
      step: 'check',
    });
  }
  const messages = parseMessages(output);
  if (killedBy) messages.push({ level: 'ALERT', text: `haproxy -c died of ${killedBy}` });
  return { ok: status === 0, messages };
}
