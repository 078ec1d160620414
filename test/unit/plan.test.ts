import fc from '../support/fast-check.js';
import { describe, expect, it } from 'vitest';
import type { Bind, GlobalFacts, Listeners } from '../../src/model/bind.js';
import { endpointKey, type Endpoint } from '../../src/model/endpoint.js';
import type { ServedSocket } from '../../src/model/plan.js';
import * as Ports from '../../src/model/ports.js';
import type { Verdict } from '../../src/model/verdict.js';
import { conflictError, isExposed, makePlan, match, type PlanInput } from '../../src/reload/plan.js';
import { planReservation } from '../../src/reload/reservation.js';
import type { Reservations } from '../../src/reload/reserve.js';
import { loadSettings } from '../../src/settings.js';
import { bind, inet, owner, row, unix } from '../support/binds.js';

const ephemeral = { first: 32768, last: 60999 };
const global: GlobalFacts = { masterWorker: false, noReusePort: false, statsSockets: [] };
const listeners = (binds: readonly Bind[], more: Partial<Listeners> = {}): Listeners => ({
  binds,
  unknown: [],
  global,
  files: ['haproxy.cfg'],
  warnings: [],
  ...more,
});

let inode = 5000;
function served(at: string | Endpoint): ServedSocket {
  return { endpoint: typeof at === 'string' ? inet(at) : at, inode: ++inode, owner: owner(100) };
}

function reservations(reserved: string, ours = ''): Reservations {
  return { ephemeral, reserved: Ports.parsePorts(reserved), ours: Ports.parsePorts(ours), lost: Ports.NO_PORTS };
}

function plan(binds: readonly Bind[], more: Partial<PlanInput> = {}) {
  const free = new Map<string, Verdict>(binds.map(({ endpoint }) => [endpointKey(endpoint), { kind: 'free' }]));
  return makePlan({
    listeners: listeners(binds),
    served: [],
    verdicts: free,
    reservations: reservations(''),
    settings: loadSettings(),
    build: { major: 2, minor: 6 },
    mode: 'standalone',
    ...more,
  });
}

const matched = (
  binds: readonly Bind[],
  sockets: readonly ServedSocket[],
  minor = 6,
  more: Partial<GlobalFacts> = {},
) =>
  match({
    listeners: { binds, global: { ...global, ...more } },
    served: sockets,
    build: { major: minor > 6 ? 3 : 2, minor: minor % 7 },
    mode: 'standalone',
  });

describe('keep, open, close', () => {
  it('keeps what is served at the same place, opens the rest, closes what is not wanted', () => {
    const [a, b, c] = [bind('10.0.0.1:80'), bind('10.0.0.1:81'), bind('10.0.0.1:80/udp')];
    const [x, y] = [served('10.0.0.1:80'), served('10.0.0.1:82')];
    const result = plan([a, b, c], { served: [x, y] });
    expect(result.keep).toEqual([{ bind: a, served: [x], handedOver: true }]);
    expect(result.open.map((step) => step.bind)).toEqual([b, c]);
    expect(result.close).toEqual([y]);
  });

  it('TCP and UDP of one port are two places; so are devices and wildcards', () => {
    const result = matched(
      [bind('10.0.0.1:53/udp'), bind('10.0.0.1%a:54'), bind('0.0.0.0:55'), bind(inet('[::]:56', { v6only: true }))],
      [served('10.0.0.1:53'), served('10.0.0.1:54'), served('10.0.0.1:55'), served('[::]:56')],
    );
    expect(result.keep).toEqual([]);
    expect(result.close).toHaveLength(4);
  });

  it('shards and duplicates are counted in sockets', () => {
    const sharded = bind('10.0.0.1:80', { sockets: 2 });
    const again = bind('10.0.0.1:80');
    const sockets = [served('10.0.0.1:80'), served('10.0.0.1:80'), served('10.0.0.1:80'), served('10.0.0.1:80')];
    const all = matched([sharded, again], sockets);
    expect(all.keep.map((kept) => kept.served)).toEqual([sockets.slice(0, 2), sockets.slice(2, 3)]);
    expect(all.close).toEqual(sockets.slice(3));
    const few = matched([sharded, again], sockets.slice(0, 1));
    expect(few.keep).toHaveLength(1);
    expect(few.open).toEqual([again]);
  });

  it('an IPv6 address: the kernel shows v6only, HAProxy before 2.3 and binds with v6only take it', () => {
    const shown = served(inet('[fd00::1]:80', { v6only: true }));
    const taken = (b: Bind, minor: number) => matched([b], [shown], minor).keep.map(({ handedOver }) => handedOver);
    expect(taken(bind('[fd00::1]:80'), 6)).toEqual([false]);
    expect(taken(bind('[fd00::1]:80'), 2)).toEqual([true]);
    expect(taken(bind('[fd00::1]:80'), 9)).toEqual([false]);
    expect(taken(bind(inet('[fd00::1]:80', { v6only: true })), 6)).toEqual([true]);
    expect(matched([bind('[::]:80')], [served('[::]:80')]).keep).toMatchObject([{ handedOver: true }]);
    expect(matched([bind('[::ffff:10.0.0.1]:80')], [served('[::ffff:10.0.0.1]:80')]).keep).toMatchObject([
      { handedOver: true },
    ]);
    expect(matched([bind('[fd00::1]:80')], [shown]).keep[0]?.why).toMatch(/v6only/);
  });

  it('transparent that is new, or not told of the old socket: bound anew', () => {
    const transparent = bind(inet('10.0.0.1:80', { transparent: true }));
    expect(matched([transparent], [served('10.0.0.1:80')]).keep).toMatchObject([{ handedOver: false }]);
    const known = served(inet('10.0.0.1:80', { transparent: true }));
    expect(matched([transparent], [known]).keep).toMatchObject([{ handedOver: true }]);
    expect(matched([bind('10.0.0.1:80')], [known]).keep).toMatchObject([{ handedOver: false }]);
  });

  it('a master of 2.2 hands over through a stats socket only', () => {
    const input = { served: [served('10.0.0.1:80')], build: { major: 2, minor: 2 }, mode: 'master-worker' as const };
    const binds = [bind('10.0.0.1:80')];
    expect(match({ ...input, listeners: { binds, global } }).keep).toMatchObject([{ handedOver: false }]);
    const stats = { address: '/s', exposeFdListeners: true, level: 'user', place: { file: 'f', line: 1 } } as const;
    const exposed = { binds, global: { ...global, statsSockets: [stats] } };
    expect(match({ ...input, listeners: exposed }).keep).toMatchObject([{ handedOver: true }]);
  });

  it('2.2 compares the words of the old bind, of which Berth sends none and a worker all', () => {
    const words: [Bind, string][] = [
      [bind(inet('[::]:80', { v6only: true })), 'v6only'],
      [bind('[::]:80', { v4v6: true }), 'v4v6'],
      [bind(inet('10.0.0.1:80', { transparent: true })), 'transparent'],
    ];
    const stats = { address: '/s', exposeFdListeners: true, level: 'user', place: { file: 'f', line: 1 } } as const;
    for (const [wanted, word] of words) {
      const input = {
        listeners: { binds: [wanted], global: { ...global, statsSockets: [stats] } },
        served: [{ ...served('10.0.0.1:80'), endpoint: wanted.endpoint }],
        build: { major: 2, minor: 2 },
      };
      const why = expect.stringContaining(`\`${word}\``) as unknown;
      expect(match({ ...input, mode: 'standalone' }).keep).toMatchObject([{ handedOver: false, why }]);
      expect(match({ ...input, mode: 'master-worker' }).keep).toMatchObject([{ handedOver: true }]);
      expect(match({ ...input, build: { major: 2, minor: 3 }, mode: 'standalone' }).keep).toMatchObject([
        { handedOver: true },
      ]);
    }
  });

  it('unix sockets are kept by path, under the name that HAProxy bound them as', () => {
    const stats = bind(unix('/run/haproxy.sock'), { origin: 'stats-socket' });
    const abstract = bind(unix('name', true));
    const sockets = [served(unix('/run/haproxy.sock.4711.tmp')), served(unix('name\0\0\0', true))];
    const result = plan([stats, abstract], { served: sockets, verdicts: new Map() });
    expect(result.keep.map((kept) => kept.bind)).toEqual([stats, abstract]);
    const fresh = plan([stats], { verdicts: new Map() });
    expect(fresh.open).toMatchObject([{ verdict: { kind: 'free' }, rungs: [] }]);
  });

  it('sockets of Berth itself are neither wanted nor closed', () => {
    const own = served(unix('/var/lib/berth/generations/3/stats.sock'));
    expect(plan([], { served: [own] }).close).toEqual([]);
  });

  it('every bind is kept or opened, every served socket kept or closed, none twice', () => {
    const place = fc.constantFrom(
      '10.0.0.1:80',
      '10.0.0.1:81',
      '0.0.0.0:80',
      '[::1]:80',
      '10.0.0.1:80/udp',
      '10.0.0.1%a:80',
    );
    const shards = fc.integer({ min: 1, max: 3 });
    const wanted = fc.array(fc.tuple(place, shards).map(([at, sockets]) => bind(at, { sockets })));
    const sockets = fc.array(place.map((at) => served(at)));
    fc.assert(
      fc.property(wanted, sockets, (binds, rows) => {
        const { keep, open, close } = matched(binds, rows);
        expect(new Set([...keep.map((kept) => kept.bind), ...open])).toEqual(new Set(binds));
        expect(keep.length + open.length).toBe(binds.length);
        const used = [...keep.flatMap((kept) => kept.served), ...close];
        expect(new Set(used)).toEqual(new Set(rows));
        expect(used).toHaveLength(rows.length);
        for (const kept of keep) expect(kept.served.length).toBeLessThanOrEqual(kept.bind.sockets);
      }),
    );
  });
});

describe('steps', () => {
  const verdicts = (verdict: Verdict, at = '10.0.0.1:80') => new Map([[endpointKey(inet(at)), verdict]]);
  const foreign: Verdict = {
    kind: 'taken',
    stale: false,
    holders: [{ socket: row('LISTEN', '10.0.0.1:80'), owners: [owner(5, 'nginx')] }],
  };

  it('what nothing frees is set apart, to be left out or to stop the reload', () => {
    const binds = [bind('10.0.0.1:80')];
    const out = plan(binds, { verdicts: verdicts(foreign) });
    expect(out.open).toEqual([]);
    expect(out.quarantine).toMatchObject([
      { rungs: ['quarantine'], reason: expect.stringContaining('nginx[5]') as string },
    ]);
    const settings = loadSettings({ flags: { conflicts: { onUnsolved: 'abort' } } });
    expect(plan(binds, { verdicts: verdicts(foreign), settings }).quarantine).toMatchObject([{ rungs: ['abort'] }]);
  });

  it('beside our own socket: guarded, but not under noreuseport', () => {
    const ours: Verdict = { kind: 'ours', holders: [] };
    expect(plan([bind('10.0.0.1:80')], { verdicts: verdicts(ours) }).open).toMatchObject([
      { rungs: ['guard', 'quarantine'] },
    ]);
    const alone = [bind('10.0.0.1:80', { reusePort: false })];
    expect(plan(alone, { verdicts: verdicts(ours) }).quarantine).toMatchObject([{ rungs: ['quarantine'] }]);
    expect(plan(alone).open).toMatchObject([{ rungs: ['guard'] }]);
  });

  it('a bind in another network namespace is guarded there and reserves nothing here', () => {
    const elsewhere = bind(inet('10.0.0.1:40000', { namespace: 'blue' }));
    const result = plan([elsewhere]);
    expect(result.open).toMatchObject([{ rungs: ['guard'], verdict: { kind: 'free' } }]);
    expect(result.reserve.add).toBe('');
  });

  it('no descriptor left is no reason to leave listeners out', () => {
    const none: Verdict = {
      kind: 'unusable',
      errno: 'EMFILE',
      syscall: 'socket',
      why: 'this process has no file descriptor left',
    };
    expect(() => plan([bind('10.0.0.1:80')], { verdicts: verdicts(none) })).toThrow(
      expect.objectContaining({ code: 'BERTH_NO_DESCRIPTORS' }),
    );
  });

  it('a bind that was not probed is a defect', () => {
    expect(() => plan([bind('10.0.0.1:80')], { verdicts: new Map() })).toThrow(
      expect.objectContaining({ code: 'BERTH_INTERNAL' }),
    );
  });

  it('conflicts, duplicates, unknown binds and warnings are told', () => {
    const alone = (at: string) => bind(at, { reusePort: false });
    const binds = [alone('0.0.0.0:80'), alone('10.0.0.1:80'), bind('10.0.0.1:81'), bind('10.0.0.1:81')];
    const unknown = [{ text: 'web:80', section: 'listen x', place: { file: 'f', line: 1 }, reason: 'host name' }];
    const warnings = [{ file: 'f', line: 3, message: 'odd' }];
    const result = plan(binds, { listeners: listeners(binds, { unknown, warnings }) });
    expect(result.unknown).toBe(unknown);
    expect(result.conflicts).toHaveLength(1);
    expect(result.warnings).toEqual(['f:3: odd', expect.stringMatching(/^10\.0\.0\.1:81\/tcp .* divides the traffic/)]);
    expect(conflictError(result.conflicts)).toMatchObject({
      code: 'BERTH_CONFIG_CONFLICT',
      message: expect.stringMatching(
        /^0\.0\.0\.0:80\/tcp \(haproxy\.cfg:\d+\) and 10\.0\.0\.1:80\/tcp \(haproxy\.cfg:\d+\): they overlap/,
      ) as string,
    });
  });

  it('the ports of listeners that were left out stay reserved for the next reload', () => {
    const { reserve } = plan([bind('10.0.0.1:40000')], {
      leftOut: [bind('10.0.0.1:40001'), bind('10.0.0.1:40002')],
      reservations: reservations('40001', '40001'),
    });
    expect(reserve).toMatchObject({ add: '40000,40002', remove: '' });
  });

  it('20000 binds are planned in one pass', () => {
    const binds = Array.from({ length: 20_000 }, (_, i) => bind(`10.0.${i >> 8}.${i & 255}:${1024 + (i % 60_000)}`));
    const result = plan(binds, { served: binds.slice(0, 10_000).map(({ endpoint }) => served(endpoint)) });
    expect([result.keep.length, result.open.length, result.close.length]).toEqual([10_000, 10_000, 0]);
  });

  it('a plan is plain data', () => {
    const result = plan([bind('10.0.0.1:80'), bind('10.0.0.1:40000')], { served: [served('10.0.0.1:80')] });
    expect(JSON.parse(JSON.stringify(result))).toEqual(result);
  });
});

describe('reservation', () => {
  const settings = loadSettings().reserve;
  const reserve = (ports: readonly number[], now: Reservations, more = {}) =>
    planReservation(
      ports.map((port) => bind(`10.0.0.1:${port}`)),
      now,
      { ...settings, ...more },
    );

  it('listener ports in the ephemeral range, TCP and UDP, that are not reserved yet', () => {
    const binds = [bind('10.0.0.1:80'), bind('10.0.0.1:40000'), bind('10.0.0.1:40001/udp'), bind('10.0.0.1:40002')];
    expect(planReservation(binds, reservations('40002,50000'), settings)).toEqual({
      add: '40000-40001',
      remove: '',
      share: 4 / 28232,
    });
  });

  it('releases of ours what no listener needs, and never what others reserved', () => {
    expect(reserve([40000], reservations('40000,40001,40002', '40000,40001'))).toMatchObject({
      add: '',
      remove: '40001',
    });
    expect(reserve([], reservations('40000-40002', '40000-40002'))).toMatchObject({ remove: '40000-40002' });
    expect(reserve([], reservations('40000-40002'))).toMatchObject({ remove: '' });
  });

  it('off: nothing is added or removed', () => {
    expect(reserve([40000], reservations('40001', '40001'), { enabled: false })).toEqual({
      add: '',
      remove: '',
      share: 1 / 28232,
    });
  });

  it('refuses more than the allowed share, with the numbers and the ways out', () => {
    const ports = Array.from({ length: 100 }, (_, i) => 40000 + i);
    const refused = () => reserve(ports, reservations('50000'), { maxShare: 0.003 });
    expect(refused).toThrow(
      expect.objectContaining({
        code: 'BERTH_RESERVE_LIMIT',
        message: expect.stringMatching(/32768–60999.*0\.3 %/) as string,
        advice: expect.stringMatching(/ip_local_port_range.*reserve\.maxShare/) as string,
      }),
    );
    // What is reserved already, by whomever, is no reason to refuse a reload that adds nothing.
    expect(reserve([50000], reservations('32768-60999'))).toMatchObject({ add: '', share: 1 });
  });

  it('foreign ports stay, wanted ports are reserved, and all fits one write', () => {
    const port = fc.integer({ min: 32768, max: 60999 });
    const some = fc.uniqueArray(port, { maxLength: 900 });
    fc.assert(
      fc.property(some, some, fc.uniqueArray(port, { maxLength: 100 }), (wanted, ours, foreign) => {
        const reserved = Ports.coalesce(Ports.portSet([...ours, ...foreign]), Ports.ONE_WRITE, ephemeral);
        const now: Reservations = {
          ephemeral,
          reserved,
          ours: Ports.difference(reserved, Ports.portSet(foreign)),
          lost: Ports.NO_PORTS,
        };
        const { add, remove } = reserve(wanted, now, { maxShare: 1 });
        const [added, removed] = [Ports.parsePorts(add), Ports.parsePorts(remove)];
        const during = Ports.union(reserved, added);
        expect(Ports.isSubset(Ports.portSet(wanted), during)).toBe(true);
        expect(Ports.formatPorts(during).length).toBeLessThanOrEqual(Ports.ONE_WRITE);
        expect(Ports.isSubset(removed, now.ours)).toBe(true);
        expect(Ports.intersect(removed, Ports.portSet(wanted)).ranges).toEqual([]);
      }),
      { numRuns: 30 },
    );
  });

  it('a port is exposed where the kernel may give it out', () => {
    expect(isExposed(40000, ephemeral, Ports.parsePorts('40001'))).toBe(true);
    expect(isExposed(40001, ephemeral, Ports.parsePorts('40001'))).toBe(false);
    expect(isExposed(80, ephemeral, Ports.NO_PORTS)).toBe(false);
  });
});
