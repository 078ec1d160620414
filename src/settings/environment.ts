/** Settings from environment variables: `BERTH_CONFLICTS_WAIT_DEADLINE_MS=2000`. */
import { BerthError } from '../errors.js';
import { nearest } from './nearest.js';
import { leaves, takeOver, wrongWith, type Given, type KeyPath } from './read.js';
import { parseYaml } from './yaml.js';

/** `conflicts.wait.deadlineMs` → `BERTH_CONFLICTS_WAIT_DEADLINE_MS`. */
export function environmentName(path: KeyPath): string {
  return `BERTH_${path.map((key) => key.replace(/[A-Z]+/g, '_$&').toUpperCase()).join('_')}`;
}

/** @throws BERTH_SETTINGS on a wrong value, and on a name that is a slip of a setting's */
export function takeEnvironment(target: Given, environment: Readonly<Record<string, string | undefined>>): void {
  const known = new Map(leaves().map((leaf) => [environmentName(leaf[0]), leaf]));
  for (const [name, text] of Object.entries(environment)) {
    if (!name.startsWith('BERTH_') || text === undefined) continue;
    const leaf = known.get(name);
    if (leaf === undefined) {
      refuseNearMiss(name, [...known.keys()]);
      continue;
    }
    const [path, schema] = leaf;
    // Text where text is right (paths, names), else the number, truth value or list that it spells.
    const value = wrongWith(schema, text) === undefined ? text : spelled(text);
    takeOver(target, nested(path, value), { origin: 'environment', where: () => `environment ${name}` });
  }
}

/** Other programs may have BERTH_… variables of their own; one or two letters beside a setting is a slip. */
function refuseNearMiss(name: string, known: readonly string[]): void {
  const near = nearest(name, known, 2);
  if (near === undefined) return;
  throw new BerthError('BERTH_SETTINGS', `environment: there is no setting ${name}; did you mean ${near}?`, {
    step: 'settings',
    details: { key: name, where: 'environment' },
  });
}

function spelled(text: string): unknown {
  try {
    return parseYaml(text, 'environment').value;
  } catch {
    return text;
  }
}

function nested(path: KeyPath, value: unknown): unknown {
  return path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value);
}
