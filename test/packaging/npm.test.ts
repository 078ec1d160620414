/** The npm package as a user gets it: packed, installed into an empty directory, used; with a prebuilt addon and without. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeInNamespaces, makeNamespace, type Namespace } from '../support/netns.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

/** What an installation and its use may call: no compiler, no make, no Python. */
const TOOLS = ['node', 'npm', 'npx', 'sh', 'env', 'readlink', 'cmp', 'haproxy'];

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string; readonly mode: number }[];
}

describeInNamespaces('the npm package', () => {
  let directory: string;
  let namespace: Namespace;
  let packed: Packed;
  const at = (...path: string[]) => join(directory, ...path);

  /** Runs in a private network namespace, in the directory of the installation, without a compiler. */
  async function installed(command: string, ...args: string[]): Promise<string> {
    const words = ['-C', at('user'), '-i', `PATH=${at('tools')}`, `HOME=${at('user')}`, command, ...args];
    return namespace.exec('env', ...words);
  }

  beforeAll(async () => {
    namespace = await makeNamespace();
    directory = mkdtempSync(join(tmpdir(), 'berth-npm-'));
    for (const name of ['tools', 'user']) mkdirSync(at(name));
    for (const tool of TOOLS) {
      const { stdout } = await run('which', [tool], { env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin` } });
      symlinkSync(stdout.trim(), at('tools', tool));
    }
    writeFileSync(at('user', 'package.json'), '{ "private": true }');
    await run('./bin/berth', ['--version'], { cwd: root });
    await run('./scripts/prebuild', ['own'], { cwd: root });
    const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', directory], {
      cwd: root,
      maxBuffer: 1 << 26,
    });
    packed = (JSON.parse(stdout) as [Packed])[0];
    // Packages come from the registry or npm's cache; no compiler is in reach.
    await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', at(packed.filename)], {
      cwd: at('user'),
      env: { ...process.env, PATH: at('tools'), npm_config_cache: join(homedir(), '.npm') },
    });
  }, 600_000);

  afterAll(async () => {
    await namespace.remove();
    rmSync(directory, { recursive: true });
  });

  test('has what it runs with and what it is compiled from, and nothing else', () => {
    const paths = packed.files.map(({ path }) => path);
    expect(paths).toEqual(
      expect.arrayContaining([
        ...['LICENSE', 'README.md', 'CHANGELOG.md', 'SECURITY.md', 'package.json', 'binding.gyp', 'bin/berth-haproxy'],
        ...['dist/index.js', 'dist/index.d.ts', 'dist/cli/main.js', 'dist/lbagent/main.js', 'native/addon.cc'],
        ...['docs/cli.md', 'docs/settings.schema.json'],
      ]),
    );
    const rooms = new Set(paths.filter((path) => path.includes('/')).map((path) => path.slice(0, path.indexOf('/'))));
    expect([...rooms].sort()).toEqual(['bin', 'dist', 'docs', 'native', 'prebuilds']);
    expect(paths.filter((path) => /\.map$|\.built$|\.log$|\.tgz$/.test(path))).toEqual([]);
    expect(packed.size).toBeLessThan(2_000_000);
    console.log(`npm package: ${packed.size} bytes, ${packed.unpackedSize} unpacked, ${paths.length} files`);
  });

  test('is installed without a compiler and without a build', () => {
    expect(existsSync(at('user/node_modules/berthd/prebuilds'))).toBe(true);
    expect(existsSync(at('user/node_modules/berthd/build'))).toBe(false);
  });

  test('the command', async () => {
    expect(await installed('npx', '--no-install', 'berth', '--version')).toMatch(/^\d+\.\d+\.\d+\n$/);
    const answer = await installed('npx', '--no-install', 'berth', 'preflight', 'tcp:127.0.0.1:1', '--json');
    expect(JSON.parse(answer)).toMatchObject({ verb: 'preflight', exit: 0 });
  });

  test('berth-haproxy is the real haproxy for all that is not lbagent’s', async () => {
    expect(await installed('node_modules/.bin/berth-haproxy', '-v')).toBe(await installed('haproxy', '-v'));
  });

  test('the library', async () => {
    const script = `import { preflight } from 'berthd'; console.log((await preflight(['tcp:127.0.0.1:1'])).ok)`;
    expect(await installed('node', '--input-type=module', '-e', script)).toBe('true\n');
  });

  test('where no prebuilt addon fits, one is compiled', { timeout: 300_000 }, async () => {
    rmSync(at('user/node_modules/berthd/prebuilds'), { recursive: true });
    const without = await installed('npx', '--no-install', 'berth', 'preflight', 'tcp:127.0.0.1:1').catch(
      (error: unknown) => error as { code: number; stderr: string },
    );
    expect(without).toMatchObject({ code: 12, stderr: expect.stringContaining('No native build was found') as string });

    const prefix = dirname(dirname(process.execPath));
    const headers = existsSync(join(prefix, 'include/node/node_api.h')) ? { npm_config_nodedir: prefix } : {};
    await run('npm', ['rebuild', 'berthd'], { cwd: at('user'), env: { ...process.env, ...headers, JOBS: 'max' } });
    expect(existsSync(at('user/node_modules/berthd/build/Release/berth.node'))).toBe(true);
    await installed('npx', '--no-install', 'berth', 'preflight', 'tcp:127.0.0.1:1');
  });
});
