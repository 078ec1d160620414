/** The examples of the documentation, compiled and run against real HAProxy through the package's own public entry. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import ts from 'typescript';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Lab, cannotRun, configuration, repository } from '../support/haproxy.js';

const why = cannotRun();

describe.skipIf(why !== undefined)('examples', () => {
  let lab: Lab;
  let compiled: string;
  beforeAll(() => {
    if (!existsSync(join(repository, 'dist/index.js'))) throw new Error('dist is missing: npm run build');
    mkdirSync(resolve('.cache'), { recursive: true });
    compiled = mkdtempSync(resolve('.cache/examples-'));
    for (const name of readdirSync('examples').filter((file) => file.endsWith('.ts'))) {
      const options = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true };
      const { outputText } = ts.transpileModule(readFileSync(join('examples', name), 'utf8'), {
        compilerOptions: options,
      });
      writeFileSync(join(compiled, name.replace(/\.ts$/, '.mjs')), outputText);
    }
  });
  afterAll(() => rmSync(compiled, { recursive: true, force: true }));
  afterEach(async () => lab.close());

  const run = (name: string, ...args: string[]): Promise<{ status: number; out: string; err: string }> =>
    new Promise((done) => {
      const command = [`--net=${lab.netns}`, '--', process.execPath, join(compiled, `${name}.mjs`), ...args];
      execFile('nsenter', command, (error, out, err) => done({ status: error ? Number(error.code) : 0, out, err }));
    });

  test('gate: passes a good configuration, and names the holder of a taken port', async () => {
    lab = await Lab.open();
    const config = lab.write('haproxy.cfg', configuration(['127.0.0.1:8001', '127.0.0.1:8002']));
    expect(await run('gate', config)).toMatchObject({ status: 0, err: '' });
    await lab.startBackend([{ host: '127.0.0.1', port: 8002 }]);
    const refused = await run('gate', config);
    expect(refused.status).toBe(1);
    expect(refused.err).toMatch(/haproxy\.cfg:\d+: 127\.0\.0\.1:8002\/tcp taken by .*(node|MainThread)\[\d+\]/);
  });

  test('control-plane: offers the first free port', async () => {
    lab = await Lab.open();
    await lab.startBackend([{ host: '127.0.0.1', port: 8000 }]);
    expect(await run('control-plane', '127.0.0.1', '8000-8010')).toMatchObject({
      status: 0,
      out: '127.0.0.1:8001/tcp\n',
    });
  });

  test('reload: serves, tells its phases, and ends with the status of the error', async () => {
    lab = await Lab.open();
    const config = lab.write('haproxy.cfg', configuration(['127.0.0.1:8001']));
    const served = await run('reload', lab.path('state'), config);
    expect(served).toMatchObject({ status: 0 });
    expect(served.out).toMatch(/^verify \d+ ms$/m);
    expect(served.out).toMatch(/^generation 1: 1 listeners served by haproxy\[\d+\]$/m);
    lab.write('haproxy.cfg', 'listen broken\n  bind\n');
    const refused = await run('reload', lab.path('state'), config);
    expect(refused.status).toBe(4);
    expect(refused.err).toMatch(/^BERTH_CONFIG_(REFUSED|SYNTAX) at /);
    expect(lab.listeners().has('127.0.0.1:8001')).toBe(true);
  });
});
