/** Signals of this process, for a verb that has its own way with them. */

export type Signal = 'SIGTERM' | 'SIGINT' | 'SIGHUP' | 'SIGUSR1' | 'SIGUSR2';

/**
 * SIGUSR1 is worth a handler for one more reason: without one Node opens its inspector on 127.0.0.1:9229, where every
 * user of the host could tell a process of root's what to do.
 * @returns how to stop listening
 */
export function onSignals(handlers: Readonly<Record<Signal, () => unknown>>): () => void {
  const entries = Object.entries(handlers).map(([signal, handler]) => [signal, () => void handler()] as const);
  for (const [signal, listener] of entries) process.on(signal, listener);
  return () => {
    for (const [signal, listener] of entries) process.off(signal, listener);
  };
}
