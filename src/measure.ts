/** What `berth advise` is asked about, of this host: two looks at the kernel's tables, put into the model's inputs. */
import { setTimeout as sleep } from 'node:timers/promises';
import { inputsOf, lookAt, type HostFacts } from './advise/measure.js';
import type { Measured } from './advise/advise.js';
import type { GivenInputs } from './advise/inputs.js';
import type { BerthOptions } from './berth.js';
import { openHost } from './host.js';
import type { OpenKernel } from './kernel/kernel.js';
import { formatPorts } from './model/ports.js';

export interface MeasuredHost {
  readonly inputs: GivenInputs;
  readonly measured: Measured;
}

/**
 * Looks at this host twice, so many seconds apart; changes nothing. 100k connections take a tenth of a second a look.
 * @throws BERTH_KERNEL, BERTH_PERMISSION; BERTH_SETTINGS; AbortError where `options.signal` ends it
 */
export async function measureHost(options: BerthOptions = {}, seconds = 5): Promise<MeasuredHost> {
  const host = await openHost(options);
  try {
    const { kernel } = host;
    const facts = await factsOf(kernel);
    const look = async () => lookAt((await kernel.snapshot({ silent: false })).each(), facts);
    const opensBefore = await kernel.activeOpens();
    const began = performance.now();
    const before = await look();
    await sleep(seconds * 1000, undefined, options.signal ? { signal: options.signal } : {});
    const opens = (await kernel.activeOpens()) - opensBefore;
    const lasted = (performance.now() - began) / 1000;
    return inputsOf({ ...facts, seconds: lasted, opens }, [before, await look()]);
  } finally {
    await host.close();
  }
}

async function factsOf(kernel: OpenKernel): Promise<Omit<HostFacts, 'seconds' | 'opens'>> {
  const [range, reserved, sockets, reuse, processes] = await Promise.all([
    kernel.ephemeralRange(),
    kernel.reservedPorts(),
    kernel.boundSockets([], { silent: false }),
    kernel.sysctl('net.ipv4.tcp_tw_reuse'),
    kernel.haproxyProcesses(),
  ]);
  const haproxy = await Promise.all(processes.map(({ pid }) => kernel.socketsOf(pid)));
  return {
    range,
    reserved: formatPorts(reserved),
    listening: sockets.filter(({ state }) => state === 'LISTEN'),
    haproxy: new Set(haproxy.flatMap((held) => [...held.keys()])),
    timeWaitReuse: reuse === '1',
  };
}
