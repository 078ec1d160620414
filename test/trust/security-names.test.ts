/** Names and texts of others: no argument to HAProxy or sh, no line of a log, no metric, no event, no move of a cursor. */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { openBerth } from '../../src/berth.js';
import { connectAgent } from '../../src/client/client.js';
import { run } from '../../src/cli/run.js';
import { statusText } from '../../src/agent/notify.js';
import { agentIn } from '../support/agent.js';
import { askSocket } from '../support/api.js';
import { recordAttempts } from '../support/attempts.js';
import { amount } from '../support/figures.js';
import { cannotRun, configuration, haproxyBinaries, Lab, repository } from '../support/haproxy.js';
import { testHost } from '../unit/cli-samples.js';

const why = cannotRun();

const NAMES = [
  ...[
    '-D',
    '--',
    '-c',
    '-f',
    '-sf',
    '-x',
    '--version',
    '-',
    '$(touch pwned)',
    '`touch pwned`',
    ';touch pwned;',
    '|touch pwned',
  ],
  ...[
    "a'b",
    'a"b',
    'a b',
    ' a',
    'a\nb',
    'a\n-D',
    'a\tb',
    '*',
    '?',
    '[a]',
    '~',
    '%s%n%p',
    '\\',
    'a\\\nb',
    '$HOME',
    '${IFS}',
    '&&id',
  ],
  ...['\u001b[2J', '\u009b31m', '"}\n{"level":"error"', '\u2028', 'é', '\u202eexe', '#', '=', 'x'.repeat(200)],
];

describe.skipIf(why !== undefined)('names', () => {
  const [binary = { version: '', path: '' }] = why === undefined ? haproxyBinaries() : [];
  let lab: Lab;
  beforeEach(async () => {
    lab = await Lab.open();
  });
  afterEach(() => lab.close());

  test('of sources are files to HAProxy, whatever they look like', async () => {
    const directory = lab.path('conf');
    mkdirSync(directory);
    const binds = NAMES.map((_, at) => `127.0.0.1:${8001 + at}`);
    NAMES.forEach((name, at) => {
      const whole = configuration([binds[at] ?? '']).replaceAll('lb0', `lb${at}`);
      writeFileSync(join(directory, name), at === 0 ? whole : whole.slice(whole.indexOf('listen')));
    });
    const berth = await openBerth({
      settings: {
        stateDir: lab.path('state'),
        netns: lab.netns,
        haproxy: { binary: binary.path, workingDirectory: directory },
      },
      environment: {},
    });
    // As a relative path each stands where HAProxy takes options, too.
    const report = await berth.reload(NAMES).catch((error: unknown) => ({ error }));
    await berth.close();
    const [served] = lab.haproxies();
    const files = served?.argv.filter((_, at) => served.argv[at - 1] === '-f') ?? [];
    const succeeded = [
      ...NAMES.filter((_, at) => !lab.listeners().has(binds[at] ?? '')),
      ...files.filter((file) => !file.startsWith('/')),
      ...['pwned'].filter((name) => existsSync(lab.path('conf', name)) || existsSync(join(process.cwd(), name))),
    ];
    recordAttempts({
      name: 'arguments, HAProxy',
      promise: 'A source is a file to HAProxy and never an option or a command, whatever it is called.',
      what: 'by names of sources',
      tried: NAMES.length,
      succeeded,
      haproxy: binary,
    });
    expect({ succeeded, report }).toMatchObject({ succeeded: [], report: { outcome: 'served' } });
    expect(files).toHaveLength(NAMES.length + 1);
  });

  test('in a call of the drop-in reach the real haproxy byte by byte, and sh does nothing with them', () => {
    const script = lab.path('berth-haproxy');
    copyFileSync(join(repository, 'bin/berth-haproxy'), script);
    mkdirSync(lab.path('bin'));
    const fake = lab.path('bin', 'haproxy');
    writeFileSync(fake, '#!/bin/sh\nprintf "%s\\0" "$@"\n');
    chmodSync(fake, 0o755);
    const environment = { PATH: `${lab.path('bin')}:${process.env['PATH'] ?? ''}` };
    const succeeded = NAMES.filter((name) => {
      const words = ['-D', '-p', name, '-C', lab.directory, '-f', name, '-sf', '1', '-x', name];
      const { stdout } = spawnSync('sh', [script, ...words], {
        cwd: lab.directory,
        env: environment,
        encoding: 'utf8',
      });
      return stdout !== words.map((word) => `${word}\0`).join('') || existsSync(lab.path('pwned'));
    });
    recordAttempts({
      name: 'arguments, drop-in',
      promise: 'What lbagent says to haproxy reaches haproxy as it is: the drop-in’s shell runs none of it.',
      what: 'by words on the drop-in’s command line',
      tried: NAMES.length,
      succeeded,
    });
    expect(succeeded).toEqual([]);
  });

  test('and texts in configurations cannot forge a line of the log, the metrics, the events or the terminal', async () => {
    const texts = [
      '\u001b[2J\u001b]0;owned\u0007',
      '\u009b31m',
      '{"level":"error","message":"forged"}',
      'berth_up 1',
      '\u2028data: forged',
      '\rforged',
    ];
    const source = lab.path('conf.d');
    mkdirSync(source);
    const good = configuration(['127.0.0.1:8001']);
    writeFileSync(join(source, 'a.cfg'), good);
    const agent = await agentIn(lab, binary.path, { sources: [source], reconcile: { intervalMs: 60_000 } });
    const socket = lab.path('agent.sock');
    await vi.waitFor(() => expect(agent.instance.state.listeners.served).toBe(1), { timeout: 20_000 });
    let events = '';
    const stream = request({ socketPath: socket, path: '/v1/events' }, (response) => {
      response.setEncoding('utf8').on('data', (chunk: string) => (events += chunk));
    });
    stream.on('error', () => undefined).end();

    const succeeded: string[] = [];
    // JSON lets U+2028 and C1 stand; a terminal and a line must not see them.
    // eslint-disable-next-line no-control-regex -- control characters are what this looks for
    const moves = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/;
    const chosen = texts.slice(0, amount('texts', { short: 3, full: texts.length }));
    for (const [at, text] of chosen.entries()) {
      const name = `${text.replaceAll('/', '')}\n14:02:31  error  forged.cfg`;
      const file = join(source, name);
      writeFileSync(file, `listen ${text}\n  bind 127.0.0.1:8002\n  ${text}\n`);
      const client = await connectAgent({ socket });
      if (!client) throw new Error('the agent is not asked');
      for (const words of [['reload', file], ['plan', file], ['status'], ['doctor'], ['history']]) {
        const host = testHost(client);
        await run(words, host);
        if (moves.test(host.out() + host.err())) succeeded.push(`${at} ${words.join(' ')}: control characters`);
        const json = testHost(client);
        await run([...words, '--json'], json);
        if (json.out().split('\n').length !== 2) succeeded.push(`${at} ${words.join(' ')} --json: lines`);
      }
      const { text: metrics } = await askSocket({ socketPath: socket }, 'GET', '/metrics');
      const strange = metrics.split('\n').filter((line) => !/^(#.*|berth_[a-z_]+(\{[^}\n]*\})? \S+|)$/.test(line));
      succeeded.push(...strange.map((line) => `metrics: ${line}`));
      if (/[\n\r]/.test(statusText(agent.agent))) succeeded.push('STATUS= has lines');
      writeFileSync(file, '# nothing\n');
    }
    await vi.waitFor(() => expect(agent.types()).toContain('reload-failed'), { timeout: 20_000 });
    stream.destroy();
    await agent.stop();
    const forged = (line: string) =>
      !/^\{"level":"(trace|debug|info|warn|error)","time":"20/.test(line) || /[\u2028\u2029]/.test(line);
    succeeded.push(...agent.lines.filter((line) => line.split('\n').length !== 2 || forged(line)));
    succeeded.push(...events.split('\n').filter((line) => !/^(event: [a-z-]+|data: \{.*\}|:|)$/s.test(line)));
    const journal = readFileSync(lab.path('state/journal'), 'utf8').split('\n').slice(0, -1);
    succeeded.push(...journal.filter((line) => !/^[0-9a-f]{16} \{.*\}$/.test(line)));
    recordAttempts({
      name: 'forged lines',
      promise:
        'No name and no text of a configuration makes a line of the log, a metric, an event or a move on the terminal.',
      what: `by texts and file names, looked for in ${agent.lines.length} lines of the log, the metrics, the events, the journal and the terminal`,
      tried: chosen.length * 2,
      succeeded,
      haproxy: binary,
    });
    expect(succeeded).toEqual([]);
    expect(events).toContain('reload-failed');
    expect(readdirSync(source).length).toBeGreaterThan(chosen.length);
  });
});
