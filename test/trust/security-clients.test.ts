/** Huge, slow, silent and many clients of the API: root is answered and HAProxy reloaded meanwhile. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { ask } from '../../src/client/transport.js';
import { agentIn } from '../support/agent.js';
import { fullVersion } from '../support/attempts.js';
import { amount, recordFigure } from '../support/figures.js';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';
import { as, GROUP, MEMBER } from '../support/strangers.js';

const why = cannotRun();

/** What one member of the group does until `seconds` are over. It counts, and is not asked to stop. */
const siege = (asked: { socket: string; idle: number; seconds: number }, load: NodeJS.Require) => {
  const net = load('node:net') as typeof import('node:net');
  const count = { connected: 0, refused: 0, answered: 0, bytes: 0 };
  const open = (then?: (socket: import('node:net').Socket) => void, read = true) => {
    const socket = net.connect(asked.socket, () => {
      count.connected += 1;
      then?.(socket);
    });
    socket.on('error', () => (count.refused += 1));
    socket.on('close', () => (ended ? undefined : setTimeout(() => open(then, read), 1000)));
    if (read) socket.on('data', (data) => ((count.answered += 1), (count.bytes += data.length)));
    else socket.pause();
  };
  let ended = false;
  const head = (method: string, path: string, more: string) => `${method} ${path} HTTP/1.1\r\nHost: x\r\n${more}`;
  const json = 'Content-Type: application/json\r\n';
  const drip = (socket: import('node:net').Socket, letter: string) => setInterval(() => socket.write(letter), 100);
  for (let at = 0; at < 8; at += 1) {
    open((socket) => (socket.write(head('GET', '/v1/status', 'X: ')), drip(socket, 'a')));
    open((socket) => {
      socket.write(head('POST', '/v1/plan', `${json}Content-Length: 100000000\r\n\r\n{"targets":["`));
      drip(socket, 'a');
    });
    open(
      (socket) => (
        socket.write(head('POST', '/v1/plan', `${json}Transfer-Encoding: chunked\r\n\r\n`)),
        drip(socket, '1\r\n[\r\n')
      ),
    );
    open((socket) => socket.write(head('GET', '/v1/status', `X: ${'a'.repeat(1 << 20)}\r\n\r\n`)));
    open((socket) => socket.write(head('GET', `/${'a'.repeat(1 << 20)}`, '\r\n')));
    open((socket) => {
      socket.write(head('POST', '/v1/plan', `${json}Content-Length: ${64 << 20}\r\n\r\n`));
      socket.write(Buffer.alloc(64 << 20, '['));
    });
    open((socket) => socket.write(head('GET', '/v1/events', '\r\n')), false);
    open((socket) => socket.write(head('GET', '/v1/listeners', '\r\n').repeat(1000)), false);
  }
  for (let at = 0; at < asked.idle; at += 1) open();
  return new Promise<typeof count>((resolve) =>
    setTimeout(() => {
      ended = true;
      resolve(count);
    }, asked.seconds * 1000),
  );
};

describe.skipIf(why !== undefined)('clients of the API', () => {
  const [binary = { version: '', path: '' }] = why === undefined ? haproxyBinaries() : [];

  test('that are huge, slow, silent or many keep neither root from an answer nor HAProxy from its reload', async () => {
    const lab = await Lab.open();
    const source = lab.path('conf.d');
    mkdirSync(source);
    const write = (count: number) =>
      writeFileSync(
        join(source, 'a.cfg'),
        configuration(Array.from({ length: count }, (_, at) => `127.0.0.1:${8001 + at}`)),
      );
    write(1);
    const agent = await agentIn(lab, binary.path, {
      sources: [source],
      agent: { group: GROUP, requestTimeoutMs: 1000 },
    });
    const served = () => agent.instance.state.listeners.served;
    await vi.waitFor(() => expect(served()).toBe(1), { timeout: 20_000 });
    const before = process.memoryUsage().rss;

    const idle = amount('clients', { short: 1000, full: 10_000 });
    const seconds = amount('siege_s', { short: 2, full: 15 });
    const besieged = as(MEMBER, { socket: lab.path('agent.sock'), idle, seconds }, siege);
    const siegeOf = { over: false };
    void besieged.finally(() => (siegeOf.over = true));
    const answers: string[] = [];
    const slowest = { ms: 0 };
    let reloads = 0;
    while (!siegeOf.over) {
      write(2 + (reloads % 5));
      const begun = performance.now();
      const question = { method: 'GET', path: '/v1/status', timeoutMs: 20_000 } as const;
      const answer = await ask(lab.path('agent.sock'), question).catch(String);
      slowest.ms = Math.max(slowest.ms, performance.now() - begun);
      answers.push(typeof answer === 'string' ? answer : 'answered');
      await vi.waitFor(() => expect(served()).toBe(2 + (reloads % 5)), { timeout: 20_000 });
      reloads += 1;
    }
    const count = await besieged;
    const grown = Math.round((process.memoryUsage().rss - before) / (1 << 20));
    const failed = agent.types().filter((type) => type === 'reload-failed').length;
    const unanswered = answers.filter((answer) => answer !== 'answered');
    await agent.stop();
    await lab.close();
    recordFigure({
      part: 'security',
      name: 'clients',
      promise:
        'Huge, slow, silent and many clients of the API keep neither root from an answer nor HAProxy from a reload.',
      figure:
        `${count.connected} connections by one member in ${seconds} s; meanwhile ${reloads} reloads, ${failed} failed, and ` +
        `${answers.length} questions by root, ${unanswered.length} unanswered, the slowest after ${Math.round(slowest.ms)} ms; ` +
        `the agent grew by ${grown} MiB`,
      kept: unanswered.length === 0 && failed === 0 && reloads > 0,
      haproxy: [fullVersion(binary)],
    });
    expect(unanswered).toEqual([]);
    expect(failed).toBe(0);
    expect(count.connected).toBeGreaterThan(100);
  });
});
