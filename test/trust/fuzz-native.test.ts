/** The native parsers of bytes that Berth did not make, under ASan and UBSan: scripts/fuzz, with libFuzzer in full form. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { amount, form, recordFigure } from '../support/figures.js';
import { repository } from '../support/haproxy.js';

/** What each target is given; test/native/fuzz. */
const TARGETS: Readonly<Record<string, string>> = {
  netlink: 'datagrams of NETLINK_SOCK_DIAG',
  procnet: '/proc/net/tcp, udp and unix',
  procstat: '/proc/PID/stat, /proc/PID/fd',
  ports: 'ports, for the byte code that filters them',
  getsocks: '`_getsocks`: who hands over',
  asker: '`_getsocks`: who asks',
};

test('no input makes a native parser read or write where it must not', async () => {
  const names = Object.keys(TARGETS);
  const limits =
    form === 'full'
      ? ['--seconds', String(amount('fuzz_seconds', { short: 1, full: 20 }))]
      : ['--driver', '--runs', String(amount('fuzz_inputs', { short: 2000, full: 2000 }))];
  const child = spawn(join(repository, 'scripts/fuzz'), [...limits, ...names], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [said, [code]] = (await Promise.all([text(child.stdout), once(child, 'close')])) as [string, [number | null]];
  const found = names.map((name) => new RegExp(`^ok +${name}: (\\d+) inputs(?:, (\\d+) edges)?$`, 'm').exec(said));
  const inputs = found.reduce((sum, one) => sum + Number(one?.[1] ?? 0), 0);
  const broken = found.filter((one) => one === null).length;
  const by = said.includes('compiler: clang') ? 'libFuzzer' : 'mutation of a corpus';
  recordFigure({
    part: 'fuzz',
    name: 'native parsers',
    promise:
      'No bytes from the kernel, from another process or from a peer make the native code read or write where it must not.',
    figure: `${inputs} inputs for ${names.length} parsers by ${by} under ASan and UBSan, ${broken} with a finding`,
    kept: code === 0 && broken === 0,
    haproxy: [],
    table: {
      title: 'Native parsers',
      columns: ['parser', 'reads', 'inputs', 'edges covered', 'findings'],
      rows: names.map((name, at) => [
        name,
        TARGETS[name] ?? '',
        found[at]?.[1] ?? '',
        found[at]?.[2] ?? 'not measured',
        found[at] ? '0' : '1',
      ]),
    },
  });
  expect({ code, said: code === 0 ? '' : said }).toEqual({ code: 0, said: '' });
  expect(broken).toBe(0);
}, 600_000);
