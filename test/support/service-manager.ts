/** The agent as a service: started by a service manager in small, which keeps its descriptors as systemd does. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Lab } from './haproxy.js';

export interface Service {
  /** Resolves when the agent has said READY=1. @returns its pid */
  start(): Promise<number>;
  /** Resolves when it has ended. */
  kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<void>;
  /** Resolves when it has ended by itself. */
  readonly ended: () => Promise<string>;
  /** How many descriptors the service manager keeps. */
  stored(): Promise<number>;
  close(): Promise<void>;
}

const SCRIPT = fileURLToPath(new URL('service-manager.py', import.meta.url));
const BERTH = fileURLToPath(new URL('../../bin/berth', import.meta.url));

/** @param options more options of `berth agent` @param name of its notify socket */
export function serviceIn(lab: Lab, settingsFile: string, options: readonly string[] = [], name = 'notify'): Service {
  const child = spawn('python3', [SCRIPT, lab.path(name), BERTH, 'agent', '--settings', settingsFile, ...options], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env['PATH'] },
  });
  const said: string[] = [];
  const waiting = new Set<() => void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    said.push(line);
    for (const wake of waiting) wake();
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const heard = async (word: string): Promise<string> => {
    for (;;) {
      const at = said.findIndex((line) => line.startsWith(word));
      if (at >= 0) return said.splice(at, 1)[0] ?? '';
      await new Promise<void>((resolve) => {
        const wake = () => {
          waiting.delete(wake);
          resolve();
        };
        waiting.add(wake);
      });
    }
  };
  const tell = (line: string) => child.stdin.write(`${line}\n`);
  return {
    start: async () => {
      tell('start');
      const pid = Number((await heard('started')).split(' ')[1]);
      await heard('ready');
      return pid;
    },
    kill: async (signal) => {
      tell(`kill ${signal}`);
      await heard('ended');
    },
    ended: () => heard('ended'),
    stored: async () => {
      tell('stored');
      return Number((await heard('stored')).split(' ')[1]);
    },
    close: async () => {
      child.stdin.end();
      await ended;
    },
  };
}
