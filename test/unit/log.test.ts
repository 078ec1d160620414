/** What the log says of each event, and what happens to it where it cannot be written. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from '../support/fast-check.js';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { AgentEvent } from '../../src/agent/contract.js';
import { logEvents, openLog, type Level, type LogRecord } from '../../src/agent/log.js';
import { openSink } from '../../src/agent/log-sink.js';
import { renderLogLine } from '../../src/cli/render/log.js';
import { styleOf } from '../../src/cli/style.js';
import { fakeAgent, oldProcess } from '../support/stated-agent.js';
import { temporaryDirectory } from '../support/state.js';
import { transpile } from '../support/transpile.js';
import { inPart, owner, reload } from './cli-samples.js';

const plain = styleOf({ terminal: true, all: false, coloured: false });

function opened(level: Level = 'trace', format?: (record: LogRecord) => string) {
  const lines: string[] = [];
  const log = openLog({ level, destination: { write: (line) => void lines.push(line) }, ...(format && { format }) });
  const agent = fakeAgent();
  logEvents(agent, log);
  const records = () => lines.map((line) => JSON.parse(line) as LogRecord);
  return { log, agent, lines, records };
}

const shared: AgentEvent = {
  at: '2026-08-07T14:02:31.000Z',
  instance: 'default',
  type: 'reload-progress',
  event: {
    type: 'secured',
    listener: {
      ...{ name: '169.254.0.101:58824/tcp', action: 'share', cause: 'shareable', sentence: '…:58824 is shared' },
      owners: [{ ...owner, unit: 'haproxy.service' }],
    },
  },
};

describe('a line', () => {
  it('is one JSON object with time, level, instance, event and message', () => {
    const { agent, lines, records } = opened();
    agent.tell({ type: 'reload-ended', reason: 'source changed', ms: 180, report: inPart });
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^\{.*\}\n$/);
    const [record] = records();
    expect(record).toMatchObject({
      level: 'warn',
      instance: 'default',
      event: 'reload-ended',
      reason: 'source changed',
    });
    expect(new Date(record?.time ?? '').toISOString()).toBe(record?.time);
  });

  it('names whom a sharing act touched: process, command and unit', () => {
    const { agent, records } = opened('warn');
    agent.tell(shared);
    expect(records()).toMatchObject([
      {
        ...{ level: 'warn', listener: '169.254.0.101:58824/tcp', action: 'share', cause: 'shareable' },
        touched: [{ pid: owner.pid, comm: 'haproxy', unit: 'haproxy.service' }],
      },
    ]);
  });

  it('names the old process that was ended', () => {
    const { agent, records } = opened('warn');
    agent.tell({ type: 'old-process-ended', process: oldProcess, why: 'drain.hardStopAfterMs' });
    expect(records()).toMatchObject([{ touched: [{ pid: oldProcess.pid, unit: 'haproxy.service' }] }]);
  });

  it('does not grow with the listeners of a reload', () => {
    const { agent, lines } = opened();
    const many = Array.from({ length: 2000 }, (_, at) => `10.0.0.1:${at}/tcp`);
    const secured = many.map((name) => ({
      ...{ name, action: 'guard' as const, cause: 'free' as const, owners: [], sentence: '' },
    }));
    agent.tell({ type: 'reload-ended', reason: 'x', ms: 1, report: { ...reload, secured } });
    agent.tell({ type: 'listeners-repaired', names: many, how: 'reload' });
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(2000);
  });

  it('cannot be forged: whatever a configuration holds, one event is one line, and its text comes back', () => {
    const { agent, lines, records } = opened();
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        lines.length = 0;
        agent.tell({ type: 'warning', text });
        expect(lines).toHaveLength(1);
        // eslint-disable-next-line no-control-regex -- control characters are what this looks for
        expect(lines[0]?.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
        expect(records()[0]?.message).toBe(Buffer.from(text).toString());
      }),
      { numRuns: 30 },
    );
  });

  it('on a terminal: control characters are visible, and no text passes for a line of its own', () => {
    const { agent, lines } = opened('info', (record) => renderLogLine(record, plain));
    agent.tell({ type: 'warning', text: 'a\u001b[2J\u009b1m\n14:02:31  error  all is lost' });
    expect(lines.join('')).toMatch(
      /^\d\d:\d\d:\d\d {2}warn {3}a\\x1b\[2J\\x9b1m\n {17}14:02:31 {2}error {2}all is lost\n$/,
    );
  });
});

describe('the level', () => {
  it('goes step by step and stays at its ends', () => {
    const { log, agent, lines } = opened('info');
    agent.tell({ type: 'reload-unchanged', reason: 'x' });
    expect(lines).toEqual([]);
    expect(log.step('more')).toBe('debug');
    agent.tell({ type: 'reload-unchanged', reason: 'x' });
    expect(lines).toHaveLength(1);
    for (let i = 0; i < 9; i++) log.step('more');
    expect(log.level).toBe('trace');
    for (let i = 0; i < 9; i++) log.step('fewer');
    expect(log.level).toBe('silent');
  });
});

describe('a log that cannot be written', () => {
  it('a full disk costs lines and nothing else; what was lost is counted when there is room again', async () => {
    const full = openSync('/dev/full', 'w');
    const sink = openSink(full, (lines) => `${lines} lost\n`);
    sink.write('one\n');
    sink.write('two\n');
    await sink.close();
    closeSync(full);
    const path = join(temporaryDirectory(), 'log');
    const room = openSync(path, 'w');
    // The same number again: the descriptor is the caller's, and a log that is rotated in place comes back like this.
    expect(room).toBe(full);
    sink.write('three\n');
    await sink.close();
    closeSync(room);
    expect(readFileSync(path, 'utf8')).toBe('2 lost\nthree\n');
  });

  it('a reader that is stuck is waited for in bounded memory, and not at all at the end', async () => {
    const path = join(temporaryDirectory(), 'pipe');
    execFileSync('mkfifo', [path]);
    const modules = transpile('agent/log-sink');
    onTestFinished(() => modules.remove());
    const script = `
      import { openSync, constants } from 'node:fs';
      import { openSink } from ${JSON.stringify(modules.path('agent/log-sink'))};
      const sink = openSink(openSync(${JSON.stringify(path)}, constants.O_RDWR), (lines) => lines + ' lost');
      for (let i = 0; i < 1_000_000; i++) sink.write('x'.repeat(99) + '\\n');
      await sink.close(10);
      console.log(process.memoryUsage.rss() < 200e6 ? 'alive' : 'fat');
    `;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script]);
    const exited = once(child, 'exit');
    const [said] = (await once(child.stdout, 'data')) as [Buffer];
    expect(String(said)).toBe('alive\n');
    // Node waits for its pool before it ends, and one of the pool waits for the reader.
    child.kill('SIGKILL');
    await exited;
  });
});
