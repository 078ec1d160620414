import type { Listeners } from '../model/bind.js';
import type { Plan } from '../model/plan.js';
import type { Settings } from '../settings.js';
import type { HAProxy, HAProxyBuild, Kernel, ProcessInfo } from './env.js';
import type { Journal } from './journal.js';
import type { ReloadObserver } from './reports.js';
import type { Ledger } from './reserve.js';
import type { StateDir } from './state-dir.js';

/** What every verb works with. */
export interface HostContext {
  readonly kernel: Kernel;
  readonly haproxy: HAProxy;
  readonly ledger: Ledger;
  readonly state: StateDir;
  readonly settings: Settings;
  readonly read: ReadConfiguration;
  /** syncfs(2) of the file system that holds this path. */
  readonly syncFileSystem: (path: string) => Promise<void>;
  readonly observer: ReloadObserver;
  readonly signal?: AbortSignal;
  readonly keeper?: ListenerKeeper;
  /** Opened under the lock, since another Berth may have written to it; whoever opens it closes it. */
  readonly openJournal: () => Promise<Journal>;
}

/** Holds duplicates of the serving HAProxy's listening sockets, so that they outlive it. */
export interface ListenerKeeper {
  /** Let these go before the process that serves them stops to: their clients are to be refused, not to wait for nobody. */
  release(inodes: readonly number[]): void | Promise<void>;
  /** This process serves now: hold its listening sockets and no others. */
  renew(process: ProcessInfo): Promise<void>;
  /** Let all go: a deliberate stop. */
  letGo(): void | Promise<void>;
}

/** What every stage of a reload works with: the lock is held, the journal open. */
export interface ReloadContext extends HostContext {
  readonly journal: Journal;
}

export interface Sources {
  /** As given: HAProxy's `-f` arguments. */
  readonly sources: readonly string[];
  /** HAProxy's `-C`, absolute; absent: the directory that Berth was called in. */
  readonly workingDirectory?: string;
  /** Read these files of a generation instead. Places keep the user's paths. */
  readonly staged?: StagedFiles;
}

export interface StagedFiles {
  /** The mirror: files at their absolute paths below this directory. */
  readonly root: string;
  /** Files that do not stand there by themselves but in a bundle, by absolute path. */
  readonly joined: ReadonlyMap<string, Buffer>;
}

export interface ReloadRequest extends Sources {
  /** For the history: `reload`, `rollback to 3`. */
  readonly reason: string;
  /** Where this cannot go live and nothing serves, serve the generation that was committed last. */
  readonly orLastGood?: boolean;
}

/** What was read, with every place and path as the user knows it. */
export interface Reading {
  readonly listeners: Listeners;
  /** Absolute, in HAProxy's order. */
  readonly files: readonly string[];
  /** Absolute paths of what the files name by relative path. */
  readonly references: readonly string[];
  /** Are these the same files, byte for byte? */
  readonly isCopiedIn: (staged: StagedFiles) => boolean;
  /** Lines that `harden: source` adds; empty where it is off. */
  readonly harden: Plan['harden'];
  /** Puts these lines into the text of a file (one character a byte), by absolute path. */
  readonly hardened: ReadonlyMap<string, (text: string) => string>;
  /** The user's line of a line that HAProxy names in a hardened file; the same number for other files. */
  readonly originalLine: (file: string, line: number) => number;
}

/** Given by the one who puts the rooms together: `reload` does not know how a configuration is read. */
export type ReadConfiguration = (sources: Sources, build: HAProxyBuild) => Promise<Reading>;
