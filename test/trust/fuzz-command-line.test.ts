/**
 * Whoever answers on a stats or master socket instead of HAProxy: no end, silence, bytes, half lines, an answer too late,
 * another's words. Each question ends in its time, with an answer that makes sense or an error. BERTH_TRUST_SEED repeats.
 */
import fc from 'fast-check';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { BerthError } from '../../src/errors.js';
import { ask, statsIdentity } from '../../src/haproxy/cli.js';
import { openHAProxy } from '../../src/haproxy/haproxy.js';
import { showProc } from '../../src/haproxy/show-proc.js';
import type { ProcessInfo } from '../../src/reload/env.js';
import { amount, recordFigure, SEED } from '../support/figures.js';
import { processTable } from '../support/process-table.js';

const LIMIT_MS = 100;
const openFiles = () => readdirSync('/proc/self/fd').length;

interface Answer {
  readonly pieces: readonly string[];
  readonly pauseMs: number;
  readonly then: 'closes' | 'is silent' | 'goes on' | 'resets';
}

const TABLE = `#<PID>          <type>          <reloads>       <uptime>        <version>
${process.pid}              master          1 [failed: 1]   0d00h00m06s     2.6.12
# workers
75              worker          1               0d00h00m06s     2.6.12
# programs

`;
const words = fc.constantFrom(
  ...[TABLE, TABLE.slice(0, 200), 'Name: HAProxy\nVersion: 2.6\nPid: 7\n\n', 'Pid: -1\n', 'Name: haproxy\nPid: 1e99\n'],
  ...[
    'Success=1\n',
    'Success=0\n--\n[ALERT] (1) : x [f:1]\n',
    'Unknown command\n',
    '\n\n',
    'still in progress\n',
    '\0',
  ],
  // Made for expressions that go back and forth.
  ...[
    `1 worker${' '.repeat(20_000)}x\n`,
    `${'1'.repeat(20_000)}\n`,
    `[ALERT] (1) : ${'cannot bind socket ['.repeat(800)}\n`,
  ],
);
const piece = fc.oneof(
  { weight: 3, arbitrary: words },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 2000 }).map((data) => Buffer.from(data).toString('latin1')) },
  { weight: 1, arbitrary: fc.tuple(words, fc.nat(100)).map(([text, length]) => text.slice(0, length)) },
);
const answer: fc.Arbitrary<Answer> = fc.record({
  pieces: fc.array(piece, { maxLength: 4 }),
  pauseMs: fc.constantFrom(0, 0, 0, 1, 30, 150),
  then: fc.constantFrom('closes', 'closes', 'is silent', 'goes on', 'resets'),
});

/** One answer to each connection. */
async function answering(path: string) {
  const open = new Set<net.Socket>();
  let plan: Answer = { pieces: [], pauseMs: 0, then: 'closes' };
  const server = net.createServer((socket) => {
    open.add(socket);
    socket.on('error', () => undefined).on('close', () => open.delete(socket));
    void play(socket, plan);
  });
  async function play(socket: net.Socket, { pieces, pauseMs, then }: Answer): Promise<void> {
    for (const text of pieces) {
      if (pauseMs > 0) await sleep(pauseMs);
      socket.write(text, 'latin1');
    }
    socket.resume();
    if (then === 'closes') socket.end();
    if (then === 'resets') socket.destroy();
    while (then === 'goes on' && !socket.destroyed) {
      socket.write(pieces.join('') || 'more\n', 'latin1');
      if (socket.writableNeedDrain)
        await Promise.race([once(socket, 'drain'), once(socket, 'close')]).catch(() => undefined);
      else await sleep(0);
    }
  }
  server.listen(path);
  await once(server, 'listening');
  return {
    answer: (next: Answer) => (plan = next),
    closeAll: async () => {
      for (const socket of open) socket.destroy();
      while (open.size > 0) await sleep(1);
    },
    end: async () => {
      server.close();
      await once(server, 'close');
    },
  };
}

test('whoever answers for HAProxy: an answer that makes sense, or an error that says where, in its time', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-cli-'));
  const path = join(directory, 'socket');
  const peer = await answering(path);
  const table = processTable(process.pid);
  const master: ProcessInfo = { ...(await table.process(process.pid))!, comm: 'haproxy' };
  const haproxy = openHAProxy({
    kernel: { ...table, process: (pid) => Promise.resolve(pid === master.pid ? master : undefined) },
    signal: () => false,
  });
  const running = {
    mode: 'master-worker',
    worker: master,
    master,
    masterSocket: path,
    draining: [],
    foundBy: 'master-socket',
  } as const;
  const questions: Readonly<Record<string, () => Promise<unknown>>> = {
    'any command': () => ask(path, 'show stat', { timeoutMs: LIMIT_MS, mostBytes: 1 << 20 }),
    'show info': () => statsIdentity(path, LIMIT_MS),
    'show proc': () => showProc(path, { timeoutMs: LIMIT_MS }),
    reload: () => haproxy.reloadMaster(running, { timeoutMs: LIMIT_MS }),
  };
  const count = { answers: 0, errors: 0 };
  const before = openFiles();

  async function meet(plan: Answer, name: string): Promise<void> {
    peer.answer(plan);
    const result: unknown = await questions[name]!().catch((error: unknown) => error);
    if (result instanceof BerthError) {
      count.errors += 1;
      expect(result.code).toMatch(/^BERTH_(HAPROXY_SOCKET|TIMEOUT)$/);
      expect(result.message).toMatch(/socket|master/);
    } else {
      count.answers += 1;
      expect(result).not.toBeInstanceOf(Error);
    }
    await peer.closeAll();
    expect(openFiles()).toBeLessThanOrEqual(before);
  }

  const outcome = await fc.check(fc.asyncProperty(answer, fc.constantFrom(...Object.keys(questions)), meet), {
    ...{ numRuns: amount('command_lines', { short: 50, full: 600 }), seed: SEED, endOnFailure: true },
  });
  await peer.end();
  rmSync(directory, { recursive: true, force: true });
  recordFigure({
    part: 'fuzz',
    name: 'peers on a command line',
    promise:
      'Whoever answers on a stats or master socket: each question ends, with an answer or an error that names the socket.',
    figure: `${outcome.numRuns} questions: ${count.answers} answered, ${count.errors} refused, ${outcome.failed ? 1 : 0} failures`,
    kept: !outcome.failed,
    haproxy: [],
  });
  if (outcome.failed) throw new Error(await fc.asyncDefaultReportMessage(outcome), { cause: outcome.errorInstance });
  expect(Math.min(count.answers, count.errors)).toBeGreaterThan(0);
}, 300_000);
