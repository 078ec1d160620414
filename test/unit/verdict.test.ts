import { describe, expect, it } from 'vitest';
import type { Endpoint } from '../../src/model/endpoint.js';
import { parsePorts } from '../../src/model/ports.js';
import type { Holder, Verdict } from '../../src/model/verdict.js';
import { timeText, verdictSentence } from '../../src/reload/describe.js';
import { isServable, rungsFor } from '../../src/reload/ladder.js';
import { loadSettings } from '../../src/settings.js';
import { inet, owner, row, unix } from '../support/binds.js';

const now = new Date('2026-11-23T15:30:00');
const ephemeral = { first: 32768, last: 60999 };
const at = '169.254.0.101:58824';

function sentence(
  endpoint: Endpoint,
  verdict: Verdict,
  more: { reserved?: string; flags?: Record<string, unknown> } = {},
) {
  const settings = loadSettings({ flags: more.flags ?? {} });
  const rungs = rungsFor(verdict, settings.conflicts);
  return verdictSentence(endpoint, verdict, {
    ephemeral,
    reserved: parsePorts(more.reserved ?? ''),
    rungs,
    settings,
    now,
  });
}

const outgoing: Holder = {
  socket: row('ESTABLISHED', at, '169.254.0.100:2774', { inode: 7 }),
  owners: [owner(3243981)],
  draining: { since: '2026-11-23T14:02:00' },
};
const timeWait: Holder = {
  socket: row('TIME_WAIT', at, '169.254.0.100:2774', { inode: 0, expiresMs: 41_200 }),
  owners: [],
};
const foreign: Holder = {
  socket: row('LISTEN', '0.0.0.0:8080'),
  owners: [owner(812, 'nginx', { unit: 'nginx.service' })],
};
const listener = inet('10.0.0.1:8080');

describe('sentences', () => {
  it('the incident', () => {
    expect(sentence(inet(at), { kind: 'shareable', holders: [outgoing] })).toBe(
      '169.254.0.101:58824/tcp taken by an outgoing connection 169.254.0.101:58824 → 169.254.0.100:2774 ESTABLISHED, ' +
        'haproxy[3243981] (draining since 14:02); ephemeral range 32768–60999 covers this port and it is not reserved; ' +
        'berth reload shares the port and reserves it',
    );
  });

  it('the incident on a reserved port, with dead connections beside, and of a process that may not be touched', () => {
    expect(sentence(inet(at), { kind: 'shareable', holders: [outgoing, timeWait] }, { reserved: '58824' })).toBe(
      '169.254.0.101:58824/tcp taken by an outgoing connection 169.254.0.101:58824 → 169.254.0.100:2774 ESTABLISHED, ' +
        'haproxy[3243981] (draining since 14:02) and 1 more; ephemeral range 32768–60999 covers this port, but it is reserved ' +
        'by now; berth reload shares the port, removes what closed connections left on it',
    );
    const curl: Holder = { socket: outgoing.socket, owners: [owner(5, 'curl'), owner(6, 'curl')] };
    expect(sentence(inet(at), { kind: 'shareable', holders: [curl] })).toBe(
      '169.254.0.101:58824/tcp taken by an outgoing connection 169.254.0.101:58824 → 169.254.0.100:2774 ESTABLISHED, ' +
        'curl[5] and 1 more processes; ephemeral range 32768–60999 covers this port and it is not reserved; ' +
        'berth reload waits for it, at most 5 s, and leaves this listener out and serves all others if that is too short',
    );
  });

  it('expiring', () => {
    expect(sentence(inet(at), { kind: 'expiring', holders: [timeWait], expiresMs: 41_200 })).toBe(
      '169.254.0.101:58824/tcp taken by an outgoing connection 169.254.0.101:58824 → 169.254.0.100:2774 TIME_WAIT, ' +
        'owned by nobody any more, for 42 s more; ephemeral range 32768–60999 covers this port and it is not reserved; ' +
        'berth reload removes what is left of the connection and reserves it',
    );
  });

  it('taken by another program, by a stale HAProxy, by a silent socket', () => {
    expect(sentence(listener, { kind: 'taken', holders: [foreign], stale: false })).toBe(
      '10.0.0.1:8080/tcp taken by a listener on 0.0.0.0:8080, nginx[812] of nginx.service; only its owner can give it up; ' +
        'until then berth reload leaves this listener out and serves all others',
    );
    const stale: Holder = { socket: row('LISTEN', '10.0.0.1:8080'), owners: [owner(9)] };
    expect(
      sentence(
        listener,
        { kind: 'taken', holders: [stale], stale: true },
        { flags: { conflicts: { onUnsolved: 'abort' } } },
      ),
    ).toBe(
      '10.0.0.1:8080/tcp taken by a listener on 10.0.0.1:8080, haproxy[9], which is not the HAProxy that is being reloaded ' +
        'and would take a part of the connections; end that HAProxy; until then berth reload stops before anything is changed',
    );
    const silent: Holder = { socket: row('BOUND', '10.0.0.1:8080', undefined, { uid: 33 }), owners: [] };
    expect(sentence(listener, { kind: 'taken', holders: [silent], stale: false })).toBe(
      '10.0.0.1:8080/tcp taken by a socket on 10.0.0.1:8080 that is bound and silent, of a process that cannot be seen from ' +
        'here (uid 33); only its owner can give it up; until then berth reload leaves this listener out and serves all others',
    );
  });

  it.each<[string, Endpoint, Verdict, string]>([
    ['free', listener, { kind: 'free' }, '10.0.0.1:8080/tcp is free'],
    [
      'free and exposed',
      inet(at),
      { kind: 'free' },
      '169.254.0.101:58824/tcp is free; ephemeral range 32768–60999 covers this port and it is not reserved; berth reload reserves it',
    ],
    [
      'harmless',
      listener,
      { kind: 'harmless', holders: [{ socket: row('BOUND', '10.0.0.1:8080'), owners: [owner(4, 'node')] }] },
      '10.0.0.1:8080/tcp can be bound beside a socket on 10.0.0.1:8080 that is bound and silent, node[4]',
    ],
    [
      'ours',
      listener,
      { kind: 'ours', holders: [] },
      '10.0.0.1:8080/tcp is served by the HAProxy that is being reloaded',
    ],
    [
      'busy',
      listener,
      { kind: 'busy', holders: [] },
      '10.0.0.1:8080/tcp taken by a socket that no table of the kernel shows (come and gone, or reset and not yet closed by ' +
        'its owner); berth reload waits for it, at most 5 s, and leaves this listener out and serves all others if that is too short',
    ],
    [
      'forbidden',
      inet('10.0.0.1:80'),
      { kind: 'forbidden', errno: 'EACCES', need: 'CAP_NET_BIND_SERVICE' },
      '10.0.0.1:80/tcp may not be bound (EACCES): it needs CAP_NET_BIND_SERVICE; grant that; until then berth reload leaves ' +
        'this listener out and serves all others',
    ],
    [
      'not local',
      inet('[fd00::9]:80'),
      { kind: 'not-local', nonlocalBind: false },
      '[fd00::9]:80/tcp is not an address of this host (EADDRNOTAVAIL), and ip_nonlocal_bind is 0; add the address, or set ' +
        'ip_nonlocal_bind, or `transparent` on the bind; until then berth reload leaves this listener out and serves all others',
    ],
    [
      'unusable',
      inet('10.0.0.1%eth9:80'),
      { kind: 'unusable', errno: 'ENODEV', syscall: 'setsockopt', why: 'there is no network device eth9' },
      '10.0.0.1%eth9:80/tcp cannot be bound (setsockopt: ENODEV): there is no network device eth9; until then berth reload ' +
        'leaves this listener out and serves all others',
    ],
    [
      'unknown',
      unix('/run/x.sock'),
      { kind: 'unknown', why: 'host name' },
      'unix@/run/x.sock is known to HAProxy alone: host name',
    ],
    [
      'UDP',
      inet('10.0.0.1:53/udp'),
      {
        kind: 'shareable',
        holders: [{ socket: row('ESTABLISHED', '10.0.0.1:53/udp', '10.0.0.9:53/udp'), owners: [owner(5, 'dig')] }],
      },
      '10.0.0.1:53/udp taken by a UDP connection 10.0.0.1:53 → 10.0.0.9:53 ESTABLISHED, dig[5]; berth reload waits for it, ' +
        'at most 5 s, and leaves this listener out and serves all others if that is too short',
    ],
  ])('%s', (_, endpoint, verdict, text) => expect(sentence(endpoint, verdict)).toBe(text));

  it('times of another day carry the date', () => {
    expect(timeText('2026-11-22T09:05:00', now)).toBe('2026-11-22 09:05');
    expect(timeText('2026-11-23T09:05:00', now)).toBe('09:05');
  });
});

describe('the ladder', () => {
  const rungs = (verdict: Verdict, conflicts: Record<string, unknown> = {}) =>
    rungsFor(verdict, loadSettings({ flags: { conflicts } }).conflicts);
  const shareable: Verdict = { kind: 'shareable', holders: [outgoing] };
  const foreignConnection: Verdict = {
    kind: 'shareable',
    holders: [{ socket: outgoing.socket, owners: [owner(5, 'curl')] }, timeWait],
  };

  it('shares connections of HAProxy by default, of others by setting, of nobody where off', () => {
    expect(rungs(shareable)).toEqual(['share', 'wait', 'quarantine']);
    expect(rungs(foreignConnection)).toEqual(['wait', 'quarantine']);
    expect(rungs(foreignConnection, { share: 'all' })).toEqual(['share', 'destroy', 'wait', 'quarantine']);
    expect(rungs(shareable, { share: 'off' })).toEqual(['wait', 'quarantine']);
  });

  it('shares nothing where one of several holders may not be touched', () => {
    const mixed: Verdict = {
      kind: 'shareable',
      holders: [outgoing, ...('holders' in foreignConnection ? foreignConnection.holders : [])],
    };
    expect(rungs(mixed)).toEqual(['wait', 'quarantine']);
  });

  it('a destroy that is meant for the dead never stands where it could meet a living connection', () => {
    expect(rungs(foreignConnection, { destroy: 'dead' })).not.toContain('destroy');
    expect(rungs({ kind: 'shareable', holders: [outgoing, timeWait] })).toEqual([
      'share',
      'destroy',
      'wait',
      'quarantine',
    ]);
    expect(rungs(foreignConnection, { destroy: 'all' })).toEqual(['destroy', 'wait', 'quarantine']);
  });

  it('expiring: destroyed by default, else waited for', () => {
    expect(rungs({ kind: 'expiring', holders: [timeWait] })).toEqual(['destroy', 'wait', 'quarantine']);
    expect(rungs({ kind: 'expiring', holders: [timeWait] }, { destroy: 'off' })).toEqual(['wait', 'quarantine']);
    expect(rungs({ kind: 'expiring', holders: [timeWait] }, { destroy: 'off', wait: { enabled: false } })).toEqual([
      'quarantine',
    ]);
    expect(rungs({ kind: 'expiring', holders: [timeWait] }, { destroy: 'off', wait: { deadlineMs: 0 } })).toEqual([
      'quarantine',
    ]);
  });

  it('a listener of somebody else ends in quarantine or abort at once', () => {
    expect(rungs({ kind: 'taken', holders: [foreign], stale: false }, { destroy: 'all', share: 'all' })).toEqual([
      'quarantine',
    ]);
    expect(rungs({ kind: 'taken', holders: [foreign], stale: true }, { onUnsolved: 'abort' })).toEqual(['abort']);
  });

  it('a listener that no process has open is waited for: a HAProxy was killed a moment ago', () => {
    const closing: Holder = { socket: row('LISTEN', '10.0.0.1:8080'), owners: [] };
    expect(rungs({ kind: 'taken', holders: [closing], stale: false })).toEqual(['wait', 'quarantine']);
    expect(rungs({ kind: 'taken', holders: [closing, foreign], stale: false })).toEqual(['quarantine']);
  });

  it('UDP is waited for: there is no sharing of a datagram port', () => {
    const socket = row('ESTABLISHED', '10.0.0.1:53/udp', '10.0.0.9:53/udp');
    expect(rungs({ kind: 'shareable', holders: [{ socket, owners: [owner(1)] }] })).toEqual(['wait', 'quarantine']);
  });

  it('is servable where the outcome is certain', () => {
    const conflicts = loadSettings().conflicts;
    const servable = (verdict: Verdict) => isServable(verdict, conflicts);
    expect(servable({ kind: 'free' })).toBe(true);
    expect(servable(shareable)).toBe(true);
    expect(servable({ kind: 'unknown', why: '' })).toBe(true);
    expect(servable(foreignConnection)).toBe(false);
    expect(servable({ kind: 'busy', holders: [] })).toBe(false);
    expect(servable({ kind: 'taken', holders: [], stale: false })).toBe(false);
    expect(servable({ kind: 'expiring', holders: [timeWait], expiresMs: 41_200 })).toBe(true);
    const waiting = loadSettings({ flags: { conflicts: { destroy: 'off', wait: { deadlineMs: 5000 } } } }).conflicts;
    expect(isServable({ kind: 'expiring', holders: [timeWait], expiresMs: 3000 }, waiting)).toBe(true);
    expect(isServable({ kind: 'expiring', holders: [timeWait], expiresMs: 4500 }, waiting)).toBe(false);
    expect(isServable({ kind: 'expiring', holders: [timeWait] }, waiting)).toBe(false);
  });
});
