/** The proof of the reader: what it says will be bound is what real HAProxy binds, for every form of a bind there is. */
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readListeners } from '../../src/haproxy/binds.js';
import { readConfiguration } from '../../src/haproxy/config.js';
import { cannotRun } from '../support/haproxy.js';
import { binaries, describeBind, listen, selfSigned, writeFiles, type Binary } from '../support/listening.js';
import { CORPUS, type Case } from './differential-corpus.js';

const reason = cannotRun();
const certificate = selfSigned();
afterAll(() => rmSync(dirname(certificate), { recursive: true, force: true }));

function applies(one: Case, { version }: Binary): boolean {
  const number = version.major * 100 + version.minor;
  const asNumber = (text: string): number => Number(text.split('.')[0]) * 100 + Number(text.split('.')[1]);
  return number >= asNumber(one.since ?? '2.2') && number <= asNumber(one.until ?? '9.9');
}

describe.skipIf(reason !== undefined).each(binaries().map((binary) => [binary.version.text, binary] as const))(
  'HAProxy %s',
  (_version, binary) => {
    it.each(CORPUS.filter((one) => applies(one, binary)).map((one) => [one.name, one] as const))('%s', (_name, one) => {
      const directory = writeFiles(one.files ?? { 'a.cfg': one.config ?? '' });
      try {
        const environment = { CERTIFICATE: certificate, ...one.environment };
        const sources = one.sources ?? ['a.cfg'];
        const workingDirectory = one.chdir === undefined ? directory : `${directory}/${one.chdir}`;
        const flags = [...sources.flatMap((source) => ['-f', source]), ...(one.arguments ?? [])];
        const real = listen(binary.path, {
          directory,
          workingDirectory,
          arguments: one.chdir === undefined ? flags : ['-C', one.chdir, ...flags],
          environment,
          ...(one.setup === undefined ? {} : { setup: one.setup }),
        });
        const read = (): ReturnType<typeof readListeners> =>
          readListeners(
            readConfiguration(sources, {
              workingDirectory,
              environment,
              version: binary.version,
              features: binary.features,
              ...(one.localPeer === undefined ? {} : { localPeer: one.localPeer }),
            }),
          );
        if (one.refused === true) {
          expect(real.accepted, real.output).toBe(false);
          expect(read).toThrow(/a\.cfg:\d+: /);
          return;
        }
        expect(real.accepted, real.output).toBe(true);
        const listeners = read();
        const mine = listeners.binds.flatMap(describeBind).sort();
        expect(listeners.unknown.map(({ text }) => text)).toEqual(one.unknown ?? []);
        if (one.unknown === undefined) expect(mine).toEqual(real.sockets);
        else expect(real.sockets).toEqual(expect.arrayContaining(mine));
        if (one.none !== true && one.unknown === undefined) expect(mine).not.toEqual([]);
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    });
  },
);
