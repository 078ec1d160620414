/**
 * What others wrote and the agent runs: pinned, licensed, without scripts of its own at installation, and listed.
 * docs/dependencies.md is written by this test: npx vitest run test/trust/security-dependencies.test.ts -u
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { format } from 'prettier';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { form, recordFigure } from '../support/figures.js';
import { cannotRun, configuration, haproxyBinaries, Lab, repository } from '../support/haproxy.js';

interface Package {
  readonly version: string;
  readonly license?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly link?: boolean;
  readonly dev?: boolean;
  readonly devOptional?: boolean;
  readonly hasInstallScript?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
}
interface Manifest {
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
}

const json = (name: string): unknown => JSON.parse(readFileSync(join(repository, name), 'utf8'));
const manifest = json('package.json') as Manifest;
const lock = json('package-lock.json') as { lockfileVersion: number; packages: Record<string, Package> };
const nameOf = (path: string) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
const packages = Object.entries(lock.packages).filter(([path]) => path !== '');
const runtime = packages
  .filter(([, { dev, devOptional }]) => dev !== true && devOptional !== true)
  .map(([path, found]) => [nameOf(path), found] as const)
  .sort(([one], [other]) => (one < other ? -1 : 1));

const LICENCES = ['MIT', 'ISC', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD'];

/** What Berth has each of its own dependencies for. */
const PURPOSE: Readonly<Record<string, string>> = {
  '@hono/node-server': 'the API: from a request of Node to one of the web',
  chokidar: 'notices changes of the sources',
  commander: 'the command line',
  hono: 'the API: routes',
  'node-addon-api': 'header files of the native addon; nothing of it runs',
  'node-gyp-build': 'at installation: takes the prebuilt addon, or builds it',
  picocolors: 'colours on the terminal',
  pino: 'the log',
  'prom-client': 'the metrics',
  yaml: 'the settings file',
  zod: 'checks settings, requests and what is read back from disk',
};

/** Libraries of the system that a Node and the addon need, whatever the distribution. */
const SYSTEM =
  /^(ld-linux[\w.-]*|ld-musl[\w.-]*|lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s|atomic)([.-][\w.-]*)?)\.so[\d.]*$/;

/** What scripts/bundle.mjs has put into a file of the commands. */
function packagesWithin(url: string): string[] {
  return /^\/\/ Packages within: (.*)$/m.exec(readFileSync(fileURLToPath(url), 'utf8'))?.[1]?.split(', ') ?? [];
}

describe('dependencies', () => {
  test('every package is pinned by its checksum, from no other place than npm has it from', () => {
    const loose = packages.filter(([, { integrity, link }]) => link === true || !/^sha512-/.test(integrity ?? ''));
    const elsewhere = packages.filter(([, { resolved }]) => resolved !== undefined && !/^https:\/\//.test(resolved));
    const scripts = runtime.filter(([, { hasInstallScript }]) => hasInstallScript === true);
    const ours = ['preinstall', 'install', 'postinstall', 'prepare'].filter((name) => name in manifest.scripts);
    const licences = runtime.filter(([, { license }]) => !LICENCES.includes(license ?? ''));
    const wrong = [...loose, ...elsewhere, ...scripts, ...licences].map(([name]) => name);
    recordFigure({
      part: 'security',
      name: 'packages',
      promise:
        'What is installed is what was tested: every package is pinned by its checksum and under a free licence, and none runs a script.',
      figure:
        `${packages.length} packages in the lockfile, ${loose.length} without checksum; ${runtime.length} at run time, ` +
        `${licences.length} under another licence than ${LICENCES.slice(0, 3).join(', ')} or BSD, ${scripts.length} with an install script`,
      kept: wrong.length === 0,
      haproxy: [],
    });
    expect(wrong).toEqual([]);
    expect(lock.lockfileVersion).toBe(3);
    // Takes the addon that is in the package; where none fits, builds ours.
    expect([ours, manifest.scripts['install']]).toEqual([['install'], 'node-gyp-build']);
    expect(Object.keys(manifest.dependencies).sort()).toEqual(Object.keys(PURPOSE).sort());
  });

  // It asks the advisory service of npm: a run without network says so in the report, and is no failure.
  const audit = form === 'full' ? test : undefined;
  audit?.('npm audit knows of no vulnerability', () => {
    const { stdout } = spawnSync('npm', ['audit', '--omit=dev', '--json'], {
      cwd: repository,
      encoding: 'utf8',
      timeout: 30_000,
    });
    const found = parsed(stdout) as { metadata?: { vulnerabilities?: { total: number } } } | undefined;
    const total = found?.metadata?.vulnerabilities?.total;
    recordFigure({
      part: 'security',
      name: 'npm audit',
      promise: 'No package that runs has a vulnerability that npm knows of.',
      figure:
        total === undefined ? 'could not run here: the advisory service cannot be reached' : `${total} vulnerabilities`,
      kept: (total ?? 0) === 0,
      haproxy: [],
    });
    expect(total ?? 0).toBe(0);
  });

  const why = cannotRun();
  test.skipIf(why !== undefined)('docs/dependencies.md lists what a running agent has loaded', async () => {
    const lab = await Lab.open();
    onTestFinished(() => lab.close());
    const [binary = { path: '' }] = haproxyBinaries();
    mkdirSync(lab.path('conf.d'));
    writeFileSync(lab.path('conf.d', 'a.cfg'), configuration(['127.0.0.1:8001']));
    // Writes down the URL of every module, and at the end those that were required.
    const hook = lab.write(
      'hook.mjs',
      `import { createRequire, register } from 'node:module';
       import { appendFileSync } from 'node:fs';
       const out = ${JSON.stringify(lab.path('loaded'))};
       const load = \`import { appendFileSync } from 'node:fs';
         export function load(url, context, next) { appendFileSync(\${JSON.stringify(out)}, url + '\\\\n'); return next(url, context); }\`;
       register('data:text/javascript,' + encodeURIComponent(load));
       process.on('exit', () => appendFileSync(out, Object.keys(createRequire(import.meta.url).cache).join('\\n') + '\\n'));`,
    );
    // JSON is YAML.
    const settings = lab.write(
      'berth.yaml',
      JSON.stringify({
        ...{ stateDir: lab.path('state'), netns: lab.netns, sources: [lab.path('conf.d')] },
        ...{ agent: { socket: lab.path('agent.sock') }, haproxy: { binary: binary.path } },
      }),
    );
    spawnSync(join(repository, 'bin/berth'), ['--version']);
    const words = [`--import=${hook}`, join(repository, 'dist/cli/main.js'), 'agent', '--settings', settings];
    const agent = spawn(process.execPath, words, { env: { PATH: process.env['PATH'] }, stdio: 'ignore' });
    onTestFinished(() => void agent.kill('SIGKILL'));
    const ended = once(agent, 'exit');
    await vi.waitFor(() => expect(lab.listeners().has('127.0.0.1:8001')).toBe(true), { timeout: 40_000, interval: 50 });
    await vi.waitFor(() => expect(existsSync(lab.path('agent.sock'))).toBe(true), { timeout: 10_000 });
    const maps = readFileSync(`/proc/${agent.pid ?? 0}/maps`, 'utf8');
    agent.kill('SIGTERM');
    await ended;

    const files = readFileSync(lab.path('loaded'), 'utf8').split('\n');
    const loaded = new Set([
      ...files.flatMap((file) => /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules\/)/.exec(file)?.[1] ?? []),
      ...files.filter((file) => file.startsWith(pathToFileURL(join(repository, 'dist/')).href)).flatMap(packagesWithin),
    ]);
    const shared = [...new Set(maps.split('\n').flatMap((line) => /\/\S+\.(?:so[\d.]*|node)$/.exec(line)?.[0] ?? []))];
    const addons = shared.filter((file) => file.endsWith('.node')).map((file) => basename(file));
    const strangers = shared
      .map((file) => basename(file))
      .filter((name) => !SYSTEM.test(name) && name !== 'berth.node');
    const text = await format(page(loaded), { parser: 'markdown', printWidth: 120, proseWrap: 'preserve' });
    recordFigure({
      part: 'security',
      name: 'loaded',
      promise:
        'The agent loads the packages of docs/dependencies.md, one native addon, its own, and the system’s C and C++ libraries.',
      figure: `${loaded.size} packages loaded, ${addons.length} addon, ${shared.length - addons.length} system libraries, ${strangers.length} others`,
      kept: strangers.length === 0 && addons.join() === 'berth.node',
      haproxy: [],
      table: {
        title: 'Shared objects of a running agent',
        columns: ['file'],
        rows: shared.map((file) => [`\`${basename(file)}\``]),
      },
    });
    expect([...loaded].filter((name) => !runtime.some(([known]) => known === name))).toEqual([]);
    expect({ strangers, addons }).toEqual({ strangers: [], addons: ['berth.node'] });
    await expect(text).toMatchFileSnapshot(fileURLToPath(new URL('../../docs/dependencies.md', import.meta.url)));
  });
});

function page(loaded: ReadonlySet<string>): string {
  const askedBy = (name: string) =>
    runtime.filter(([, { dependencies = {} }]) => name in dependencies).map(([other]) => `\`${other}\``);
  const rows = runtime.map(([name, { version, license }]) => {
    const what = PURPOSE[name] ?? `for ${askedBy(name).join(', ')}`;
    return `| \`${name}\` | ${version} | ${license ?? ''} | ${loaded.has(name) ? 'yes' : ''} | ${what} |`;
  });
  return [
    '# Dependencies',
    '',
    'What is installed with Berth, and what of it a running agent has loaded. The lockfile pins each by its checksum. None runs a',
    'script at installation; Berth’s own, `node-gyp-build`, takes the prebuilt addon or builds it. Beside these the agent loads one',
    'native addon, `berth.node` (`native/`), and the C and C++ libraries of the system. `test/trust/security-dependencies.test.ts`',
    'writes this page from a running agent, and fails where it is not true any more.',
    '',
    '| package | version | licence | loaded | what for |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
