/** `berth advise` predicts, the kernel does: each formula of docs/advise.md against an experiment in a namespace. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it, vi } from 'vitest';
import { advise } from '../../src/advise/advise.js';
import { loss } from '../../src/advise/erlang.js';
import { measureHost } from '../../src/measure.js';
import { portSet } from '../../src/model/ports.js';
import {
  ADDRESS,
  binomialError,
  busyAmong,
  Comparisons,
  inNamespace,
  meanOf,
  portsOf,
  RANGE,
} from '../support/advise-lab.js';
import { startChurn, type ChurnOptions } from '../support/churn.js';
import { amount, form } from '../support/figures.js';
import { describeInNamespaces } from '../support/netns.js';

const table = new Comparisons();
const stateDir = mkdtempSync(join(tmpdir(), 'berth-advise-'));
const HALF = (RANGE.last - RANGE.first + 1) / 2;

/** Lives that pass until all is as it stays: e⁻⁶ of the first connections are there still. */
const SETTLED = 6;
const servers = (count: number) => Array.from({ length: count }, (_, i) => 10_000 + i);

/** What is known of a host where nothing is but the churn. */
const host = (rate: number, lifetime: number, destinations: number) =>
  ({
    range: RANGE,
    listeners: 0,
    ports: `${RANGE.first}-${RANGE.last}`,
    timeWait: 0,
    rate,
    lifetime,
    destinations,
  }) as const;

const CASES: readonly (ChurnOptions & { readonly name: string; readonly full?: true })[] = [
  { name: '1 destination, 125 at a time', servers: servers(1), rate: 125, lifetime: 1 },
  { name: '1 destination, 300 at a time', servers: servers(1), rate: 300, lifetime: 1 },
  { name: '8 destinations, 200 at a time', servers: servers(8), rate: 200, lifetime: 1 },
  { name: '1 destination, 15 at a time', servers: servers(1), rate: 15, lifetime: 1, full: true },
  {
    name: '4 destinations, 200 at a time, all live as long',
    servers: servers(4),
    rate: 200,
    lifetime: 1,
    fixed: true,
    full: true,
  },
  { name: '40 destinations, 400 at a time', servers: servers(40), rate: 400, lifetime: 1, full: true },
];

vi.setConfig({ testTimeout: 120_000 });

describeInNamespaces('predicted against seen', () => {
  it.concurrent.each(CASES.filter(({ full }) => form === 'full' || full === undefined))(
    'ports held: $name',
    async ({ name, ...churning }) => {
      await inNamespace(RANGE, async ({ netns, kernel }) => {
        const churn = await startChurn(netns, churning);
        await churn.pass(SETTLED);
        const seen = { first: [] as number[], second: [] as number[] };
        for (let look = 0; look < amount('looks', { short: 8, full: 24 }); look++) {
          // As long as most live: each look sees others.
          await churn.pass(2);
          const busy = [...(await busyAmong(kernel, portsOf(RANGE)))];
          const even = busy.filter((port) => port % 2 === 0).length;
          seen.first.push(even / HALF);
          seen.second.push((busy.length - even) / HALF);
        }
        const measuring = measureHost({ settings: { netns: netns.path, stateDir } }, 0.2);
        await churn.pass(1);
        const { inputs, measured } = await measuring;
        const looked = advise(inputs, measured).busy;
        const { busy } = advise(host(churning.rate, 1, churning.servers.length));
        const [even, odd] = [meanOf(seen.first), meanOf(seen.second)];
        const agreed = [
          table.add(`held: ${name}, even ports`, busy.first, even.mean, even.error),
          table.add(`held: ${name}, odd ports`, busy.second, odd.mean, odd.error),
          // Two looks, which are off as far as looks are.
          table.add(
            `held: ${name}, even ports, host measured`,
            looked.first,
            even.mean,
            even.error + 3.3 * even.deviation,
          ),
        ];
        expect(agreed).toEqual([true, true, true]);
      });
    },
  );

  it.concurrent('reservation only: what holds a port when it is reserved goes on holding it', async () => {
    await inNamespace(RANGE, async ({ netns, kernel }) => {
      const churn = await startChurn(netns, { servers: servers(1), rate: 125, lifetime: 1 });
      const reserved = portsOf(RANGE).filter((port) => port % 4 === 0);
      const steps = [0.5, 1, 2].map((lead) => ({ lead, held: 0 }));
      let before = 0;
      for (let round = 0; round < amount('rounds', { short: 4, full: 12 }); round++) {
        await churn.pass(SETTLED);
        await kernel.writeReservedPorts(portSet(reserved), true);
        const held = [...(await busyAmong(kernel, reserved))];
        before += held.length;
        let now = 0;
        for (const step of steps) {
          await churn.pass(step.lead - now);
          now = step.lead;
          const still = await busyAmong(kernel, reserved);
          // Nobody was given one of them meanwhile.
          expect(held).toEqual(expect.arrayContaining([...still]));
          step.held += still.size;
        }
        await kernel.writeReservedPorts(portSet([]), false);
      }
      const agreed = steps.map(({ lead, held }) => {
        const { reservation, without } = advise({ ...host(1, 1, 1), lead });
        const seen = held / before;
        const name = `of the ports held when they were reserved, held a life × ${lead} later`;
        return table.add(name, reservation.held / without.held, seen, binomialError(seen, before));
      });
      expect(agreed).toEqual(steps.map(() => true));
    });
  });

  it.concurrent('TIME_WAIT holds ports as connections do', async () => {
    await inNamespace(RANGE, async ({ netns, kernel }) => {
      const churn = await startChurn(netns, { servers: servers(2), rate: 200, lifetime: 0.001, close: 'fin' });
      const { attempts } = await churn.pass(1);
      const busy = [...(await busyAmong(kernel, portsOf(RANGE)))].filter((port) => port % 2 === 0).length / HALF;
      // Not yet a minute: all that were opened are there, as if a minute had passed at this rate.
      const { first } = advise({ ...host(attempts / 60, 0, 2), timeWait: 1 }).busy;
      expect(table.add('TIME_WAIT, 2 destinations, even ports', first, busy, binomialError(busy, HALF))).toBe(true);
    });
  });

  it.concurrent('bind(2) before connect(2) takes the other parity, and each port once', async () => {
    await inNamespace(RANGE, async ({ netns, kernel }) => {
      const script = fileURLToPath(new URL('../support/bound-connections.py', import.meta.url));
      const child = netns.spawn('python3', script, ADDRESS, '10000', '150');
      child.stderr?.pipe(process.stderr);
      if (child.stdout) await once(child.stdout, 'data');
      const busy = await busyAmong(kernel, portsOf(RANGE));
      const odd = [...busy].filter((port) => port % 2 === 1).length;
      const predicted = advise({ ...host(150, 1, 1), binding: 'bind' }).busy;
      expect([
        table.add('150 of bind(2) before connect(2), odd ports', predicted.second, odd / HALF, 0),
        table.add('150 of bind(2) before connect(2), even ports', predicted.first, (busy.size - odd) / HALF, 0),
      ]).toEqual([true, true]);
    });
  });

  it.concurrent.each(form === 'full' ? [60, 80, 90, 100, 130, 200] : [80, 130])(
    '%d connections at a time on 100 ports: EADDRNOTAVAIL',
    async (load) => {
      await inNamespace({ first: 20_000, last: 20_099 }, async ({ netns }) => {
        const churn = await startChurn(netns, { servers: servers(1), rate: load, lifetime: 1 });
        await churn.pass(SETTLED);
        const { attempts, failed } = await churn.pass(amount('lives', { short: 20, full: 60 }));
        const predicted = loss(load, 100);
        const seen = failed / attempts;
        // Connects fail in runs, about as long as a connection lives: so much fewer are the tries that count.
        const error = binomialError(Math.max(seen, predicted), attempts / Math.max(1, load / 8));
        const name = `connects that fail: ${load} connections at a time want 100 ports`;
        expect(table.add(name, predicted, seen, error)).toBe(true);
      });
    },
  );
});

afterAll(() => {
  rmSync(stateDir, { recursive: true, force: true });
  table.record(
    'experiments',
    '`berth advise` predicts how often a new listener meets a busy port, and when outgoing connections run dry, within ' +
      'the error that it states.',
    'Predicted against seen in the kernel, in ranges of 500 and of 100 ports',
  );
});
