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
const TARGET = `[${HOST6}]:20001`;
/** Berth says `v6only` in its copy of a plain line; with quotes it leaves the line alone. */
const FORMS = [
  { form: 'plain', bind: TARGET, taken: true },
  { form: 'quoted', bind: `"${TARGET}"`, taken: false },
] as const;

interface Count {
  readonly haproxy: string;
  readonly taken: boolean;
  readonly migrate: number;
  readonly clients: number;
  readonly lost: number;
}

describe.skipIf(why !== undefined)('bound anew', () => {
  const counts: Count[] = [];
  afterAll(() => {
    const of = (taken: boolean, migrate?: number) =>
      counts.filter((count) => count.taken === taken && (migrate === undefined || count.migrate === migrate));
    const text = (some: readonly Count[]) => {
      const sum = (what: 'clients' | 'lost') => some.reduce((total, count) => total + count[what], 0);
      return `${sum('lost')} of ${sum('clients')} clients lost`;
    };
    const nobody = (some: readonly Count[]) => some.length > 0 && some.every(({ lost }) => lost === 0);
    const haproxy = [...new Set(counts.map(({ haproxy }) => haproxy))];
    recordFigure({
      ...{ part: 'versions', name: 'IPv6 without `v6only`', haproxy },
      promise:
        'HAProxy from 2.3 on takes over no socket of an IPv6 address whose bind lacks `v6only`: Berth says the word in its ' +
        'copy of a plain line, and nobody is lost.',
      figure: `${of(true).length * RELOADS} reloads; ${text(of(true))}`,
      kept: nobody(of(true)),
    });
    recordFigure({
      ...{ part: 'versions', name: 'bound anew', haproxy },
      promise:
        'A line with quotes, variables or comments stays as it is, and HAProxy binds its IPv6 address anew: `berth plan` ' +
        'says so, and with the setting that `berth doctor` advises nobody is lost by that either.',
      figure: `${of(false).length * RELOADS} reloads; ${[0, 1].map((migrate) => `tcp_migrate_req = ${migrate}: ${text(of(false, migrate))}`).join('; ')}`,
      kept: nobody(of(false, 1)),
    });
  });

  const cases = NEWEST.flatMap((binary) =>
    FORMS.flatMap((form) => [0, 1].map((migrate) => ({ ...binary, ...form, migrate }))),
  );
  test.each(cases)(
    'HAProxy $version, $form line, tcp_migrate_req = $migrate',
    { timeout: 120_000 },
    async ({ path, bind, taken, migrate }) => {
      const scene = await Incident.open({ binary: path, listeners: 0 });
      const { lab, berth } = scene;
      await lab.exec('ip', ['addr', 'add', `${HOST6}/64`, 'dev', 'berth0', 'nodad']);
      await lab.execPeer('ip', ['addr', 'add', `${PEER6}/64`, 'dev', 'berth1', 'nodad']);
      await lab.exec('sysctl', ['-qw', `net.ipv4.tcp_migrate_req=${migrate}`]);
      await lab.startBackend([{ host: PEER6, port: SERVER }]);
      const config = scene.configure([bind], { server: `[${PEER6}]:${SERVER}` });
      await berth.reload([config]);
      const { plan } = await berth.plan([config]);
      const why = { why: expect.stringContaining('v6only') as unknown };
      expect(plan.keep).toMatchObject([{ handedOver: taken, ...(taken ? {} : why) }]);
      const load = await lab.startLoad({ targets: [TARGET], rate: 500, timeoutMs: 10_000 });
      for (let reload = 0; reload < RELOADS; reload++) {
        expect(await berth.reload([config])).toMatchObject({ outcome: 'served', warnings: [] });
      }
      const { attempts, refused, reset, eof, hung } = await load.stop();
      const lost = refused + reset + eof + hung;
      const count = { haproxy: buildOf(path).version, taken, migrate, clients: attempts, lost };
      counts.push(count);
      expect(count.clients).toBeGreaterThan(0);
      if (taken || migrate === 1) expect(count.lost).toBe(0);
    },
  );
});
