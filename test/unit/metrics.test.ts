/** What a scrape says, and that docs/metrics.md lists just that. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { startMetrics, type Metrics } from '../../src/agent/metrics.js';
import { fakeAgent, idle } from '../support/stated-agent.js';
import { reload } from './cli-samples.js';

/** `name{labels}` → value. */
async function scrape(metrics: Metrics): Promise<Map<string, string>> {
  const lines = (await metrics.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), line.slice(line.lastIndexOf(' ') + 1)] as const),
  );
}

describe('a scrape', () => {
  it('says what is', async () => {
    const page = await scrape(startMetrics(fakeAgent(), { openFiles: () => Promise.resolve(21) }));
    const expected = {
      'berth_listeners{instance="default",state="served"}': '2000',
      'berth_listeners{instance="default",state="quarantined"}': '1',
      'berth_last_good_generation{instance="default"}': '17',
      'berth_reserved_ports{instance="default",owner="ours"}': '11',
      'berth_reserved_ports{instance="default",owner="foreign"}': '1',
      'berth_ephemeral_range_reserved_ratio{instance="default"}': '0.25',
      'berth_reservations_reasserted_total{instance="default"}': '2',
      'berth_old_processes{instance="default",role="draining"}': '1',
      'berth_old_process_connections{instance="default"}': '7',
      'berth_keeper_sockets{instance="default"}': '2000',
      'berth_instance_phase{instance="default",phase="idle"}': '1',
      'berth_instance_phase{instance="default",phase="failed"}': '0',
      'berth_last_reload_ok{instance="default"}': '1',
      berth_process_open_files: '21',
      berth_live: '1',
      berth_ready: '1',
    };
    expect(Object.fromEntries(Object.keys(expected).map((name) => [name, page.get(name)]))).toEqual(expected);
  });

  it('counts what happens, conflicts by cause and resolution', async () => {
    const agent = fakeAgent();
    const metrics = startMetrics(agent);
    agent.tell({ type: 'reload-progress', event: { type: 'phase', name: 'hand over', state: 'begin' } });
    agent.tell({ type: 'reload-progress', event: { type: 'phase', name: 'hand over', state: 'end', ms: 80 } });
    agent.tell({ type: 'reload-ended', reason: 'source changed', ms: 180, report: reload });
    agent.tell({ type: 'reload-failed', reason: 'x', ms: 3, error: { code: 'BERTH_CONFIG_REFUSED' } });
    agent.tell({ type: 'haproxy-died', pid: 7, how: 'SIGSEGV', deliberate: false });
    agent.tell({ type: 'listeners-repaired', names: ['a', 'b'], how: 'reload' });
    const page = await scrape(metrics);
    expect(page.get('berth_reloads_total{instance="default",outcome="served"}')).toBe('1');
    expect(page.get('berth_reloads_total{instance="default",outcome="failed"}')).toBe('1');
    expect(page.get('berth_reloads_total{instance="default",outcome="instead"}')).toBe('0');
    expect(page.get('berth_reload_errors_total{instance="default",code="BERTH_CONFIG_REFUSED"}')).toBe('1');
    expect(page.get('berth_conflicts_total{instance="default",cause="shareable",resolution="share"}')).toBe('1');
    expect([...page.keys()].filter((name) => name.includes('resolution="guard"'))).toEqual([]);
    expect(page.get('berth_reload_phase_seconds_sum{instance="default",phase="hand over"}')).toBe('0.08');
    expect(page.get('berth_reload_phase_seconds_count{instance="default",phase="hand over"}')).toBe('1');
    expect(page.get('berth_haproxy_deaths_total{instance="default",deliberate="false"}')).toBe('1');
    expect(page.get('berth_listeners_repaired_total{instance="default"}')).toBe('2');
    metrics.stop();
    expect(agent.listeners.size).toBe(0);
  });

  it('forgets the gauges of an instance that is gone', async () => {
    const agent = fakeAgent({ one: idle, two: idle });
    const metrics = startMetrics(agent);
    expect(await metrics.text()).toContain('berth_keeper_sockets{instance="two"}');
    agent.instances.delete('two');
    expect(await metrics.text()).not.toContain('berth_keeper_sockets{instance="two"}');
  });

  it('names no listener, whatever happens: a thousand of them make no page longer', async () => {
    const agent = fakeAgent();
    const metrics = startMetrics(agent);
    const secured = Array.from({ length: 1000 }, (_, at) => ({
      ...{ name: `10.0.0.1:${at}/tcp`, action: 'wait' as const, cause: 'expiring' as const, owners: [], sentence: '' },
    }));
    agent.tell({ type: 'reload-ended', reason: 'x', ms: 1, report: { ...reload, secured } });
    const page = await scrape(metrics);
    expect(page.get('berth_conflicts_total{instance="default",cause="expiring",resolution="wait"}')).toBe('1000');
    expect([...page.keys()].filter((name) => name.includes('10.0.0.1'))).toEqual([]);
  });
});

describe('docs/metrics.md', () => {
  it('lists every metric with its type, labels and meaning, and no other', () => {
    const page = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8');
    const listed = [...page.matchAll(/^\| `(berth_\w+)` \| (\w+) \| (.*?) \| (.*) \|$/gm)].map((row) => row.slice(1));
    const metrics = startMetrics(fakeAgent()).registry.getMetricsAsArray() as unknown as Described[];
    expect(listed).toEqual(
      metrics.map(({ name, type, labelNames, help }) => [name, type, labelNames.join(', ') || '–', help]),
    );
  });
});

interface Described {
  readonly name: string;
  readonly type: string;
  readonly labelNames: readonly string[];
  readonly help: string;
}
