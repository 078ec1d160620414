/** What HAProxy asks of the kernel when it starts: strace(1) on the bind and listen calls of all that Berth starts. */
import { chmodSync, readFileSync, readdirSync } from 'node:fs';
import { expect } from 'vitest';
import type { Lab } from './haproxy.js';

export interface TracedBind {
  /** IP address, or the path of a unix socket. */
  readonly address: string;
  /** 0 for a unix socket. */
  readonly port: number;
  /** File and line of the trace: the order of the list is nobody's. */
  readonly at: string;
}

/** The binary, with its starts (not `-c`, not `-vv`) under strace(1), which stays with all that they fork. */
export function traceStarts(lab: Lab, binary: string): { readonly wrapper: string; binds(): readonly TracedBind[] } {
  const trace = `exec strace -D -f -qq --seccomp-bpf -e trace=bind,listen -o ${lab.path('trace')}.$$ ${binary} "$@"`;
  const wrapper = lab.write('haproxy', `#!/bin/sh\ncase " $* " in *" -D "*) ${trace} ;; esac\nexec ${binary} "$@"\n`);
  chmodSync(wrapper, 0o755);
  const binds = () => {
    const files = readdirSync(lab.directory).filter((name) => name.startsWith('trace.'));
    const calls = files.flatMap((name) => {
      const lines = readFileSync(lab.path(name), 'utf8').split('\n');
      return lines.map((call, line) => ({ call, at: `${name}:${line}` }));
    });
    // That it saw the listeners come up proves that it looked.
    expect(calls.filter(({ call }) => call.includes(' listen(')).length).toBeGreaterThan(0);
    return calls.flatMap(({ call, at }): TracedBind[] => {
      const inet = / bind\(.*sin6?_port=htons\((\d+)\).*"([^"]+)"/.exec(call);
      if (inet) return [{ address: inet[2] ?? '', port: Number(inet[1]), at }];
      const unix = / bind\(.*sun_path="([^"]+)"/.exec(call);
      return unix ? [{ address: unix[1] ?? '', port: 0, at }] : [];
    });
  };
  return { wrapper, binds };
}
