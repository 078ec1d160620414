import { resolve } from 'node:path';
import { BerthError } from '../errors.js';
import type { Bind } from '../model/bind.js';
import { endpointKey, formatEndpoint } from '../model/endpoint.js';
import type { SecureStep } from '../model/plan.js';
import type { Assessment } from './assess.js';
import type { Reading, ReloadContext, ReloadRequest } from './context.js';
import type { HAProxyBuild } from './env.js';
import { stagedFiles, type Generation } from './generations.js';
import { markFailed } from './publish.js';
import { rewrites } from './rewrite.js';
import { stage } from './stage.js';

/**
 * Copy what HAProxy is going to read into a new generation, without the listeners that are left out.
 * @throws BERTH_CONFIG_UNREADABLE with `details.changed` where the copy asks for other listeners than what was read: then
 *   the plan is for a configuration that is gone
 */
export async function stageGeneration(
  context: ReloadContext,
  request: ReloadRequest,
  reading: Reading,
  leftOut: readonly SecureStep[],
  assessment: Assessment,
  build: HAProxyBuild,
): Promise<Generation> {
  const generation = await copy(context, request, reading, leftOut, assessment, build);
  const copied = await stagedFiles(generation);
  if (leftOut.length === 0 && reading.isCopiedIn(copied)) return generation;
  const staged = await context.read({ ...request, staged: copied }, build);
  const gone = new Set(leftOut.map(({ bind }) => endpointKey(bind.endpoint)));
  const planned = places(reading).filter((key) => !gone.has(key));
  if (planned.join() === places(staged).join()) return generation;
  const why = 'The configuration was changed while it was read';
  await markFailed(generation, why);
  throw new BerthError('BERTH_CONFIG_UNREADABLE', `${why}: ${request.sources.join(' ')}`, {
    step: 'stage',
    advice: 'Something rewrites the configuration; run the command again when it has finished',
    details: { changed: true },
  });
}

function places({ listeners }: Reading): string[] {
  return listeners.binds.map(({ endpoint }) => endpointKey(endpoint)).sort();
}

async function copy(
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
      ...(request.staged === undefined ? {} : { staged: request.staged }),
      files: reading.files,
      references: reading.references,
      rewritten: rewrites(reading, leftOutBinds(reading, leftOut), (file) =>
        resolve(request.workingDirectory ?? '.', file),
      ),
      privateConfiguration: ({ number }) =>
        privateConfiguration(context.state.socket(`${mode === 'standalone' ? number : 'worker'}.stats`)),
      extraArguments: context.settings.haproxy.extraArguments,
      haproxyVersion: build.version,
      reason: request.reason,
      // HAPROXY_CFGFILES, 2.2 to 3.0.
      namesInOneString: mode === 'master-worker' && (build.major < 3 || (build.major === 3 && build.minor < 1)),
      quarantined: leftOut.map(({ bind }) => formatEndpoint(bind.endpoint)),
    },
    { syncFileSystem: context.syncFileSystem },
  );
}

/** By this socket, and no other, Berth talks to this very process: on a shared one old and new would both answer. */
function privateConfiguration(statsSocket: string): string {
  return `# Written by Berth.\nglobal\n    stats socket ${statsSocket} mode 600 level admin expose-fd listeners\n`;
}

function leftOutBinds({ listeners }: Reading, leftOut: readonly SecureStep[]): Bind[] {
  const keys = new Set(leftOut.map(({ bind }) => endpointKey(bind.endpoint)));
  return keys.size === 0 ? [] : listeners.binds.filter(({ endpoint }) => keys.has(endpointKey(endpoint)));
}
