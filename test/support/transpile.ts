/** Sources as JavaScript, for a child process that a test is going to kill. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';

/**
 * Transpile a module of src/ and all that it imports from there, into a directory of the project's own, so that packages
 * are found. @returns where a module stands now, and a function that removes everything
 */
export function transpile(...modules: readonly string[]): { path(module: string): string; remove(): void } {
  const root = resolve('src');
  const out = resolve(`.cache/transpiled-${process.pid}-${Date.now()}`);
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
  writeFileSync(join(out, 'package.json'), '{ "type": "module" }');
  return { path: (module) => join(out, `${module}.js`), remove: () => rmSync(out, { recursive: true, force: true }) };
}
