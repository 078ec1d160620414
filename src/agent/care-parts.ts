/** What the care for one HAProxy is made of. */
import type { Host } from '../host.js';
import type { ProcessEnd, ProcessInfo } from '../reload/env.js';
import type { KeptSocket } from '../reload/revive.js';
import type { AgentEvent, ReloadDemand } from './contract.js';
import type { DescriptorStore } from './keeper.js';
import type { LifeEnvironment } from './life.js';

/** An event without what every event has. */
export type Told = AgentEvent extends infer E ? (E extends AgentEvent ? Omit<E, 'at' | 'instance'> : never) : never;

export interface CareParts {
  readonly name: string;
  readonly host: Host;
  readonly tell: (event: Told) => void;
  readonly life: LifeEnvironment;
  readonly store?: DescriptorStore;
  /** What an agent before this one held of its listeners. */
  readonly adopted: readonly KeptSocket[];
  /** It ended, or gave up listeners, while nobody of us was at work on it. */
  readonly onEnd: (process: ProcessInfo, end: ProcessEnd) => void;
  readonly onLoss: () => void;
}

/** What one reload has of its own. */
export interface Own {
  readonly policy?: ReloadDemand['policy'] | undefined;
  readonly observer?: ReloadDemand['observer'] | undefined;
}
