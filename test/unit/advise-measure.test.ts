/** What `berth advise` makes of two looks at the socket tables. */
import { describe, expect, it } from 'vitest';
import { advise } from '../../src/advise/advise.js';
import { inputsOf, lookAt, type HostFacts } from '../../src/advise/measure.js';
import { parseActiveOpens } from '../../src/kernel/reserved-ports.js';
import type { SocketRow } from '../../src/model/socket.js';

describe('a look at a host', () => {
  const row = (localPort: number, over: Partial<SocketRow> = {}): SocketRow => ({
    transport: 'tcp',
    family: 4,
    state: 'ESTABLISHED',
    localAddress: '10.0.0.1',
    localPort,
    remoteAddress: '10.0.0.9',
    remotePort: 80,
    inode: 1,
    uid: 0,
    ...over,
  });
  const listen = (localPort: number, inode: number) =>
    row(localPort, { state: 'LISTEN', inode, remotePort: 0, remoteAddress: '0.0.0.0' });
  const facts: HostFacts = {
    range: { first: 40_000, last: 40_009 },
    reserved: '40009',
    listening: [listen(80, 50), listen(40_000, 51), listen(22, 60)],
    haproxy: new Set([50, 51, 1]),
    timeWaitReuse: false,
    seconds: 10,
    opens: 100,
  };

  it('counts what holds ports of the range, by destination', () => {
    const look = lookAt(
      [
        row(40_002),
        row(40_004, { inode: 2 }),
        row(40_004, { remotePort: 81, state: 'TIME_WAIT', inode: 0 }),
        row(40_000, { remotePort: 999 }), // accepted: somebody listens there
        row(80, { remotePort: 999 }),
        row(40_006, { localAddress: '127.0.0.1' }), // in nobody's way
        ...facts.listening,
      ],
      facts,
    );
    expect(look).toMatchObject({ all: 4, held: 3, timeWait: 1, living: 2, own: 1 });
    const { inputs, measured } = inputsOf(facts, [look, look]);
    expect(inputs).toMatchObject({ rate: 7.5, listeners: 2, present: '80,40000', foreign: '22', own: 0.5 });
    expect(inputs.destinations).toEqual([
      { count: 1, share: 2 / 3 },
      { count: 1, share: 1 / 3 },
    ]);
    expect(measured.seen).toEqual({ first: 2 / 4, second: 0 });
    expect(advise(inputs, measured)).toMatchObject({ source: 'measured' });
  });

  it('nothing going on is no division by zero', () => {
    const look = lookAt([], facts);
    const report = advise(
      ...(Object.values(inputsOf({ ...facts, opens: 0 }, [look, look])) as Parameters<typeof advise>),
    );
    expect(report.without.held).toBe(0);
    expect(JSON.stringify(report)).not.toContain('null');
  });

  it('reads ActiveOpens by its name', () => {
    expect(parseActiveOpens('Ip: a\nIp: 1\nTcp: X ActiveOpens Y\nTcp: 1 42 3\n')).toBe(42);
    expect(() => parseActiveOpens('Tcp: X\nTcp: 1\n')).toThrow(/ActiveOpens/);
  });
});
