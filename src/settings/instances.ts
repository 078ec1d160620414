/** Several HAProxies on one host: each a section below `instances`, with the top level as the defaults of all. */
import { join, resolve } from 'node:path';
import { BerthError } from '../errors.js';
import { nearest } from './nearest.js';
import { isTree, takeOver, treeOf, wrongValue, type Given, type Source, type Tree } from './read.js';
import { settingsSchema } from './schema.js';

/** Name of the instance of a file without `instances`. */
export const DEFAULT_INSTANCE = 'default';

/** It becomes the name of a directory and a label of the metrics. */
export const INSTANCE_NAME = /^[a-z0-9][a-z0-9_.-]{0,63}$/;

/** A section may hold every setting but those of the agent, of which there is one. */
export const { agent: agentSchema, ...instanceShape } = settingsSchema.shape;

/** What a settings file says, not yet resolved for an instance. */
export interface FileTree {
  readonly file: string;
  readonly source: Source;
  readonly top: Tree;
  /** undefined where the file has no `instances`. */
  readonly sections: ReadonlyMap<string, Tree> | undefined;
}

/** @throws BERTH_SETTINGS on a section that is none, a name that is none, or settings of the agent in a section */
export function splitInstances(file: string, value: unknown, source: Source): FileTree {
  const tree = value ?? {};
  if (!isTree(tree) || !Object.hasOwn(tree, 'instances'))
    return { file, source, top: tree as Tree, sections: undefined };
  const { instances, ...top } = tree;
  const path = ['instances'];
  if (!isTree(instances) || Object.keys(instances).length === 0) {
    throw wrongValue(source.where(path), path, instances, 'must hold names, each with its settings');
  }
  const sections = new Map<string, Tree>();
  for (const [name, section] of Object.entries(instances)) {
    const place = [...path, name];
    const wrong = (problem: string) => wrongValue(source.where(place), place, section, problem);
    if (!INSTANCE_NAME.test(name)) throw wrong('a name is made of a-z, 0-9, dot, dash and underscore; at most 64');
    // `web:` with nothing below it: everything as at the top level.
    const settings = section ?? {};
    if (!isTree(settings)) throw wrong('must hold keys and values');
    if (Object.hasOwn(settings, 'agent')) {
      const agent = [...place, 'agent'];
      const problem = 'there is one agent for all instances; its settings stand at the top level';
      throw wrongValue(source.where(agent), agent, settings['agent'], problem);
    }
    sections.set(name, settings);
  }
  return { file, source, top, sections };
}

/** The name itself, or the only one where none is asked for. @throws BERTH_SETTINGS where that is not clear */
export function chooseInstance(tree: FileTree | undefined, asked: string | undefined): string {
  const names = [...(tree?.sections?.keys() ?? [DEFAULT_INSTANCE])];
  const [only] = names;
  if (asked === undefined && names.length === 1 && only !== undefined) return only;
  if (asked !== undefined && names.includes(asked)) return asked;
  const where = tree?.file ?? 'the settings';
  const error = (message: string, advice: string) =>
    new BerthError('BERTH_SETTINGS', message, { step: 'settings', advice, details: { where, instances: names } });
  if (asked === undefined) {
    throw error(`${where}: there are ${names.length} instances: ${names.join(', ')}`, 'Say which: --instance NAME');
  }
  const near = nearest(asked, names);
  const hint = near === undefined ? `there is ${names.join(', ')}` : `did you mean ${near}?`;
  throw error(`${where}: there is no instance ${asked.slice(0, 64)}; ${hint}`, 'Correct --instance');
}

/** Top level and section of one instance, which has a state directory of its own below that of the top level. */
export function takeFile(target: Given, tree: FileTree, instance: string): void {
  takeOver(target, tree.top, tree.source);
  const section = tree.sections?.get(instance);
  if (section === undefined) return;
  const base = target.get('stateDir');
  target.set('stateDir', {
    value: join((base?.value ?? settingsSchema.shape.stateDir.parse(undefined)) as string, instance),
    origin: base?.origin ?? 'default',
    where: base?.where ?? 'default',
  });
  takeOver(target, section, tree.source, { shape: instanceShape, above: ['instances', instance] });
}

/** What no two instances may share: a state, or a HAProxy. */
const OWN = ['stateDir', 'haproxy.pidFile', 'haproxy.masterSocket'] as const;

/** @throws BERTH_SETTINGS naming both instances */
export function refuseShared(instances: ReadonlyMap<string, Given>): void {
  for (const key of OWN) {
    const owners = new Map<string, string>();
    for (const [name, given] of instances) {
      const found = given.get(key);
      if (found === undefined) continue;
      const path = resolve(found.value as string);
      const other = owners.get(path);
      if (other !== undefined) {
        const message = `${found.where}: the instances ${other} and ${name} have one ${key}, ${path}; each needs its own`;
        throw new BerthError('BERTH_SETTINGS', message, {
          step: 'settings',
          details: { key, where: found.where, instances: [other, name] },
        });
      }
      owners.set(path, name);
    }
  }
}

/** Values as {@link treeOf}, checked once more and with the defaults. */
export function settle(given: Given) {
  return settingsSchema.parse(treeOf(given));
}
