/** HAProxy's versions, modes and threads against all that a listener can be bound to: one table, each cell from a run. */
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FAMILIES, buildOf } from '../support/families.js';
import { form, recordFigure, type Figure } from '../support/figures.js';
import { cannotRun, haproxyBinaries } from '../support/haproxy.js';
import { selfSigned } from '../support/listening.js';
import { runRow, type Cell, type Row } from '../support/reload-row.js';

const why = cannotRun();
const MODES = ['standalone', 'master-worker'] as const;
/** In the short form one number of threads a mode. */
const threadsOf = (mode: string) => (form === 'full' ? [1, 4] : [mode === 'standalone' ? 1 : 4]);
const ROWS = (why === undefined ? haproxyBinaries() : []).flatMap((binary) =>
  MODES.flatMap((mode) => threadsOf(mode).map((threads) => ({ binary, version: binary.version, mode, threads }))),
);

interface Done extends Row {
  readonly haproxy: string;
  readonly mode: string;
  readonly threads: number;
}

describe.skipIf(why !== undefined)('versions of HAProxy', () => {
  const done: Done[] = [];
  let certificate = '';
  beforeAll(() => {
    certificate = selfSigned();
  });
  afterAll(() => {
    rmSync(dirname(certificate), { recursive: true, force: true });
    for (const figure of [matrix(done), notBuiltIn(done)]) recordFigure(figure);
  });

  test.each(ROWS)('$version, $mode, threads: $threads', { timeout: 180_000 }, async ({ binary, mode, threads }) => {
    const row: Done = {
      haproxy: buildOf(binary.path).version,
      mode,
      threads,
      ...(await runRow({ binary, mode, threads, certificate })),
    };
    done.push(row);
    expect(row.wrong).toEqual([]);
    expect(row.cells.filter((cell) => !isGood(cell))).toEqual([]);
  });
});

const isGood = ({ wrong, lost }: Cell): boolean => wrong.length === 0 && lost === 0;

function matrix(done: readonly Done[]): Figure {
  const cells = done.flatMap((row) => row.cells).filter(({ refused }) => refused === undefined);
  const bad = cells.filter((cell) => !isGood(cell)).length + done.filter(({ wrong }) => wrong.length > 0).length;
  return {
    part: 'versions',
    name: 'HAProxy, modes, threads, addresses',
    promise:
      'With each of these HAProxies, in both modes, a listener that stays keeps its very socket and loses no client, ' +
      'a new one gets its port though a connection sits on it, and one that goes is gone.',
    figure: `${done.length * 2} reloads, ${cells.length} cells, ${bad} failures; ${sum(cells, 'lost')} of ${sum(cells, 'clients')} clients lost`,
    kept: bad === 0 && done.length > 0,
    haproxy: versions(done),
    table: {
      title:
        '✓: one listener kept with its inode, one removed, one added on a busy port (TCP: a connection of HAProxy’s own; ' +
        'UDP: a socket of somebody else, left out until it is free), all owned by the new process, none of them bound by ' +
        'HAProxy (strace; a worker of a master binds new ones beside a guard), the old process gone, no client lost. ' +
        '*anew*: HAProxy takes over no such socket and binds it once more beside a guard (tcp_migrate_req is 1, as ' +
        '`berth doctor` advises). *told*: a master of HAProxy before ' +
        '3.1 never closes the UDP socket of the removed one, and the reload says so. –: not built in.',
      columns: ['HAProxy', 'mode', 'threads', ...FAMILIES.map(({ name }) => name)],
      rows: done.map(({ haproxy, mode, threads, cells, wrong }) => [
        haproxy,
        wrong.length === 0 ? mode : `${mode}: **${wrong.join('; ')}**`,
        String(threads),
        ...cells.map(cellText),
      ]),
    },
  };
}

function cellText({ refused, wrong, anew, told, clients, lost }: Cell): string {
  if (refused !== undefined) return '–';
  const losses = lost > 0 ? [`${lost} of ${clients} lost`] : [];
  if (wrong.length > 0 || lost > 0) return `**${[...wrong, ...losses].join('; ')}**`;
  return ['✓', ...(anew ? ['anew'] : []), ...(told ? ['told'] : [])].join(' ');
}

function notBuiltIn(done: readonly Done[]): Figure {
  const rows = done.flatMap(({ haproxy, cells }) =>
    cells.flatMap(({ family, refused }) => (refused === undefined ? [] : [[haproxy, family, `\`${refused}\``]])),
  );
  const once = [...new Map(rows.map((row) => [row.join(), row])).values()];
  const bad = done.filter(({ wrong }) => wrong.some((text) => text.includes('haproxy -c'))).length;
  return {
    part: 'versions',
    name: 'not built in',
    promise: 'What a HAProxy does not have is refused before anything is touched, and what serves goes on serving.',
    figure: `${rows.length} reloads refused, ${bad} failures`,
    kept: bad === 0,
    haproxy: versions(done),
    ...(once.length > 0 && {
      table: { title: 'What HAProxy says', columns: ['HAProxy', 'listener', 'answer of `haproxy -c`'], rows: once },
    }),
  };
}

const sum = (cells: readonly Cell[], what: 'clients' | 'lost'): number =>
  cells.reduce((total, cell) => total + cell[what], 0);
const versions = (done: readonly Done[]): string[] => [...new Set(done.map(({ haproxy }) => haproxy))];
