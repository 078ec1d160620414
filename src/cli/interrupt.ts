/** What Ctrl-C does: the first undoes, the second is told to be patient, the third ends the process at once. */
import { ERROR_TABLE } from '../errors.js';
import type { Host } from './host.js';

/**
 * SIGINT, SIGTERM and SIGHUP (a lost terminal must not end a reload in the middle) all count.
 * @returns the signal to hand to Berth, and how to stop listening.
 */
export function watchInterrupts(
  host: Host,
  { say, remote }: { readonly say: (text: string) => void; readonly remote: () => boolean },
): { readonly signal: AbortSignal; stop(): void } {
  const controller = new AbortController();
  let seen = 0;
  const stop = host.onSignal(() => {
    seen += 1;
    if (seen === 1) {
      if (remote()) say('berth: interrupted; the agent goes on with what it has begun');
      else say('berth: interrupted; undoing what was not yet handed over');
      controller.abort();
    } else if (seen === 2) {
      say('berth: finishing, so that no listener is left half-way; interrupt once more to end at once');
    } else {
      say('berth: ended at once; the next berth reload recovers from the journal');
      host.exit(ERROR_TABLE.BERTH_INTERRUPTED.exit);
    }
  });
  return { signal: controller.signal, stop };
}
