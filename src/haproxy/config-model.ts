/** What reading a configuration takes and gives. */
import type { SourcePlace } from '../model/bind.js';
import type { Variables } from './environment.js';

export interface HAProxyVersion {
  readonly major: number;
  readonly minor: number;
  /** As `haproxy -v` prints it: `2.6.12-1+deb12u4`. */
  readonly text: string;
}

export interface ReadOptions {
  /** HAProxy's `-C`; relative sources are relative to it. Default: the working directory of this process. */
  readonly workingDirectory?: string;
  /** Read everything below this directory instead (a copy of the files at their absolute paths); names and places stay. */
  readonly root?: string;
  /** Files that do not stand there, by absolute path (the user's). */
  readonly joined?: ReadonlyMap<string, Buffer>;
  /** The environment that HAProxy will be started with. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly version: HAProxyVersion;
  /** Names after + in the feature list of `haproxy -vv`. Not given: `feature()` is undecided. */
  readonly features?: readonly string[];
  /** HAProxy's `-L`; wins over `localpeer`. Default: the host name. */
  readonly localPeer?: string;
  /** Of all files together; default 64 MiB. */
  readonly maxBytes?: number;
}

export interface ConfigurationLine extends SourcePlace {
  /** The first word, not empty. */
  readonly keyword: string;
  /** All words; taken apart at each call, so call it once. An empty word (`""`) ends most of HAProxy's loops over arguments. */
  readonly words: readonly string[];
  /** Words and spaces only, as nearly all lines are: no quote, escape, variable or comment. */
  readonly plain: boolean;
  /** Directory that relative paths of this line are relative to (`default-path`), absolute. */
  readonly base: string;
  /** The environment at this place. */
  readonly variables: Variables;
  /** Why only the haproxy binary knows whether the line counts; undefined: it counts. */
  readonly doubt: string | undefined;
}

export interface Section extends SourcePlace {
  /** The keyword: `global`, `defaults`, `frontend`, `listen`, `backend`, `peers`, … */
  readonly kind: string;
  /** First argument; empty where there is none. */
  readonly name: string;
  /** The line that opens the section, whole. */
  readonly header: ConfigurationLine;
  /** The lines after it, without the directives `.if` … `.alert`. */
  readonly lines: readonly ConfigurationLine[];
}

export interface Configuration {
  readonly sections: readonly Section[];
  /** As HAProxy prints them, in its order; relative ones are relative to `workingDirectory`. */
  readonly files: readonly string[];
  /** What each of them holds, in the same order. */
  readonly contents: readonly Buffer[];
  /** Absolute. */
  readonly workingDirectory: string;
  /** As in the options; empty where there is none. */
  readonly root: string;
  readonly version: HAProxyVersion;
  /** Name of the local peer: `-L`, else `localpeer`, else the host name. */
  readonly localPeer: string;
  /** The environment after the whole read. */
  readonly environment: Variables;
  readonly warnings: readonly (SourcePlace & { readonly message: string })[];
}
