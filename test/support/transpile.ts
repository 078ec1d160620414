/** Sources as JavaScript, for a child process that a test is going to kill. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';

/**
 * Transpile modules, given by their place below src/ (`../test/support/load` is fine), and all that they import, into a
 * directory of the project's own, so that packages are found. @returns where a module stands now, and a function that removes everything
 */
export function transpile(...modules: readonly string[]): { path(module: string): string; remove(): void } {
  const root = resolve('src');
  const top = resolve(`.cache/transpiled-${process.pid}-${Date.now()}`);
  const out = join(top, 'src');
  const done = new Set<string>();
  const take = (file: string): void => {
    if (done.has(file) || !existsSync(file)) return;
    done.add(file);
    const text = readFileSync(file, 'utf8');
    const options = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true };
    const target = join(out, relative(root, file)).replace(/\.ts$/, '.js');
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, ts.transpileModule(text, { compilerOptions: options, fileName: file }).outputText);
    for (const [, path] of text.matchAll(/from '(\.[^']+)\.js'/g)) take(resolve(dirname(file), `${path!}.ts`));
  };
  for (const module of modules) take(join(root, `${module}.ts`));
  writeFileSync(join(top, 'package.json'), '{ "type": "module", "version": "0.0.0" }');
  return { path: (module) => join(out, `${module}.js`), remove: () => rmSync(top, { recursive: true, force: true }) };
}
