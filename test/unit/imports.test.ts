/** Who may import whom, and who may do what: read from the sources, so that a wrong arrow fails on the day it is drawn. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../src', import.meta.url));

/** Room → rooms that it may import from (its own always). */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  model: ['errors'],
  settings: ['errors'],
  advise: ['errors', 'model'],
  kernel: ['errors', 'model'],
  haproxy: ['errors', 'model'],
  reload: ['errors', 'model', 'settings'],
  // The composition root, in three files.
  berth: ['errors', 'model', 'settings', 'kernel', 'haproxy', 'reload', 'host'],
  host: ['errors', 'model', 'settings', 'kernel', 'haproxy', 'reload', 'berth'],
  measure: ['errors', 'model', 'advise', 'host', 'berth', 'kernel'],
  // Asks the agent what it would else ask a Berth of its own: it knows the shapes, and nothing that works.
  client: ['errors', 'settings', 'reload', 'berth'],
  agent: ['errors', 'model', 'settings', 'reload', 'berth', 'host', 'client'],
  lbagent: ['errors', 'settings', 'reload', 'berth', 'client'],
  cli: ['errors', 'model', 'settings', 'advise', 'reload', 'berth', 'measure', 'client', 'agent'],
  index: ['errors', 'model', 'settings', 'advise', 'reload', 'berth', 'measure', 'client'],
};

/** Shapes that a room declares and others fit or speak of: types only. */
const SHAPES: Readonly<Record<string, readonly string[]>> = {
  'reload/env.ts': ['kernel', 'haproxy'],
  'agent/contract.ts': ['client', 'index'],
};

/** The composition root of the daemon: it alone of its room reaches into these, for what a reload never needs. */
const DAEMON = { file: 'agent/agent.ts', rooms: ['kernel', 'haproxy'] };

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

interface Source {
  readonly file: string;
  readonly imports: readonly Import[];
  /** Text of string literals and templates; comments do not count. */
  readonly strings: readonly string[];
  /** Names that are called: `spawn`, `sync`, `createRequire`. */
  readonly calls: readonly string[];
}

const sources = filesBelow(root).map(read);

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return filesBelow(path);
    return entry.name.endsWith('.ts') ? [path] : [];
  });
}

function read(path: string): Source {
  const file = relative(root, path);
  const imports: Import[] = [];
  const strings: string[] = [];
  const calls: string[] = [];
  const add = (specifier: ts.Expression | undefined, typeOnly: boolean) => {
    if (specifier !== undefined && ts.isStringLiteral(specifier))
      imports.push({ from: file, to: target(path, specifier.text), typeOnly });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, isTypeOnly(node));
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isCallExpression(node)) {
      if (node.expression.kind === ts.SyntaxKind.ImportKeyword) add(node.arguments[0], false);
      if (ts.isIdentifier(node.expression)) calls.push(node.expression.text);
      if (ts.isPropertyAccessExpression(node.expression)) calls.push(node.expression.name.text);
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal, true);
    }
    if (ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node))
      strings.push(node.text);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true));
  return { file, imports, strings, calls };
}

function isTypeOnly({ importClause }: ts.ImportDeclaration): boolean {
  if (importClause === undefined) return false;
  if (importClause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true;
  const named = importClause.namedBindings;
  return (
    importClause.name === undefined &&
    named !== undefined &&
    ts.isNamedImports(named) &&
    named.elements.every((e) => e.isTypeOnly)
  );
}

/** `model/ports.ts` for our own, the bare name for packages and node: modules. */
function target(path: string, specifier: string): string {
  if (!specifier.startsWith('.')) return specifier;
  return relative(root, resolve(dirname(path), specifier)).replace(/\.js$/, '.ts');
}

function roomOf(file: string): string {
  return file.includes('/') ? file.slice(0, file.indexOf('/')) : file.replace(/\.ts$/, '');
}

const arrows = sources.flatMap(({ imports }) => imports);
const own = arrows.filter(({ to }) => to.endsWith('.ts'));
const filesWhere = (test: (source: Source) => boolean) => sources.filter(test).map(({ file }) => file);

describe('who imports whom', () => {
  it('every source belongs to a room', () => {
    expect(filesWhere(({ file }) => !Object.hasOwn(ARROWS, roomOf(file)))).toEqual([]);
  });

  it('no other arrow than those of the house', () => {
    const wrong = own.filter(({ from, to, typeOnly }) => {
      const [a, b] = [roomOf(from), roomOf(to)];
      if (a === b || ARROWS[a]?.includes(b) === true) return false;
      if (from === DAEMON.file && DAEMON.rooms.includes(b)) return false;
      return !(typeOnly && SHAPES[to]?.includes(a) === true);
    });
    expect(wrong).toEqual([]);
  });

  it('no two files import each other in a circle, types apart', () => {
    const next = new Map<string, string[]>();
    for (const { from, to, typeOnly } of own) if (!typeOnly) next.set(from, [...(next.get(from) ?? []), to]);
    const done = new Set<string>();
    const circles: string[] = [];
    const walk = (file: string, way: readonly string[]): void => {
      if (way.includes(file)) circles.push([...way.slice(way.indexOf(file)), file].join(' → '));
      if (way.includes(file) || done.has(file)) return;
      for (const to of next.get(file) ?? []) walk(to, [...way, file]);
      done.add(file);
    };
    for (const { file } of sources) walk(file, []);
    expect(circles).toEqual([]);
  });

  it('model imports no node: module and no package', () => {
    expect(arrows.filter(({ from, to }) => roomOf(from) === 'model' && !to.endsWith('.ts'))).toEqual([]);
  });

  it('every package that is imported is a dependency', () => {
    const manifest = JSON.parse(readFileSync(join(root, '../package.json'), 'utf8')) as { dependencies: object };
    const packages = arrows.map(({ to }) => to).filter((to) => !to.endsWith('.ts') && !to.startsWith('node:'));
    expect(new Set(packages.filter((name) => !Object.hasOwn(manifest.dependencies, name)))).toEqual(new Set());
  });
});

describe('who does what', () => {
  const isCalled = (...names: string[]) => filesWhere(({ calls }) => calls.some((call) => names.includes(call)));

  it('only kernel/addon.ts loads the addon', () => {
    const loads = (source: Source) =>
      source.calls.some((call) => call === 'createRequire' || call === 'dlopen') ||
      source.strings.some((text) => text.endsWith('.node'));
    // settings loads the YAML parser by the same call, where there is YAML to read.
    expect(filesWhere(loads).filter((file) => file !== 'settings/yaml.ts')).toEqual(['kernel/addon.ts']);
  });

  it('only kernel opens /proc', () => {
    const named = filesWhere(({ strings }) => strings.some((text) => /^\/proc\b/.test(text)));
    // The composition root names a namespace for nsenter(1) by its path; it opens nothing.
    expect(named.filter((file) => roomOf(file) !== 'kernel' && file !== 'host.ts')).toEqual([]);
  });

  it('only haproxy starts processes', () => {
    const starts = new Set(
      arrows.filter(({ to, typeOnly }) => !typeOnly && to === 'node:child_process').map(({ from }) => roomOf(from)),
    );
    expect([...starts].filter((room) => room !== 'haproxy')).toEqual([]);
  });

  it('nobody kills by pid alone: signals go through a pidfd', () => {
    const kills = sources.filter(({ calls }) => calls.includes('kill')).map(({ file }) => file);
    expect(kills.filter((file) => roomOf(file) !== 'haproxy')).toEqual([]);
  });

  it('only the journal, the ledger and the file helper of the generations flush to disk', () => {
    const flushing = isCalled('fsync', 'fsyncSync', 'fdatasync', 'fdatasyncSync', 'sync', 'datasync');
    const allowed = ['kernel/ledger.ts', 'reload/files.ts', 'reload/journal.ts'];
    expect(flushing.filter((file) => !allowed.includes(file))).toEqual([]);
  });
});
