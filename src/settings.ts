/**
 * Berth's own settings: defaults, then lbagent.conf, then a YAML file, then the environment
 * (`BERTH_CONFLICTS_WAIT_DEADLINE_MS`), then flags; the later one wins. A key that does not exist is refused by name,
 * wherever it stands.
 */
import { isDeepStrictEqual } from 'node:util';
import { takeEnvironment } from './settings/environment.js';
import { readSettingsFile, type FileSources } from './settings/file.js';
import {
  chooseInstance,
  DEFAULT_INSTANCE,
  refuseShared,
  settle,
  splitInstances,
  takeFile,
  type FileTree,
} from './settings/instances.js';
import { lbagentSource, readLbagentConf, settingsOfLbagent } from './settings/lbagent-conf.js';
import { leaves, takeOver, type Given, type KeyPath, type Origin } from './settings/read.js';
import type { Settings } from './settings/schema.js';
import { parseYaml } from './settings/yaml.js';

export { environmentName } from './settings/environment.js';
export { DEFAULT_SETTINGS_FILE } from './settings/file.js';
export { DEFAULT_INSTANCE } from './settings/instances.js';
export { settingsJsonSchema } from './settings/json-schema.js';
export { policySchema, withPolicy, type Policy } from './settings/policy.js';
export type { Origin } from './settings/read.js';
export type { Settings } from './settings/schema.js';

export interface SettingsSources extends FileSources {
  /** Nested as in the file; undefined values count as not given. */
  readonly flags?: Readonly<Record<string, unknown>>;
}

export interface InstanceSources extends SettingsSources {
  /** Which section of `instances`; may be absent where there is but one. */
  readonly instance?: string | undefined;
}

export interface ExplainedSetting {
  /** With dots: `conflicts.wait.deadlineMs`. */
  readonly key: string;
  /** In effect; undefined where there is no default. */
  readonly value: unknown;
  readonly origin: Origin;
  /** `default`, `/etc/berth/berth.yaml line 3`, `environment BERTH_NETNS`, `options`. */
  readonly where: string;
}

/**
 * All settings of one instance, each with its value from the strongest source that has one.
 * @throws BERTH_SETTINGS naming the source (file and line), the key and the value
 */
export function loadSettings(sources: InstanceSources = {}): Settings {
  return settle(givenFor(sources));
}

/**
 * The settings of every instance by name, in the order of the file; one called `default` where it has no `instances`.
 * @throws BERTH_SETTINGS as {@link loadSettings}, and where two instances have one state directory, pid file or master socket
 */
export function loadInstances(sources: SettingsSources = {}): ReadonlyMap<string, Settings> {
  const tree = readTree(sources);
  const names = [...(tree?.sections?.keys() ?? [DEFAULT_INSTANCE])];
  const given = new Map(names.map((name) => [name, withLbagentConf(collect(sources, tree, name))]));
  refuseShared(given);
  return new Map([...given].map(([name, values]) => [name, settle(values)]));
}

/** The settings of the agent, whichever instances there are: what a client needs to reach it. */
export function loadAgentSettings(sources: SettingsSources = {}): Settings['agent'] {
  const tree = readTree(sources);
  return settle(collect(sources, tree && { ...tree, sections: undefined }, DEFAULT_INSTANCE)).agent;
}

/** Every setting of one instance with where it comes from, in the order of the schema. */
export function explainSettings(sources: InstanceSources = {}): readonly ExplainedSetting[] {
  const given = givenFor(sources);
  const settings = settle(given);
  return leaves().map(([path]) => {
    const key = path.join('.');
    const { origin, where } = given.get(key) ?? { origin: 'default', where: 'default' };
    return { key, value: valueAt(settings, path), origin, where };
  });
}

/** Keys, with dots, that differ: what a new reading of the settings changes. */
export function changedSettings(before: Settings, after: Settings): readonly string[] {
  return leaves()
    .filter(([path]) => !isDeepStrictEqual(valueAt(before, path), valueAt(after, path)))
    .map(([path]) => path.join('.'));
}

function givenFor(sources: InstanceSources): Given {
  const tree = readTree(sources);
  return withLbagentConf(collect(sources, tree, chooseInstance(tree, sources.instance)));
}

function readTree(sources: SettingsSources): FileTree | undefined {
  const read = readSettingsFile(sources);
  if (read === undefined) return undefined;
  const { value, lineOf } = parseYaml(read.text, read.file);
  const where = (path: KeyPath) => (path.length === 0 ? read.file : `${read.file} line ${lineOf(path)}`);
  return splitInstances(read.file, value, { origin: 'file', where });
}

/** Weakest first. */
function collect({ environment = {}, flags = {} }: SettingsSources, tree: FileTree | undefined, name: string): Given {
  const given: Given = new Map();
  if (tree !== undefined) takeFile(given, tree, name);
  takeEnvironment(given, environment);
  takeOver(given, flags, { origin: 'option', where: () => 'options' });
  return given;
}

/** lbagent.conf is weaker than all others, which say where it is. */
function withLbagentConf(given: Given): Given {
  const conf = given.get('lbagent.conf');
  if (conf === undefined) return given;
  const lbagent = readLbagentConf(conf.value as string);
  const below: Given = new Map();
  takeOver(below, settingsOfLbagent(lbagent), lbagentSource(lbagent));
  return new Map([...below, ...given]);
}

function valueAt(settings: Settings, path: KeyPath): unknown {
  return path.reduce<unknown>((place, key) => (place as Record<string, unknown> | undefined)?.[key], settings);
}
