/**
 * Made-up and damaged configurations: what real HAProxy accepts is read as it binds it; what it refuses is read or refused
 * with file and line, and never crashes or hangs. BERTH_TRUST_CONFIGS sets the number of cases over all HAProxies,
 * BERTH_TRUST_SEED repeats a run. A failed case ends no run: the others are still tried, from the next seed.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BerthError } from '../../src/errors.js';
import { readListeners } from '../../src/haproxy/binds.js';
import { readConfiguration } from '../../src/haproxy/config.js';
import { references } from '../../src/haproxy/references.js';
import type { Listeners } from '../../src/model/bind.js';
import { everyCase } from '../support/every-case.js';
import { amount, recordFigure, SEED } from '../support/figures.js';
import { ForkServer, SOURCES } from '../support/fork-server.js';
import { cannotRun } from '../support/haproxy.js';
import { binaries, describeBind, type Binary } from '../support/listening.js';
import { watchdog } from '../support/watchdog.js';
import { mutated } from './fuzz-damage.js';
import { madeUp, VARIABLES, type Files } from './fuzz-grammar.js';

const CASES = amount('configs', { short: 2000, full: 20_000 });
const READ_LIMIT_MS = 10_000;

const reason = cannotRun();
const found = reason === undefined ? binaries() : [];
const ENVIRONMENT = { ...VARIABLES, PATH: '/usr/bin:/bin' };

/** The files of a case as a person can read them. */
function shown(files: Files): string {
  return Object.entries(files)
    .map(([name, bytes]) => `--- ${name}\n${JSON.stringify(bytes.toString('latin1')).replaceAll('\\n', '\n')}`)
    .join('\n');
}

function read(directory: string, { version, features }: Binary): Listeners | BerthError {
  try {
    const configuration = readConfiguration(SOURCES, {
      ...{ workingDirectory: directory, environment: ENVIRONMENT, version, features },
    });
    const listeners = readListeners(configuration);
    references(configuration);
    return listeners;
  } catch (error) {
    if (error instanceof BerthError) return error;
    throw error;
  }
}

/** An error of the reader's is a known one, and names the place. */
function expectPlace(error: BerthError, text: string): void {
  expect(
    ['BERTH_CONFIG_SYNTAX', 'BERTH_CONFIG_UNREADABLE', 'BERTH_CONFIG_EMPTY', 'BERTH_CONFIG_TOO_LARGE'],
    text,
  ).toContain(error.code);
  if (error.code !== 'BERTH_CONFIG_EMPTY') expect(error.message, text).toMatch(/^(one\.cfg|two\.cfg|dir\/[^:]+):\d+: /);
}

/** HAProxy 2.2 only warns of a NUL byte and drops the rest of the line; Berth takes no file with one for a text, whatever serves. */
const refusedOnPurpose = (error: BerthError, { version: { major, minor } }: Binary): boolean =>
  major === 2 && minor < 3 && error.message.includes('NUL byte');

/** All that is certain is there, and nothing else where all is certain. */
function expectSame(listeners: Listeners, sockets: readonly string[], text: string): void {
  // Where there is no such device HAProxy warns, and binds without it; here there is `lo`.
  const onDevice = (name: string) => name.replace(/ %(?!lo\b).*$/, '');
  const mine = listeners.binds.flatMap(describeBind).map(onDevice).sort();
  const unsure = listeners.warnings.some(({ message }) => message.startsWith('shards'));
  if (unsure) expect([...new Set(mine)], text).toEqual([...new Set(sockets)]);
  else if (listeners.unknown.length === 0) expect(mine, text).toEqual(sockets);
  else expect(sockets, text).toEqual(expect.arrayContaining(mine));
}

describe.skipIf(reason !== undefined)('configurations against real HAProxy', () => {
  const guard = watchdog(READ_LIMIT_MS);
  const counts = new Map<
    string,
    { cases: number; accepted: number; refused: number; both: number; unsure: number; purpose: number }
  >();
  let failures = 0;

  afterAll(async () => {
    await guard.close();
    const all = [...counts.values()];
    const sum = (key: 'cases' | 'accepted' | 'refused' | 'purpose') => all.reduce((total, one) => total + one[key], 0);
    recordFigure({
      part: 'fuzz',
      name: 'configurations',
      promise: 'What HAProxy accepts is read as HAProxy binds it; what it refuses never crashes or stalls Berth.',
      figure: `${sum('cases')} configurations, ${sum('accepted')} accepted and read alike, ${sum('refused')} refused, ${sum('purpose')} with a NUL byte refused by Berth alone; ${failures} failures (seed ${SEED})`,
      kept: failures === 0 && sum('cases') >= CASES,
      haproxy: found.map(({ version }) => version.text),
      table: {
        title: 'Made-up and damaged configurations',
        columns: [
          'HAProxy',
          'cases',
          'accepted, equal',
          'refused',
          'of these refused by Berth too',
          'in part unknown',
          'NUL byte, refused by Berth alone',
        ],
        rows: [...counts].map(([version, one]) => [
          version,
          ...[one.cases, one.accepted, one.refused, one.both, one.unsure, one.purpose].map(String),
        ]),
      },
    });
  });

  describe.concurrent.each(found.map((binary) => [binary.version.text, binary] as const))(
    'HAProxy %s',
    (version, binary) => {
      let server: ForkServer;
      beforeAll(async () => {
        server = await ForkServer.open(binary.path, ENVIRONMENT);
      });
      afterAll(() => server.close());

      it('reads what it binds', { timeout: 60_000 + CASES * 200 }, async () => {
        const count = { cases: 0, accepted: 0, refused: 0, both: 0, unsure: 0, purpose: 0 };
        counts.set(version, count);
        const files = fc.oneof(
          { weight: 3, arbitrary: madeUp(binary.version) },
          { weight: 2, arbitrary: mutated(binary.version) },
        );
        const attempt = async (one: Files, counts: boolean): Promise<void> => {
          server.write(one);
          const asked = server.listen();
          let mine: Listeners | BerthError;
          let real: Awaited<typeof asked>;
          try {
            mine = guard.guard(
              () => shown(one),
              () => read(server.directory, binary),
            );
          } finally {
            real = await asked; // whatever came of the reading: the next case has other files
          }
          if (counts) count.cases++;
          const text = `${shown(one)}\n--- HAProxy ${version}\n${real.output}`;
          expect(real.timedOut, text).toBe(false);
          if (mine instanceof BerthError) expectPlace(mine, text);
          if (!real.accepted) {
            if (!counts) return;
            count.refused++;
            if (mine instanceof BerthError) count.both++;
          } else if (mine instanceof BerthError && refusedOnPurpose(mine, binary)) {
            if (counts) count.purpose++;
          } else {
            if (mine instanceof BerthError) throw new Error(`refused, HAProxy accepts it: ${mine.message}\n${text}`);
            expectSame(mine, real.sockets, text);
            if (!counts) return;
            count.accepted++;
            if (mine.unknown.length > 0) count.unsure++;
          }
        };
        console.log(`HAProxy ${version}: seed ${SEED}`);
        const wanted = Math.ceil(CASES / found.length);
        const failed = await everyCase(files, wanted, attempt);
        failures += failed.length;
        console.log(`HAProxy ${version}: ${JSON.stringify(count)}`);
        if (failed.length > 0) throw new Error(failed.join('\n\n'));
        expect(count.cases).toBe(wanted);
        expect(count.accepted).toBeGreaterThan(wanted / 4);
      });
    },
  );
});
