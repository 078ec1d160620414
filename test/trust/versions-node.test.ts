/**
 * The versions of Node that Berth is for: with each, from the npm registry, the unit and the kernel tests, reloads and an
 * agent. In the short form a reload with the Node that runs.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { form, recordFigure } from '../support/figures.js';
import { cannotRun, haproxyBinaries, repository } from '../support/haproxy.js';

const why = cannotRun();
const OWN = process.versions.node.split('.')[0] ?? '';
const NODES = form === 'full' ? ['20', '22', '24'] : [OWN];
const GROUPS =
  form === 'full'
    ? ['test/unit/', 'test/kernel/', 'test/system/reload.test.ts', 'test/system/agent.test.ts']
    : ['test/system/reload.test.ts'];
/** Of those that are there: the one of the widest use. */
const HAPROXY =
  why === undefined ? (haproxyBinaries().find(({ version }) => version === '2.6') ?? haproxyBinaries()[0]) : undefined;

/** Ended with the tests, also where these have timed out. */
const running = new Set<ChildProcess>();

interface Group {
  readonly passed: number;
  readonly failed: readonly string[];
}

interface Run {
  readonly version: string;
  readonly groups: readonly Group[];
}

describe.skipIf(why !== undefined)('versions of Node', () => {
  const runs: Run[] = [];
  let directory = '';
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'berth-node-'));
    chmodSync(directory, 0o755);
  });
  afterAll(() => {
    for (const run of running) run.kill();
    rmSync(directory, { recursive: true, force: true });
    record(runs.sort((one, other) => one.version.localeCompare(other.version)));
  });

  test.concurrent.each(NODES)('Node %s', { timeout: 350_000 }, async (major) => {
    const run = await testWith(runtime(major, join(directory, major)), join(directory, `${major}.json`));
    runs.push(run);
    expect(run.version).toMatch(new RegExp(`^${major}\\.`));
    expect(run.groups.flatMap(({ failed }) => failed)).toEqual([]);
    expect(run.groups.filter(({ passed }) => passed === 0)).toEqual([]);
  });
});

/** A directory with `node` in it. The registry's package of that name brings the program itself. */
function runtime(major: string, directory: string): string {
  mkdirSync(directory);
  const print = ['-p', 'process.execPath'];
  // npx runs the package's own; a copy, because tests run it as another user too, who cannot look into npm's cache.
  const path =
    major === OWN
      ? process.execPath
      : execFileSync('npx', ['--yes', `--package=node@${major}`, '--', 'node', ...print], { encoding: 'utf8' }).trim();
  copyFileSync(path, join(directory, 'node'));
  return directory;
}

async function testWith(directory: string, report: string): Promise<Run> {
  const node = join(directory, 'node');
  const outside = Object.entries(process.env).filter(([name]) => !/^(VITEST|BERTH_T(RUST|EST)|NODE_ENV)/.test(name));
  const words = [
    'run',
    '--reporter=json',
    `--outputFile=${report}`,
    ...(form === 'full' ? [] : ['-t', 'a first start']),
  ];
  const child = spawn(node, [join(repository, 'node_modules/vitest/vitest.mjs'), ...words, ...GROUPS], {
    cwd: repository,
    env: {
      ...Object.fromEntries(outside),
      PATH: `${directory}:${process.env['PATH'] ?? ''}`,
      BERTH_HAPROXY: HAPROXY?.version,
    },
    stdio: 'ignore',
  });
  running.add(child);
  await once(child, 'exit');
  running.delete(child);
  return {
    version: execFileSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' }).trim(),
    groups: read(report),
  };
}

/** What vitest's JSON reporter writes, as far as it is read here. */
interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

function read(path: string): Group[] {
  const { testResults } = JSON.parse(readFileSync(path, 'utf8')) as Report;
  return GROUPS.map((group) => {
    const files = testResults.filter(({ name }) => relative(repository, name).startsWith(group));
    const tests = files.flatMap(({ assertionResults }) => assertionResults);
    return {
      passed: tests.filter(({ status }) => status === 'passed').length,
      failed: [
        ...tests.filter(({ status }) => status === 'failed').map(({ fullName }) => fullName),
        // A file that could not be loaded has no tests.
        ...files
          .filter((file) => file.status === 'failed' && file.assertionResults.length === 0)
          .map(({ name }) => name),
      ],
    };
  });
}

function record(runs: readonly Run[]): void {
  const count = (what: (group: Group) => number) =>
    runs.reduce((total, { groups }) => total + groups.reduce((sum, group) => sum + what(group), 0), 0);
  const failures = count(({ failed }) => failed.length);
  recordFigure({
    part: 'versions',
    name: 'Node',
    promise: 'Berth runs on each Node from 20 on that is maintained; its addon is built once for all of them.',
    figure: `Node ${runs.map(({ version }) => version).join(', ')}: ${count(({ passed }) => passed)} tests, ${failures} failures`,
    kept: runs.length === NODES.length && failures === 0,
    haproxy: HAPROXY ? [HAPROXY.version] : [],
    table: {
      title: 'Tests that passed, with one build of the addon',
      columns: ['Node', ...GROUPS.map((group) => `\`${group}\``)],
      rows: runs.map(({ version, groups }) => [
        version,
        ...groups.map(({ passed, failed }) =>
          failed.length === 0 ? String(passed) : `${passed}, **${failed.length} failed**`,
        ),
      ]),
    },
  });
}
