/**
 * One reload's worth of writes to a state directory, over and over: journal, stage, publish, commit, prune.
 * argv: directory of the transpiled sources, state directory, configuration file, failpoint to die at (or `none`), rounds.
 */
import { join } from 'node:path';

const [, , sources, statePath, config, failpoint, rounds] = process.argv;
const load = (module) => import(join(sources, `reload/${module}.js`));
const [{ openStateDir }, { Journal }, { stage }, { publish, markGood }, { prune, sweep }, { servingNumber }] =
  await Promise.all(['state-dir', 'journal', 'stage', 'publish', 'prune', 'generations'].map(load));

const state = await openStateDir(statePath, { create: true, lockFile: () => Promise.reject(new Error('no lock')) });
const journal = await Journal.open(state.journal, {
  failpoint: (name) => {
    if (name === failpoint) process.kill(process.pid, 'SIGKILL');
  },
});
await sweep(state);
if (journal.unfinished.length > 0) await journal.append({ kind: 'recovered', outcome: 'back', detail: 'test' });

for (let round = 0; round < Number(rounds); round++) {
  const previous = await servingNumber(state);
  const generation = await stage(state, {
    sources: [config],
    files: [config],
    references: [],
    haproxyVersion: '2.6.12',
    reason: 'reload',
  });
  const { number } = generation;
  await journal.begin({
    kind: 'begin',
    transaction: `t${number}`,
    generation: number,
    ...(previous ? { previous } : {}),
  });
  await journal.append({ kind: 'staged' });
  await journal.append({ kind: 'checked' });
  await journal.append({ kind: 'handing-over' }, { kind: 'started', pid: 1, startTicks: '1' });
  const published = await publish(state, generation);
  await journal.append({ kind: 'published' });
  await journal.append({ kind: 'verified' });
  await journal.append({ kind: 'committing' });
  await markGood(published);
  await journal.append({ kind: 'committed' });
  await prune(state, 3);
  await journal.append({ kind: 'finished' });
  process.send?.(number);
}
await journal.close();
process.disconnect?.();
