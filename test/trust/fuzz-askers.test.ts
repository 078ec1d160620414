/**
 * Whoever asks where Berth hands sockets to a new HAProxy: silent, half a command, another one, never reading, gone in the
 * middle, many at once, and strangers. HAProxy is answered all the while. BERTH_TRUST_SEED repeats a run.
 */
import fc from 'fast-check';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, fstatSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { openKernel, type OpenKernel } from '../../src/kernel/kernel.js';
import { endpoint } from '../support/endpoints.js';
import { amount, recordFigure, SEED } from '../support/figures.js';
import { configuration, haproxyBinaries } from '../support/haproxy.js';
import { describeInNamespaces, makeNamespace, type Namespace } from '../support/netns.js';

const COMMAND = '_getsocks\n';
const ASKERS = 40;
const PORTS = Array.from({ length: 300 }, (_, at) => 20_000 + at);
const openFiles = () => readdirSync('/proc/self/fd').length;

/** What an asker says, and whether it reads, or goes at once. */
interface Asker {
  readonly says: Buffer;
  readonly then: 'reads' | 'is deaf' | 'goes';
}

const garbage = fc.uint8Array({ maxLength: 3000 }).map((data) => Buffer.from(data));
const asker: fc.Arbitrary<Asker> = fc.record({
  says: fc.oneof(
    fc.constantFrom('', COMMAND, 'show info\nxxxx', COMMAND.repeat(2000)).map((said) => Buffer.from(said)),
    fc.nat(COMMAND.length).map((length) => Buffer.from(COMMAND.slice(0, length))),
    garbage,
    garbage.map((rest) => Buffer.concat([Buffer.from(COMMAND), rest])),
  ),
  then: fc.constantFrom('reads', 'is deaf', 'goes'),
});

async function askAs(path: string, { says, then }: Asker): Promise<net.Socket> {
  const socket = net.connect(path);
  try {
    await once(socket, 'connect');
  } catch {
    // EAGAIN: so many at once that the backlog is full. HAProxy waits in connect(2), which Node does not.
    await sleep(5);
    return askAs(path, { says, then });
  }
  socket.on('error', () => undefined);
  if (then === 'reads') socket.resume();
  socket.write(says);
  if (then === 'goes') socket.destroy();
  return socket;
}

/** One of another user, again and again until it is told to stop; it prints how many bytes it was given. */
const STRANGER = `
  let given = 0, socket;
  const again = () => {
    socket = require('net').connect(process.argv[1], () => socket.write('_getsocks\\n'));
    socket.on('data', (data) => { given += data.length; }).on('error', () => {}).on('close', () => setTimeout(again, 5));
  };
  process.on('SIGTERM', () => { console.log(given); process.exit(); });
  again();
`;

describeInNamespaces('hostile askers for sockets', () => {
  async function round(kernel: OpenKernel, netns: Namespace, directory: string, binary: string, seed: number) {
    const path = join(directory, 'handoff');
    const file = join(directory, 'haproxy.cfg');
    writeFileSync(file, configuration(PORTS.map((port) => `127.0.0.1:${port}`)));
    const probes = await kernel.probe(
      PORTS.map((port) => endpoint(port)),
      { keep: true },
    );
    const guards = probes.map(({ guard }) => guard!);
    const server = await kernel.serveSockets(
      path,
      guards.map((descriptor) => ({ descriptor, namespace: '', device: '' })),
    );
    // As if somebody had opened the doors: a stranger is told by who he is.
    chmodSync(directory, 0o755);
    chmodSync(path, 0o666);
    const stranger = spawn(process.execPath, ['-e', STRANGER, path], {
      uid: 65534,
      gid: 65534,
      cwd: '/',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const given = text(stranger.stdout);
    const askers = fc.sample(asker, { numRuns: ASKERS, seed });
    const sockets = await Promise.all(askers.map((one) => askAs(path, one)));

    const haproxy = netns.spawn(binary, '-db', '-f', file, '-x', path);
    const said = text(haproxy.stderr!);
    haproxy.stdout!.resume();
    const closed = Promise.all([haproxy, stranger].map((child) => once(child, 'close')));
    const wanted = guards.map((guard) => fstatSync(guard).ino).sort();
    let listening: number[] = [];
    while (listening.length < wanted.length && haproxy.exitCode === null) {
      await sleep(5);
      const rows = await kernel.boundSockets([], { silent: false });
      listening = rows.filter(({ state }) => state === 'LISTEN').map(({ inode }) => inode);
    }
    const served = server.served();
    for (const socket of sockets) socket.destroy();
    await server.stop();
    stranger.kill();
    haproxy.kill('SIGKILL');
    kernel.close(guards);
    await closed;
    const whole = served > 0 && listening.sort().join() === wanted.join();
    return { whole, given: Number(await given), said: whole ? '' : await said };
  }

  test.each(haproxyBinaries())('HAProxy $version gets its sockets among them', async ({ version, path }) => {
    const netns = await makeNamespace();
    const kernel = await openKernel({ netns: netns.path });
    const directory = mkdtempSync(join(tmpdir(), 'berth-askers-'));
    const before = openFiles();
    const rounds = amount('asker_rounds', { short: 1, full: 5 });
    const results = [];
    for (let at = 0; at < rounds; at++) results.push(await round(kernel, netns, directory, path, SEED + at));
    // Fewer are fine: what was made before it was closed meanwhile.
    const leaked = Math.max(0, openFiles() - before);
    await kernel.closeNamespace();
    await netns.remove();
    rmSync(directory, { recursive: true, force: true });
    const answered = results.filter(({ whole }) => whole).length;
    const given = results.reduce((sum, one) => sum + one.given, 0);
    recordFigure({
      part: 'fuzz',
      name: `askers for sockets, HAProxy ${version}`,
      promise:
        'A new HAProxy gets its sockets from Berth whoever else asks for them at the same time; a stranger gets none.',
      figure: `${rounds * ASKERS} hostile askers, HAProxy given its sockets ${answered} of ${rounds} times, ${given} bytes to strangers`,
      kept: answered === rounds && given === 0 && leaked === 0,
      haproxy: [version],
    });
    expect(results.map(({ said }) => said).join('')).toBe('');
    expect({ answered, given, leaked }).toEqual({ answered: rounds, given: 0, leaked: 0 });
  });
});
