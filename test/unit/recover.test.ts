/** Which way an unfinished reload is brought to its end; what HAProxy and the kernel say is staged. */
import { describe, expect, it } from 'vitest';
import type { RunningHAProxy } from '../../src/reload/env.js';
import { openGeneration, servingNumber } from '../../src/reload/generations.js';
import { Journal } from '../../src/reload/journal.js';
import { publish } from '../../src/reload/publish.js';
import { recover } from '../../src/reload/recover.js';
import type { ReloadContext } from '../../src/reload/context.js';
import { NO_PORTS } from '../../src/model/ports.js';
import { loadSettings } from '../../src/settings.js';
import { fakeKernel, listenRow, processInfo, type Staged } from '../support/fake-kernel.js';
import { openTestState, quickStage } from '../support/state.js';

const worker = processInfo(71, { ppid: 70 });
const listening: Staged = { rows: [listenRow(80, 4711)], socketsOf: { 71: [4711] } };

/** A first start of a master that was cut off after its worker had been verified. */
async function cutOffAfterVerified(kernel: Staged) {
  const { state, config, home } = await openTestState();
  const generation = await quickStage(state, config);
  await publish(state, generation);
  const journal = await Journal.open(state.journal);
  await journal.begin({ kind: 'begin', transaction: '1-1', generation: generation.number, mode: 'master-worker' });
  await journal.append({ kind: 'staged' }, { kind: 'checked' }, { kind: 'handing-over' }, { kind: 'published' });
  await journal.append({ kind: 'started', pid: worker.pid, startTicks: worker.startTicks }, { kind: 'verified' });
  const context = {
    journal,
    state,
    kernel: fakeKernel({ ...kernel, processes: [worker] }),
    haproxy: { find: (): Promise<RunningHAProxy | undefined> => Promise.resolve(undefined) },
    ledger: { ours: () => Promise.resolve(NO_PORTS), record: () => Promise.resolve() },
    settings: loadSettings({ flags: { stateDir: state.path, haproxy: { pidFile: `${home}/haproxy.pid` } } }),
    observer: () => undefined,
  } as unknown as ReloadContext;
  const report = await recover(context);
  await journal.close();
  const { meta } = await openGeneration(state, generation.number);
  return { report, published: await servingNumber(state), generation: generation.number, meta };
}

describe('the recovery of a master’s first start that was verified', () => {
  it('leads forward where its worker listens', async () => {
    const { report, published, generation } = await cutOffAfterVerified(listening);
    expect(report).toMatchObject({ direction: 'forward', generation });
    expect(published).toBe(generation);
  });

  // A read-only disk ended the commit: the way back had told the master to finish, and could not take back what was
  // published. The worker lived on for a moment, or as long as its clients, and was taken for the one that serves.
  it('leads back where its worker only drains', async () => {
    const { report, published, meta } = await cutOffAfterVerified({ socketsOf: { 71: [] } });
    expect(report).toMatchObject({ direction: 'back' });
    expect(published).toBeUndefined();
    expect(meta.state).toBe('rolled-back');
  });
});
