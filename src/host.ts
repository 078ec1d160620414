/** This host's kernel and HAProxy, its state directory and its settings, opened when they are first needed. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { BerthOptions } from './berth.js';
import { readListeners } from './haproxy/binds.js';
import { readConfiguration } from './haproxy/config.js';
import { isCopy } from './haproxy/config-files.js';
import { harden, hardenText, originalLine } from './haproxy/harden.js';
import { type OpenHAProxy, openHAProxy } from './haproxy/haproxy.js';
import { references } from './haproxy/references.js';
import { type OpenKernel, openKernel } from './kernel/kernel.js';
import { openLedger } from './kernel/ledger.js';
import { signalProcess } from './kernel/process.js';
import { lockFile, raiseDescriptorLimit } from './kernel/system.js';
import type { ReadConfiguration, HostContext } from './reload/context.js';
import { Journal } from './reload/journal.js';
import type { Ledger } from './reload/reserve.js';
import { rememberedProcess } from './reload/serving.js';
import { openStateDir } from './reload/state-dir.js';
import { loadSettings, type Settings } from './settings.js';

export interface Host {
  readonly settings: Settings;
  readonly kernel: OpenKernel;
  /** For verbs that change nothing: the state directory need not exist. */
  reading(): Promise<HostContext>;
  /** For verbs that write: the state directory is made and checked. */
  writing(): Promise<HostContext>;
  close(): Promise<void>;
}

export async function openHost(options: BerthOptions): Promise<Host> {
  const { settingsFile: file, environment = process.env, settings: flags = {}, instance } = options;
  return openHostWith(loadSettings({ file, environment, flags, instance }), options);
}

/** With settings that are loaded already. */
export async function openHostWith(
  settings: Settings,
  options: Omit<BerthOptions, 'settings' | 'settingsFile' | 'instance'>,
): Promise<Host> {
  const environment = options.environment ?? process.env;
  raiseDescriptorLimit();
  const kernel = await openKernel(settings.netns === undefined ? {} : { netns: settings.netns });
  const open = async (create: boolean): Promise<HostContext> => {
    const state = await openStateDir(settings.stateDir, {
      create,
      lockFile: (path, waitMs) => lockFile(path, waitMs, options.signal),
    });
    return {
      kernel,
      haproxy: haproxyOf(settings, kernel, environment, { stateDir: state.path, stale: options.stale ?? 'refuse' }),
      ledger: await ledgerOf(kernel, state.ledger, options.observer),
      state,
      settings,
      openJournal: () => Journal.open(state.journal),
      read: reader(settings, environment),
      syncFileSystem: (path) => kernel.syncFileSystem(path),
      observer: options.observer ?? (() => undefined),
      ...(options.signal ? { signal: options.signal } : {}),
      ...(options.keeper ? { keeper: options.keeper } : {}),
    };
  };
  return {
    settings,
    kernel,
    reading: () => open(false),
    writing: () => open(true),
    close: () => kernel.closeNamespace(),
  };
}

function haproxyOf(
  settings: Settings,
  kernel: OpenKernel,
  environment: NodeJS.ProcessEnv,
  { stateDir, stale }: { readonly stateDir: string; readonly stale: 'refuse' | 'none' },
): OpenHAProxy {
  const { binary, pidFile, masterSocket } = settings.haproxy;
  const { netns } = settings;
  const ownMaster = join(stateDir, 'run', 'master');
  const master = masterSocket ?? (existsSync(ownMaster) ? ownMaster : undefined);
  return openHAProxy({
    binary,
    kernel,
    environment,
    signal: signalProcess,
    checkTimeoutMs: settings.timeouts.checkMs,
    stale,
    // HAProxy leaves its socket behind, however it ends.
    ...(masterSocket === undefined ? { staleSocket: 'none' } : {}),
    remembered: () => rememberedProcess(stateDir),
    ...(pidFile === undefined ? {} : { pidFile }),
    ...(master === undefined ? {} : { masterSocket: master }),
    ...(netns === undefined ? {} : { netns: /^\d+$/.test(netns) ? `/proc/${netns}/ns/net` : netns }),
  });
}

async function ledgerOf(kernel: OpenKernel, path: string, observer: BerthOptions['observer']): Promise<Ledger> {
  const ledger = await openLedger(path);
  if (ledger.warning !== undefined) observer?.({ type: 'warning', text: ledger.warning });
  return {
    ours: () => Promise.resolve(ledger.ours(kernel.ledgerKey)),
    record: (ports) => ledger.record(kernel.ledgerKey, ports),
  };
}

/** The configuration reader of the haproxy room, in the words of the reload room. */
function reader(settings: Settings, environment: NodeJS.ProcessEnv): ReadConfiguration {
  return (sources, build) => {
    const { workingDirectory, staged } = sources;
    const absolute = (file: string) => resolve(workingDirectory ?? '.', file);
    const configuration = readConfiguration(sources.sources, {
      environment,
      version: { major: build.major, minor: build.minor, text: build.version },
      features: build.features,
      maxBytes: settings.config.maxBytes,
      ...localPeerOf(settings.haproxy.extraArguments),
      ...(workingDirectory === undefined ? {} : { workingDirectory }),
      ...(staged === undefined ? {} : staged),
    });
    const added = settings.harden === 'source' ? harden(configuration) : [];
    const byFile = new Map<string, typeof added>();
    for (const line of added) byFile.set(absolute(line.file), [...(byFile.get(absolute(line.file)) ?? []), line]);
    const hardened = ([file, lines]: readonly [string, typeof added]) =>
      [file, (text: string) => hardenText(text, lines)] as const;
    return Promise.resolve({
      listeners: readListeners(configuration),
      files: configuration.files.map(absolute),
      references: references(configuration),
      isCopiedIn: (copy) => isCopy(configuration, sources.sources, copy),
      harden: added,
      hardened: new Map([...byFile].map(hardened)),
      originalLine: (file, line) => originalLine(line, byFile.get(absolute(file)) ?? []),
    });
  };
}

/** HAProxy's `-L NAME`: which `peer` line of a peers section is its own. */
function localPeerOf(extraArguments: readonly string[]): { localPeer?: string } {
  const localPeer = extraArguments[extraArguments.lastIndexOf('-L') + 1];
  return extraArguments.includes('-L') && localPeer !== undefined ? { localPeer } : {};
}
