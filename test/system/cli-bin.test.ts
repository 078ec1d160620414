/** bin/berth on a stand-in repository, with an npm that only writes down what it was asked for. */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const CI = 'ci --ignore-scripts --no-audit --no-fund --loglevel=error';
const NATIVE = 'run --silent build:native';
const SCRIPTS = 'run --silent build:ts';

/** What bin/berth calls, and nothing that compiles. */
const TOOLS = ['bash', 'env', 'dirname', 'readlink', 'find', 'mkdir', 'touch', 'mv', 'rm', 'flock', 'sleep', 'node'];

let root: string;
let tools: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'berth-bin-'));
  tools = join(root, 'tools');
  for (const directory of ['bin', 'src', 'native', 'scripts', 'tools']) mkdirSync(join(root, directory));
  for (const file of ['package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json', 'binding.gyp']) {
    writeFileSync(join(root, file), '{}');
  }
  writeFileSync(join(root, 'scripts/bundle.mjs'), '');
  writeFileSync(join(root, 'src/a.ts'), '');
  writeFileSync(join(root, 'native/a.cc'), '');
  copyFileSync(fileURLToPath(new URL('../../bin/berth', import.meta.url)), join(root, 'bin/berth'));
  for (const tool of TOOLS) symlinkSync(execFileSync('which', [tool], { encoding: 'utf8' }).trim(), join(tools, tool));
  for (const tool of ['c++', 'make', 'python3']) program(tool, 'exit 0');
  // The pause leaves a second start the time to look at a build that is half done.
  program(
    'npm',
    `echo "$*" >> log
echo "npm says $1"
sleep 0.2
case $* in
  ci*) mkdir -p node_modules; echo {} > node_modules/.package-lock.json ;;
  *native) [[ -e broken ]] && exit 1; mkdir -p build/Release; echo x > build/Release/berth.node ;;
  *ts) mkdir -p dist/cli; echo 'console.log(JSON.stringify(process.argv.slice(2)))' > dist/cli/main.js ;;
esac`,
  );
});
afterEach(() => rmSync(root, { recursive: true }));

function program(name: string, body: string): void {
  writeFileSync(join(tools, name), `#!/usr/bin/env bash\n${body}\n`);
  chmodSync(join(tools, name), 0o755);
}

function berth(...words: string[]) {
  return spawnSync(join(root, 'bin/berth'), words, { encoding: 'utf8', env: { PATH: tools }, cwd: '/' });
}

/** What npm was asked for since the last call. */
function asked(): string[] {
  const log = join(root, 'log');
  if (!existsSync(log)) return [];
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
  rmSync(log);
  return lines;
}

function change(path: string): void {
  const later = new Date(Date.now() + 1000);
  utimesSync(join(root, path), later, later);
}

describe('bin/berth', () => {
  it('builds on first use, talks about it on standard error only, and passes the words on', () => {
    const first = berth('plan', 'a b', '--json');
    expect(first.stdout).toBe('["plan","a b","--json"]\n');
    expect(first.stderr).toContain('npm says ci');
    expect(first.status).toBe(0);
    expect(asked()).toEqual([CI, NATIVE, SCRIPTS]);

    const second = berth('status');
    expect(second.stdout).toBe('["status"]\n');
    expect(second.stderr).toBe('');
    expect(asked()).toEqual([]);
  });

  it('builds again what is older than its sources', () => {
    berth();
    asked();
    change('src/a.ts');
    berth();
    expect(asked()).toEqual([SCRIPTS]);
    rmSync(join(root, 'build'), { recursive: true });
    berth();
    expect(asked()).toEqual([NATIVE, SCRIPTS]);
  });

  it('builds once where two start at the same time', async () => {
    const start = () => promisify(execFile)(join(root, 'bin/berth'), ['x'], { env: { PATH: tools } });
    const both = await Promise.all([start(), start()]);
    expect(both.map(({ stdout }) => stdout)).toEqual(['["x"]\n', '["x"]\n']);
    expect(asked()).toEqual([CI, NATIVE, SCRIPTS]);
  });

  it('works through a symlink', () => {
    symlinkSync(join(root, 'bin/berth'), join(root, 'link'));
    const { stdout } = spawnSync(join(root, 'link'), ['x'], { encoding: 'utf8', env: { PATH: tools }, cwd: '/' });
    expect(stdout).toBe('["x"]\n');
  });

  it('stops where a build fails, and tries again next time', () => {
    writeFileSync(join(root, 'broken'), '');
    const failed = berth('x');
    expect(failed.status).toBe(12);
    expect(failed.stdout).toBe('');
    expect(failed.stderr).toContain('berth: the native addon could not be built');
    expect(asked()).toEqual([CI, NATIVE]);
    rmSync(join(root, 'broken'));
    expect(berth('x').stdout).toBe('["x"]\n');
    expect(asked()).toEqual([NATIVE, SCRIPTS]);
  });

  it.each([
    ['a compiler', ['c++'], 'the native addon cannot be built: g++ missing'],
    ['make and Python', ['make', 'python3'], 'apt-get install make python3'],
    ['npm', ['npm'], 'npm is missing'],
    ['node', ['node'], 'node is missing'],
    ['flock', ['flock'], 'flock is missing'],
  ])('says so where %s is missing', (_, missing, text) => {
    for (const tool of missing) rmSync(join(tools, tool));
    const { status, stdout, stderr } = berth('x');
    expect(stderr).toContain(text);
    expect(stdout).toBe('');
    expect(status).toBe(12);
  });

  it.each(['v18.20.1', 'v20.18.3'])('refuses Node %s', (version) => {
    rmSync(join(tools, 'node'));
    program('node', `echo ${version}`);
    const { status, stderr } = berth('x');
    expect(stderr).toContain(`berth: node ${version} is too old\nberth: Install Node.js 20.19 or newer.\n`);
    expect(status).toBe(12);
    expect(asked()).toEqual([]);
  });
});
