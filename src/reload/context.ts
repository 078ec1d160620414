import type { Settings } from '../settings.js';
import type { HAProxy, Kernel } from './env.js';
import type { Journal } from './journal.js';
import type { ReloadObserver } from './reports.js';
import type { StateDir } from './state-dir.js';

/** What every stage of a reload works with. */
export interface ReloadContext {
  readonly kernel: Kernel;
  readonly haproxy: HAProxy;
  readonly state: StateDir;
  readonly journal: Journal;
  readonly settings: Settings;
  readonly observer: ReloadObserver;
  readonly signal?: AbortSignal;
}
