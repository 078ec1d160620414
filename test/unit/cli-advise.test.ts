/** `berth advise` on the command line: what it measures, what overrides it, what it prints. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { AdviceReport } from '../../src/advise/advise.js';
import { run } from '../../src/cli/run.js';
import * as sample from './cli-samples.js';

const directory = mkdtempSync(join(tmpdir(), 'berth-advise-'));
afterAll(() => rmSync(directory, { recursive: true }));

async function asked(...words: string[]) {
  const host = sample.testHost();
  const status = await run(['advise', ...words], host);
  return { status, host };
}

async function report(...words: string[]): Promise<AdviceReport> {
  const { host } = await asked(...words, '--json');
  return (JSON.parse(host.out()) as { result: AdviceReport }).result;
}

function file(given: unknown): string {
  const path = join(directory, typeof given === 'string' ? 'broken.json' : 'host.json');
  writeFileSync(path, typeof given === 'string' ? given : JSON.stringify(given));
  return path;
}

describe('where the inputs come from', () => {
  it('this host, with the settings of the command line', async () => {
    const { host } = await asked('--netns', '/run/netns/lb');
    expect(host.opened).toMatchObject([{ settings: { netns: '/run/netns/lb' } }]);
    expect(await report()).toMatchObject({ source: 'measured', inputs: { present: '80,40000,58824', rate: 100 } });
  });

  it('options go over what was measured; other listeners than those there are no longer known by port', async () => {
    const { inputs } = await report('--rate', '7', '--hosts', '3');
    expect(inputs).toMatchObject({ rate: 7, hosts: 3, lifetime: 20, present: '80,40000,58824' });
    expect((await report('--listeners', '500')).inputs).not.toHaveProperty('present');
  });

  it('a file, or a typical host, and nothing is measured', async () => {
    const { host } = await asked('--no-measure');
    expect(host.opened).toEqual([]);
    const { source, inputs } = await report(
      '--given',
      file({ listeners: 9, rate: 5 }),
      '--rate',
      '6',
      '--time-wait',
      '50%',
    );
    expect([source, inputs.listeners, inputs.rate, inputs.timeWait]).toEqual(['given', 9, 6, 0.5]);
    expect((await report('--no-measure', '--range', '1024-4095')).inputs.range).toEqual({ first: 1024, last: 4095 });
  });

  it.each([
    [['--no-measure', '--range', '5'], /--range wants first-last/],
    [['--no-measure', '--ports', 'x'], /ports: must be/],
    [['--no-measure', '--destinations', '0'], /destinations/],
    [['--listeners', '70000'], /listeners/],
    [['--given', join(directory, 'none')], /cannot be read/],
    [['--given', file('{')], /is not JSON/],
  ])('%j is refused, before anything is measured', async (words, message) => {
    const { status, host } = await asked(...words);
    expect([status, host.opened]).toEqual([2, []]);
    expect(host.err()).toMatch(message);
  });
});

describe('what it prints', () => {
  it('is what docs/advise.md shows', async () => {
    const { host } = await asked('--no-measure');
    const page = readFileSync(new URL('../../docs/advise.md', import.meta.url), 'utf8');
    expect(page).toContain(host.out().split('\n\n# /etc')[0]);
  });

  it('of a measured host also what was seen, and the error of the looks', async () => {
    const { host } = await asked('--hosts', '100');
    expect(host.out()).toMatch(/^Measured for 5 s: 3 listeners; 100 outgoing connections a second to 6 destinations/);
    expect(host.out()).toContain('on 100 hosts');
    expect(host.out()).toContain('seen just now: 30 % and 0 %');
    expect(host.out()).toContain('measurement ±2.8 %');
    expect(host.out()).toContain('conflicts: { share: all }');
  });

  it('red where connections run dry', async () => {
    const { host } = await asked('--no-measure', '--rate', '5000');
    expect(host.out()).toContain('of its connects fail with EADDRNOTAVAIL');
  });

  it('lines to paste, each with its reason', async () => {
    const { host } = await asked('--no-measure', '--ports', '30000-39999', '--listeners', '20000');
    expect(host.out()).toContain('# /etc/sysctl.d/90-berth.conf\nnet.ipv4.ip_local_port_range = 40000 65535\n  # ');
    expect(host.out().match(/^(api_|data_)\w+ = \d+$/gm)).toHaveLength(6);
  });
});
