/** What the command needs of the process it runs in; a test hands in its own. */
import type { Berth, BerthOptions } from '../berth.js';
import type { MeasuredHost } from '../measure.js';
import type { OpenHow } from './open.js';

export interface Sink {
  write(text: string): void;
  readonly terminal: boolean;
  /** Columns of the terminal, 80 where it does not say. */
  readonly columns: number;
}

export interface Host {
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly environment: NodeJS.ProcessEnv;
  /** Version of the package. */
  readonly version: string;
  openBerth(options: BerthOptions, how: OpenHow): Promise<Berth>;
  /** Two looks at this host, so many seconds apart. */
  measure(options: BerthOptions, seconds: number): Promise<MeasuredHost>;
  /** Calls back for every SIGINT, SIGTERM and SIGHUP; the result stops that. */
  onSignal(listener: () => void): () => void;
  /** Ends the process at once. */
  exit(status: number): void;
}
