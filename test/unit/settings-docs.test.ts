/**
 * docs/settings.md and docs/settings.schema.json say what the schema says. They are written by this test:
 * npx vitest run test/unit/settings-docs.test.ts -u
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { format } from 'prettier';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { environmentName, loadInstances, loadSettings, settingsJsonSchema } from '../../src/settings.js';
import { leaves } from '../../src/settings/read.js';
import { settingsFile } from '../support/settings-file.js';

const docs = (name: string) => fileURLToPath(new URL(`../../docs/${name}`, import.meta.url));
const page = readFileSync(docs('settings.md'), 'utf8');

interface Node {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly Node[];
  readonly items?: Node;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Node>>;
}

const schema = settingsJsonSchema() as Node;
const defaults = loadSettings({ defaultFile: '/nonexistent' });
const code = (text: string) => `\`${text}\``;

function at(path: readonly string[]): { readonly node: Node; readonly value: unknown } {
  let [node, value]: [Node | undefined, unknown] = [schema, defaults];
  for (const key of path) {
    node = node?.properties?.[key];
    value = (value as Record<string, unknown> | undefined)?.[key];
  }
  if (node === undefined) throw new Error(`no schema for ${path.join('.')}`);
  return { node, value };
}

function typeOf(node: Node): string {
  if (node.enum) return node.enum.map(code).join(', ');
  if (node.anyOf) return [...new Set(node.anyOf.map(typeOf))].join(' or ');
  if (node.type === 'array') return `list: ${typeOf(node.items ?? {})}`;
  if (node.type === 'string') return node.pattern?.startsWith('^\\/') ? 'path' : 'text';
  if (node.type === 'boolean') return 'true, false';
  const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER } = node;
  const range = maximum === Number.MAX_SAFE_INTEGER ? `from ${minimum}` : `${minimum} to ${maximum}`;
  return node.type === 'integer' ? `whole number, ${range}` : `number, ${range}`;
}

function table(): string {
  const rows = leaves().map(([path]) => {
    const { node, value } = at(path);
    const shown = value === undefined ? 'none' : code(JSON.stringify(value).replaceAll('"', ''));
    return [code(path.join('.')), typeOf(node), shown, code(environmentName(path)), node.description ?? ''];
  });
  const head = ['setting', 'type', 'default', 'environment', 'meaning'];
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

const fenced = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => match[1] ?? '');

describe('docs/settings.md', () => {
  it('lists every setting with type, default, environment variable and meaning', async () => {
    const written = page.replace(/(<!-- begin: .*-->\n)[\s\S]*(<!-- end -->)/, (_, begin: string, end: string) => {
      return `${begin}\n${table()}\n\n${end}`;
    });
    await expect(written).toMatchFileSnapshot(docs('settings.md'));
  });

  it('its examples are right, and the schema agrees', () => {
    const validate = new Ajv2020({ allErrors: true }).compile(schema);
    expect(fenced.length).toBeGreaterThan(1);
    for (const text of fenced) {
      expect(validate(parse(text)), JSON.stringify(validate.errors)).toBe(true);
      expect(() => loadInstances({ file: settingsFile(text) })).not.toThrow();
    }
  });
});

describe('docs/settings.schema.json', () => {
  it('is what the schema says', async () => {
    const text = await format(JSON.stringify(settingsJsonSchema()), { parser: 'json', printWidth: 120 });
    await expect(text).toMatchFileSnapshot(docs('settings.schema.json'));
  });

  const validate = new Ajv2020().compile(schema);
  it.each([
    ['{}', true],
    ['instances: { web: , api: { harden: source } }', true],
    ['reserve: { maxShare: 0.1 }', true],
    ['netns: 4711', true],
    ['reserve: { maxShare: 2 }', false],
    ['stateDir: var', false],
    ['conflict: {}', false],
    ['instances: {}', false],
    ['instances: { web: { agent: { group: x } } }', false],
    ['instances: { web: { instances: {} } }', false],
    ['instances: { Web: {} }', false],
  ])('%s: %s, and Berth agrees', (text, right) => {
    expect(validate(parse(text))).toBe(right);
    const load = () => loadInstances({ file: settingsFile(text) });
    if (right) expect(load).not.toThrow();
    else expect(load).toThrow(expect.objectContaining({ code: 'BERTH_SETTINGS' }));
  });
});
