import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';

const skip = cannotRun() !== undefined;
const { path: binary } = (skip ? [] : haproxyBinaries()).at(0) ?? { path: 'haproxy' };

describe.skipIf(skip)('the load generator', () => {
  let lab: Lab;

  beforeEach(async () => {
    lab = await Lab.open({ peer: true });
  });

  afterEach(async () => {
    await lab.close();
  });

  it('sees a good HAProxy as good, and leaves no TIME_WAIT on its side', async () => {
    const backend = await lab.startBackend([{ host: '169.254.0.100', port: 9000 }], 'one');
    const targets = Array.from({ length: 50 }, (_, at) => `169.254.0.101:${20_000 + at}`);
    const file = lab.write('a.cfg', configuration(targets, { server: '169.254.0.100:9000' }));
    await lab
      .haproxy({ binary })
      .start(lab.command([file]), { pidFile: lab.path('pid'), mode: 'standalone', timeoutMs: 20_000 });
    const load = await lab.startLoad({ targets, rate: 1000, held: 5 });
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect((await load.report()).held.open).toBe(5);
    const report = await load.stop();
    expect(report.ok).toBeGreaterThan(200);
    expect(report).toMatchObject({ refused: 0, reset: 0, eof: 0, hung: 0, other: {}, open: 0 });
    expect(report.ok).toBe(report.attempts);
    expect(report.held).toMatchObject({ cut: 0, hung: 0, failed: 0 });
    expect(report.timeline.reduce((sum, { ok }) => sum + ok, 0)).toBe(report.ok);
    const timeWaits = (await lab.exec('ss', ['-tanH', 'state', 'time-wait'])).trim().split('\n').filter(Boolean);
    expect(timeWaits.length).toBeLessThan(report.ok / 20);
    await backend.stop();
  });

  it('tells refused from cut, by target and time', async () => {
    const file = lab.write('a.cfg', configuration(['169.254.0.101:20000'], { server: '169.254.0.100:9999' }));
    await lab
      .haproxy({ binary })
      .start(lab.command([file]), { pidFile: lab.path('pid'), mode: 'standalone', timeoutMs: 20_000 });
    const load = await lab.startLoad({ targets: ['169.254.0.101:20000', '169.254.0.101:20001'], rate: 200 });
    await new Promise((resolve) => setTimeout(resolve, 500));
    const report = await load.stop();
    expect(report.ok).toBe(0);
    expect(report.refused).toBeGreaterThan(0);
    expect(report.reset + report.eof + report.hung).toBeGreaterThan(0);
    expect(report.failuresByTarget['169.254.0.101:20001']).toBe(report.refused);
    expect(report.firstFailure).toBeLessThanOrEqual(report.lastFailure!);
  });
});
