/** Listeners whose sockets HAProxy does not take over: what a reload costs, and what net.ipv4.tcp_migrate_req makes of it. */
import { afterAll, describe, expect, test } from 'vitest';
import { HOST6, PEER6, buildOf } from '../support/families.js';
import { amount, recordFigure } from '../support/figures.js';
import { cannotRun, haproxyBinaries } from '../support/haproxy.js';
import { Incident, SERVER } from '../support/incident.js';

const why = cannotRun();
const RELOADS = amount('anew_reloads', { short: 3, full: 20 });
const BINARIES = why === undefined ? haproxyBinaries() : [];
const NEWEST = BINARIES.filter(({ version }) => version !== '2.2').slice(-1);
const BIND = `[${HOST6}]:20001`;

interface Count {
  readonly haproxy: string;
  readonly migrate: number;
  readonly clients: number;
  readonly lost: number;
}

describe.skipIf(why !== undefined)('bound anew', () => {
  const counts: Count[] = [];
  afterAll(() => {
    const of = (wanted: number) => counts.filter(({ migrate }) => migrate === wanted);
    const text = (wanted: number) => {
      const sum = (what: 'clients' | 'lost') => of(wanted).reduce((total, count) => total + count[what], 0);
      return `tcp_migrate_req = ${wanted}: ${sum('lost')} of ${sum('clients')} clients lost`;
    };
    recordFigure({
      part: 'versions',
      name: 'bound anew',
      promise:
        'HAProxy from 2.3 on takes over no socket of an IPv6 address whose bind lacks `v6only`: `berth plan` says so, and ' +
        'with the setting that `berth doctor` advises nobody is lost by that either.',
      figure: `${counts.length * RELOADS} reloads; ${text(0)}; ${text(1)}`,
      kept: of(1).length > 0 && of(1).every(({ lost }) => lost === 0),
      haproxy: [...new Set(counts.map(({ haproxy }) => haproxy))],
    });
  });

  test.each(NEWEST.flatMap((binary) => [0, 1].map((migrate) => ({ ...binary, migrate }))))(
    'HAProxy $version, tcp_migrate_req = $migrate',
    { timeout: 120_000 },
    async ({ path, migrate }) => {
      const scene = await Incident.open({ binary: path, listeners: 0 });
      const { lab, berth } = scene;
      await lab.exec('ip', ['addr', 'add', `${HOST6}/64`, 'dev', 'berth0', 'nodad']);
      await lab.execPeer('ip', ['addr', 'add', `${PEER6}/64`, 'dev', 'berth1', 'nodad']);
      await lab.exec('sysctl', ['-qw', `net.ipv4.tcp_migrate_req=${migrate}`]);
      await lab.startBackend([{ host: PEER6, port: SERVER }]);
      const config = scene.configure([BIND], { server: `[${PEER6}]:${SERVER}` });
      await berth.reload([config]);
      const { plan } = await berth.plan([config]);
      expect(plan.keep).toMatchObject([{ handedOver: false, why: expect.stringContaining('v6only') as unknown }]);
      const load = await lab.startLoad({ targets: [BIND], rate: 500, timeoutMs: 10_000 });
      for (let reload = 0; reload < RELOADS; reload++) {
        expect(await berth.reload([config])).toMatchObject({ outcome: 'served', warnings: [] });
      }
      const { attempts, refused, reset, eof, hung } = await load.stop();
      const count = { haproxy: buildOf(path).version, migrate, clients: attempts, lost: refused + reset + eof + hung };
      counts.push(count);
      expect(count.clients).toBeGreaterThan(0);
      if (migrate === 1) expect(count.lost).toBe(0);
    },
  );
});
