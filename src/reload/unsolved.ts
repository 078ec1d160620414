import { BerthError } from '../errors.js';
import { formatEndpoint } from '../model/endpoint.js';
import type { SecureStep } from '../model/plan.js';

/**
 * What the ladder could not secure; by policy these listeners are left out of the next attempt. A BerthError, so that it
 * passes through a phase as what it is.
 */
export class Unsolved extends BerthError {
  constructor(readonly steps: readonly SecureStep[]) {
    const names = steps.map(({ bind }) => formatEndpoint(bind.endpoint)).join(', ');
    super('BERTH_UNSERVABLE', `Could not be secured: ${names}`, { step: 'secure' });
  }
}

/** The reload ends here, with nothing changed; each listener with its reason. */
export function unservable(steps: readonly SecureStep[], why = ''): BerthError {
  const [first] = steps;
  const more = steps.length > 1 ? ` (and ${steps.length - 1} more)` : '';
  return new BerthError(
    'BERTH_UNSERVABLE',
    `${first?.reason ?? 'A listener cannot be served'}${more}${why}; nothing was changed`,
    {
      step: 'secure',
      details: {
        listeners: steps.map(({ bind, reason, verdict }) => ({
          name: formatEndpoint(bind.endpoint),
          place: bind.place,
          reason,
          verdict,
        })),
      },
    },
  );
}

/** What this process, or the machine, has run out of. */
const WANTS: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS']);

/** No listener is left out for a want of Berth's own: the next attempt may have what this one lacks. */
export function refuseStarved(steps: readonly SecureStep[]): void {
  const starved = steps.filter(({ verdict }) => verdict.kind === 'unusable' && WANTS.has(verdict.errno));
  if (starved.length > 0) throw unservable(starved, ", and that is a want of Berth's own, not the port's");
}
