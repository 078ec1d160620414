import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { endpointKey, formatEndpoint } from '../model/endpoint.js';
import type { SecureStep } from '../model/plan.js';
import type { ReloadRequest } from './apply.js';
import type { Assessment } from './assess.js';
import type { Reading, ReloadContext } from './context.js';
import type { HAProxyBuild } from './env.js';
import type { Generation } from './generations.js';
import { withoutBinds } from './quarantine.js';
import { stage } from './stage.js';

/** Copy what HAProxy is going to read into a new generation, without the listeners that are left out. */
export async function stageGeneration(
  context: ReloadContext,
  request: ReloadRequest,
  reading: Reading,
  leftOut: readonly SecureStep[],
  { mode }: Assessment,
  build: HAProxyBuild,
): Promise<Generation> {
  return stage(
    context.state,
    {
      sources: request.sources,
      ...(request.workingDirectory === undefined ? {} : { workingDirectory: request.workingDirectory }),
      ...(request.root === undefined ? {} : { root: request.root }),
      files: reading.files,
      references: reading.references,
      rewritten: rewrite(request, reading, leftOut),
      privateConfiguration: ({ number }) =>
        privateConfiguration(context.state.socket(`${mode === 'standalone' ? number : 'worker'}.stats`)),
      extraArguments: context.settings.haproxy.extraArguments,
      haproxyVersion: build.version,
      reason: request.reason,
      // The master of 2.2 to 3.0 passes all file names through one environment variable of at most 128 KiB.
      bundle: mode === 'master-worker' && (build.major < 3 || (build.major === 3 && build.minor < 1)),
      quarantined: leftOut.map(({ bind }) => formatEndpoint(bind.endpoint)),
    },
    { syncFileSystem: context.syncFileSystem },
  );
}

/** By this socket, and no other, Berth talks to this very process: on a shared one old and new would both answer. */
function privateConfiguration(statsSocket: string): string {
  return `# Written by Berth.\nglobal\n    stats socket ${statsSocket} mode 600 level admin expose-fd listeners\n`;
}

/** New text of the files that `harden` and quarantine change, by absolute path. */
function rewrite(
  request: ReloadRequest,
  reading: Reading,
  leftOut: readonly SecureStep[],
): Map<string, string | Buffer> {
  if (leftOut.length === 0) return new Map(reading.hardened);
  const absolute = (file: string) => resolve(request.workingDirectory ?? '.', file);
  const keys = new Set(leftOut.map(({ bind }) => endpointKey(bind.endpoint)));
  const binds = reading.listeners.binds.filter(({ endpoint }) => keys.has(endpointKey(endpoint)));
  // One character a byte: a file need not be UTF-8, and what is not touched must not change.
  const bytes = (file: string) => {
    const hardened = reading.hardened.get(absolute(file));
    return hardened === undefined ? readFileSync(join(request.root ?? '/', absolute(file))) : Buffer.from(hardened);
  };
  const left = withoutBinds(reading.listeners, binds, (file) => bytes(file).toString('latin1'));
  return new Map<string, string | Buffer>([
    ...reading.hardened,
    ...[...left].map(([file, text]) => [absolute(file), Buffer.from(text, 'latin1')] as const),
  ]);
}
