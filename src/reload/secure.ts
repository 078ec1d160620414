import { endpointKey } from '../model/endpoint.js';
import { type Assessment, verdictsOf } from './assess.js';
import { climb } from './conflicts.js';
import type { ReloadContext } from './context.js';
import type { Descriptor } from './env.js';
import { rungsFor } from './plan.js';
import type { SecuredListener } from './reports.js';
import { refuseStarved, Unsolved, unservable } from './unsolved.js';

/** Climb the ladder for what the probe left busy. @throws Unsolved for what came to its end */
export async function secure(
  context: ReloadContext,
  assessment: Assessment,
  guards: Map<string, Descriptor>,
): Promise<SecuredListener[]> {
  const { kernel, settings, observer, signal, journal } = context;
  const contested = assessment.plan.open.filter(
    ({ bind, rungs }) => bind.endpoint.kind === 'inet' && rungs.length > 0 && !guards.has(endpointKey(bind.endpoint)),
  );
  if (contested.length === 0) return [];
  const { secured, unsolved } = await climb(
    {
      kernel,
      settings: settings.conflicts,
      diagnose: (results) => verdictsOf(context, results, assessment.diagnosis),
      rungs: (verdict) => rungsFor(verdict, settings.conflicts),
      observer,
      ...(signal ? { signal } : {}),
      beforeAct: (action, endpoint, holder) => {
        const owner = holder.owners[0];
        return journal.append({
          kind: 'securing',
          endpoint: endpointKey(endpoint),
          action,
          ...(owner ? { owner: { pid: owner.pid, comm: owner.comm } } : {}),
        });
      },
    },
    contested,
    guards,
  );
  refuseStarved(unsolved);
  if (unsolved.length > 0) {
    throw settings.conflicts.onUnsolved === 'abort' ? unservable(unsolved) : new Unsolved(unsolved);
  }
  await journal.append(...secured.map(({ name }) => ({ kind: 'secured' as const, endpoint: name })));
  return secured;
}
