import { beforeEach, describe, expect, it } from 'vitest';
import { Keeper } from '../../src/agent/keeper.js';
import type { SocketRow } from '../../src/model/socket.js';
import { fakeKernel, processInfo } from '../support/fake-kernel.js';

const PID = 100;

function listener(inode: number): SocketRow {
  const address = { localAddress: '10.0.0.1', localPort: inode, remoteAddress: '0.0.0.0', remotePort: 0 };
  return { transport: 'tcp', family: 4, state: 'LISTEN', ...address, inode, uid: 0 };
}

describe('a look at the sockets that are kept', () => {
  /** Of the host, and of the process: descriptor 3 on, in this order. */
  let listening: number[];
  let descriptors: number[];
  let wanted: boolean;
  let fails: boolean;
  let looks: number;
  let keeper: Keeper;

  const kernel = () =>
    fakeKernel({
      rows: listening.map(listener),
      socketsOf: { [PID]: descriptors },
      processes: [processInfo(PID)],
    });
  beforeEach(() => {
    [listening, descriptors] = [
      [1, 2, 3, 900],
      [1, 2, 3],
    ];
    [wanted, fails, looks] = [true, false, 0];
    const env = new Proxy(kernel(), {
      get: (_, name) => {
        if (name === 'socketsOf') looks++;
        if (name === 'close') return () => undefined;
        if (name === 'duplicate')
          return (_: unknown, inodes: number[]) =>
            Promise.resolve(new Map(fails ? [] : inodes.map((inode) => [inode, inode + 1000])));
        return Reflect.get(kernel(), name) as unknown;
      },
    });
    keeper = new Keeper({
      kernel: env,
      name: 'default',
      socketAt: (_, fd) => descriptors[fd - 3],
      wanted: () => wanted,
      warn: () => undefined,
    });
  });
  const looksOf = async (refreshes: number) => {
    const before = looks;
    for (let time = 0; time < refreshes; time++) await keeper.refresh(processInfo(PID));
    return looks - before;
  };
  const held = () => keeper.held.map(({ inode }) => inode).toSorted();

  it('is one at every descriptor first, and then as long as nothing changes only at those of the listeners', async () => {
    expect(await looksOf(3)).toBe(1);
    expect(held()).toEqual([1, 2, 3]);
  });

  it.each<[string, () => void, number[]]>([
    ['somebody on the host listens, perhaps this process', () => listening.push(4), [1, 2, 3]],
    ['a listener has gone', () => listening.splice(1, 1), [1, 3]],
    ['the process has given one up that is held here', () => descriptors.splice(1, 1), [1, 3]],
    ['none is to be held any more', () => (wanted = false), []],
  ])('is one at every descriptor when %s', async (_, change, left) => {
    await looksOf(2);
    change();
    expect(await looksOf(3)).toBe(1);
    expect(held()).toEqual(left);
  });

  it('is one at every descriptor as long as some are not held', async () => {
    fails = true;
    expect(await looksOf(3)).toBe(3);
    fails = false;
    expect(await looksOf(3)).toBe(1);
    expect(held()).toEqual([1, 2, 3]);
  });

  it('is one at every descriptor of another process, and of one that a reload has brought', async () => {
    await looksOf(2);
    await keeper.renew(processInfo(PID));
    expect(await looksOf(3)).toBe(1);
    await expect(keeper.refresh(processInfo(PID, { startTicks: '7' }))).resolves.toBeUndefined();
    expect(keeper.owner?.startTicks).toBe('7');
  });
});
