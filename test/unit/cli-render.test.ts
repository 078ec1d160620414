import { describe, expect, it } from 'vitest';
import type { Berth } from '../../src/berth.js';
import { progressOn } from '../../src/cli/progress.js';
import { run } from '../../src/cli/run.js';
import { duration, percent, printable, shorten, styleOf, table, wantsColour } from '../../src/cli/style.js';
import * as sample from './cli-samples.js';

const ESC = '\u001b';

/** What `berth WORDS` prints in a pipe, or on a terminal without colours. */
async function printed(words: string[], answers: Partial<Record<keyof Berth, unknown>> = {}, terminal = false) {
  const methods = Object.fromEntries(
    Object.entries(answers).map(([name, report]) => [name, () => Promise.resolve(report)]),
  );
  const environment = { NO_COLOR: '1' };
  const host = sample.testHost(sample.sampleBerth(methods), { terminal, environment });
  await run(words, host);
  expect(host.err()).toBe('');
  return host.out();
}

const many = Array.from({ length: 2000 }, (_, i) => 20000 + i);

describe('preflight', () => {
  it('says first what cannot be served, then what needs work, with section, place, holder and remedy', async () => {
    const listeners = [...sample.preflight.listeners, sample.foreign];
    const text = await printed(['preflight', 'x'], { preflight: { ...sample.preflight, ok: false, listeners } });
    expect(text).toBe(`cannot  169.254.0.101:8080/tcp  listen web, web.cfg:12
        taken by a listener of nginx[812];
        stop it or move this bind

needs  169.254.0.101:58824/tcp  listen web, web.cfg:12
        taken by an outgoing connection 169.254.0.101:58824 → 169.254.0.100:2774 ESTABLISHED, haproxy[3243981] (draining since 14:02);
        ephemeral range 32768–60999 covers this port and it is not reserved;
        berth reload shares the port and reserves it

ok  2 listeners: 1 free, 1 kept

exposed  1 port in the ephemeral range 32768–60999 and not reserved; any outgoing connection may take one:
    58824
    berth reload reserves them; berth reserve does it now

HAProxy 2.6.12, process 3243990 (standalone), since ${local('2026-08-07T14:02:00.000Z')}, 2000 listening
  process 3243981 drains, since ${local('2026-08-07T14:02:00.000Z')}, 7 connections

Not ready: 1 of 4 listeners cannot be served (ephemeral range 32768–60999, less than 0.1 % of it reserved).
`);
  });

  it('lists every listener under --all only', async () => {
    const listeners = many.map((port) => sample.listener(port, { kind: 'free' }));
    const preflight = { ...sample.preflight, listeners };
    expect(await printed(['preflight', 'x'], { preflight })).not.toContain('20001/tcp');
    const all = await printed(['preflight', '--all', 'x'], { preflight });
    expect(all.match(/\/tcp {2}free {2}listen web {2}web\.cfg:12$/gm)).toHaveLength(2000);
  });

  it('shows what only HAProxy knows, binds that exclude each other, and what haproxy -c said', async () => {
    const place = { file: 'a.cfg', line: 3 };
    const preflight = {
      ...sample.preflight,
      ok: false,
      unknown: [{ text: 'fd@3', section: 'listen x', place, reason: 'inherited' }],
      conflicts: [{ first: sample.bind(80), second: sample.bind(80, 'listen b', 20), reason: 'noreuseport' }],
      check: { ok: false, messages: ['a.cfg:9: unknown keyword'] },
    };
    const text = await printed(['preflight', 'x'], { preflight });
    expect(text).toContain('unknown  fd@3 (listen x, a.cfg:3): inherited');
    expect(text).toContain(
      'conflict  169.254.0.101:80 (listen web, web.cfg:12) and 169.254.0.101:80 (listen b, web.cfg:20): noreuseport',
    );
    expect(text).toContain('haproxy -c refuses this configuration; HAProxy said:\n  a.cfg:9: unknown keyword');
  });
});

describe('plan', () => {
  it('has one block for each thing that would be done', async () => {
    const text = await printed(['plan', 'x']);
    expect(text).toContain('keep  1\n  169.254.0.101:80/tcp  listen web\n');
    expect(text).toContain('open  1\n  169.254.0.101:443/tcp  listen web  web.cfg:12\n');
    expect(text).toContain(
      'share  1\n  169.254.0.101:58824/tcp  listen web, web.cfg:12  share, else wait, else quarantine\n' +
        '      taken by haproxy[3243981]; berth reload shares the port\n',
    );
    expect(text).toContain('close  1\n  169.254.0.101:81/tcp  haproxy[3243981]\n');
    expect(text).toContain('reserve  58824\nrelease  none\n');
    expect(text).not.toContain('quarantine  ');
    expect(text).toMatch(/A reload would serve everything: keep 1, open 2, close 1\.\n$/);
  });

  it('says what makes a reload go back, and what needs no port', async () => {
    const { bind, foreign } = sample;
    const step = { bind: bind(8080), verdict: foreign.verdict, rungs: ['abort'], reason: foreign.sentence };
    const unix = { ...bind(1), endpoint: { kind: 'unix', path: '/run/x.sock', abstract: false } };
    const open = [{ bind: unix, verdict: { kind: 'free' }, rungs: [], reason: 'free' }];
    const plan = { ...sample.plan, plan: { ...sample.plan.plan, open, quarantine: [step] } };
    const text = await printed(['plan', 'x'], { plan });
    expect(text).toContain('open  1\n  unix@/run/x.sock  listen web  web.cfg:12\n');
    expect(text).toContain(
      'abort  1\n  169.254.0.101:8080/tcp  listen web, web.cfg:12\n      taken by a listener of nginx',
    );
    expect(text).toMatch(/A reload would go back: nothing frees 1 of the ports\.\n$/);
  });

  it('shortens a long list on a terminal, and nowhere else', async () => {
    const open = many.map((port) => ({
      bind: sample.bind(port),
      verdict: { kind: 'free' },
      rungs: ['guard'],
      reason: 'free',
    }));
    const plan = { ...sample.plan, plan: { ...sample.plan.plan, open } };
    expect(await printed(['plan', 'x'], { plan }, true)).toContain('  … and 1990 more (--all shows them)');
    expect((await printed(['plan', '--all', 'x'], { plan }, true)).match(/2\d{4}\/tcp/g)).toHaveLength(2000);
    expect((await printed(['plan', 'x'], { plan })).match(/2\d{4}\/tcp/g)).toHaveLength(2000);
  });
});

describe('reload', () => {
  it('ends with what serves, what was worked for, and how long each phase took', async () => {
    const text = await printed(['reload', 'x']);
    expect(text).toContain('share    169.254.0.101:58824/tcp shared with haproxy[3243981]\n');
    expect(text).not.toContain('443');
    expect(text).toContain('Generation 42 serves 2001 listeners: 2000 kept, 1 opened, 0 closed.\n');
    expect(text).toContain('2000 of 2000 kept listeners stayed on the very same socket');
    expect(text).toContain('222 ms: read 12 ms · hand-over 210 ms');
  });

  it('names what was left out, repaired and recovered', async () => {
    const text = await printed(['reload', 'x'], { reload: sample.inPart });
    expect(text).toContain('quarantined  169.254.0.101:8080/tcp  listen web, web.cfg:12\n             taken by');
    expect(text).toContain('repaired  SIGTTIN brought 200 listeners back to LISTEN');
    expect(text).toContain(
      'recovered  generation 40 was being handed over; went back (generation 40)\n    ended process 77',
    );
    expect(text).toContain('Generation 42 serves 2001 listeners; 1 left out');
  });

  it('shows one line of progress on a terminal and takes it away; nothing in a pipe', () => {
    const host = sample.testHost(undefined, { terminal: true, columns: 30 });
    const progress = progressOn(host.stderr, styleOf({ terminal: true, all: false, coloured: false }).colour);
    progress.observer({ type: 'phase', name: 'read', state: 'begin' });
    progress.observer({ type: 'phase', name: 'read', state: 'end', ms: 3 });
    progress.observer({ type: 'phase', name: 'probe', state: 'begin', text: `${ESC}[2J` });
    progress.observer({ type: 'warning', text: 'x'.repeat(100) });
    progress.say('hello');
    progress.clear();
    const erase = `\r${ESC}[K`;
    expect(host.err()).toBe(`${erase}read…${erase}read · probe… \\x1b[2J${erase}${'x'.repeat(29)}${erase}hello\n`);

    const pipe = sample.testHost();
    const silent = progressOn(pipe.stderr, styleOf({ terminal: false, all: false, coloured: false }).colour);
    silent.observer({ type: 'phase', name: 'read', state: 'begin' });
    silent.clear();
    expect(pipe.err()).toBe('');
  });
});

describe('the other verbs', () => {
  it('history: newest first, with marks', async () => {
    const lines = (await printed(['history'])).split('\n');
    expect(lines[0]).toMatch(/^ {2}NUMBER +CREATED +STATE +LISTENERS +LEFT OUT +SOURCES OR REASON$/);
    expect(lines.slice(1, 4).map((line) => line.slice(0, 4))).toEqual(['* 42', '  41', '  40']);
    expect(lines[3]).toContain('haproxy -c refused it');
    expect(await printed(['history'], { history: { generations: [] } })).toBe(
      'No generation yet; berth reload makes the first.\n',
    );
  });

  it('diff: listeners, then files', async () => {
    expect(await printed(['diff', '41', '42'])).toBe(
      'Generation 41 to 42: 1 file changed, 1 listener added, 1 removed, 1 moved\n- 0.0.0.0:80/tcp\n+ 0.0.0.0:81/tcp\n' +
        '~ 0.0.0.0:82/tcp: listen a → listen b\n\n' +
        'changed web.cfg\n@@ -1 +1 @@\n-bind :80\n+bind :81\n',
    );
  });

  const refused = {
    code: 'BERTH_CONFIG_REFUSED',
    step: 'check',
    message: "site.cfg:3: unknown keyword 'no'",
    advice: 'Correct the lines that HAProxy names',
  };

  it('status: why an older generation serves than was asked for', async () => {
    const lastAttempt = {
      at: '2026-08-07T14:02:00.000Z',
      reason: 'reload',
      outcome: 'failed' as const,
      sources: ['/etc/haproxy'],
      error: refused,
      instead: 16,
    };
    const text = await printed(['status'], { status: { ...sample.status, lastAttempt } });
    expect(text).toContain('/etc/haproxy; generation 16 serves instead');
    expect(text).toContain("site.cfg:3: unknown keyword 'no'");
    expect(text).toContain('(BERTH_CONFIG_REFUSED, step check)');
  });

  it('reload: the last good generation serves instead, which is a failure all the same', async () => {
    const report = { ...sample.reload, insteadOf: { sources: ['/etc/haproxy'], error: refused } };
    const host = sample.testHost(sample.sampleBerth({ reload: () => Promise.resolve(report) }));
    expect(await run(['reload', '/etc/haproxy'], host)).toBe(4);
    expect(host.out()).toContain('/etc/haproxy cannot be served: site.cfg:3');
  });

  it('status: what is missing, by name', async () => {
    const status = {
      ...sample.status,
      ok: false,
      listeners: { wanted: 2, served: 1, missing: ['0.0.0.0:80/tcp'], extra: [] },
      unfinished: 'generation 43 was being handed over',
      lock: { pid: 12, doing: 'reload' },
    };
    const text = await printed(['status'], { status });
    expect(text).toMatch(/^1 of 2 listeners served\n/);
    expect(text).toContain('missing  0.0.0.0:80/tcp');
    expect(text).toContain('unfinished  generation 43 was being handed over; the next reload recovers it');
    expect(text).toContain('working  process 12: reload');
  });

  it('reservations: what was lost', async () => {
    const text = await printed(['reservations'], { reservations: { ...sample.reservations, lost: '58825' } });
    expect(text).toContain('ours     58824\nforeign  40000\nlost     58825\n');
  });

  it('doctor: problems first, facts of what is in order under --all', async () => {
    const text = await printed(['doctor']);
    expect(text).toMatch(/^problem +Too few descriptors[^]*→ Raise LimitNOFILE\n\nok +HAProxy 2\.6\.12/);
    expect(text).not.toContain('/usr/sbin/haproxy');
    expect(await printed(['doctor', '--all'])).toContain('/usr/sbin/haproxy');
  });
});

describe('style', () => {
  it('colours a terminal, not a pipe; NO_COLOR and FORCE_COLOR decide', () => {
    expect(wantsColour({}, true)).toBe(true);
    expect(wantsColour({}, false)).toBe(false);
    expect(wantsColour({ NO_COLOR: '1' }, true)).toBe(false);
    expect(wantsColour({ NO_COLOR: '' }, true)).toBe(true);
    expect(wantsColour({ TERM: 'dumb' }, true)).toBe(false);
    expect(wantsColour({ FORCE_COLOR: '1', NO_COLOR: '1' }, false)).toBe(true);
    expect(wantsColour({ FORCE_COLOR: '0' }, true)).toBe(false);
  });

  it('no configuration can move the cursor', async () => {
    const evil = `${ESC}]0;owned\u0007\u009b2J`;
    expect(printable({ a: [evil, 1, null, true] })).toEqual({ a: ['\\x1b]0;owned\\x07\\x9b2J', 1, null, true] });
    const preflight = {
      ...sample.preflight,
      listeners: [{ ...sample.foreign, section: `listen ${evil}`, sentence: evil }],
      warnings: [evil],
    };
    const text = await printed(['preflight', 'x'], { preflight });
    expect(text).toContain('owned');
    // eslint-disable-next-line no-control-regex -- what must not be there
    expect(text).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
  });

  it('lays out tables by what is seen', () => {
    expect(
      table(
        [
          ['a', 'b'],
          [`${ESC}[31mlong${ESC}[39m`, 'c'],
        ],
        '  ',
      ),
    ).toEqual(['  a     b', `  ${ESC}[31mlong${ESC}[39m  c`]);
  });

  it('does not shorten a list by one line only to say that there is one more', () => {
    const style = styleOf({ terminal: true, all: false, coloured: false });
    expect(shorten(['a', 'b', 'c'], style, 2)).toHaveLength(3);
    expect(shorten(['a', 'b', 'c', 'd'], style, 2)).toEqual(['a', 'b', '  … and 2 more (--all shows them)']);
  });

  it('writes durations and shares for people', () => {
    expect([0.44, 12.3, 1240, 125_000, 11_520_000, 350_000_000].map(duration)).toEqual([
      '0.4 ms',
      '12 ms',
      '1.24 s',
      '2 min 5 s',
      '3 h 12 min',
      '4 d 1 h',
    ]);
    expect([0, 0.0001, 0.034, 0.5, 1].map(percent)).toEqual(['0 %', 'less than 0.1 %', '3.4 %', '50 %', '100 %']);
  });
});

/** Local wall-clock time, as the reports print it. */
function local(iso: string): string {
  const date = new Date(iso);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace('T', ' ');
}
