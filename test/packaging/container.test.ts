/** The recipes for containers name what is there: files of this repository, settings that exist, the unit's capabilities. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { loadAgentSettings } from '../../src/settings.js';

const root = new URL('../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), 'utf8');
const here = (path: string) => read(`packaging/container/${path}`);

interface Service {
  readonly build: { readonly context: string; readonly dockerfile: string; readonly target: string };
  readonly cap_add: readonly string[];
  readonly volumes: readonly string[];
}
const compose = parse(here('compose.yaml')) as { readonly services: Record<'berth' | 'lbagent', Service> };

interface Mount {
  readonly name: string;
  readonly mountPath: string;
}
interface DaemonSet {
  readonly kind: string;
  readonly data?: Record<string, string>;
  readonly spec?: {
    readonly template: {
      readonly spec: {
        readonly containers: readonly { readonly volumeMounts: readonly Mount[] }[];
        readonly volumes: readonly { readonly name: string }[];
      };
    };
  };
}
const objects = parseAllDocuments(here('daemonset.yaml')).map((document) => document.toJS() as DaemonSet);

/** Lines of a Dockerfile, continued ones joined, comments left out. */
const instructions = here('Dockerfile')
  .replaceAll(/^\s*#.*\n/gm, '')
  .replaceAll(/\\\n/g, ' ')
  .split('\n')
  .filter((line) => line.trim() !== '');

test('every instruction of the Dockerfile is one, and what it copies is in the repository', () => {
  for (const line of instructions) expect(line).toMatch(/^(ARG|FROM|RUN|WORKDIR|COPY|ENTRYPOINT|CMD) \S/);
  const copied = instructions
    .filter((line) => line.startsWith('COPY ') && !line.includes('--from='))
    .flatMap((line) => line.split(/\s+/).slice(1, -1));
  expect(copied).toEqual(expect.arrayContaining(['package.json', 'native', 'src', 'bin/berth-haproxy']));
  expect(copied.filter((path) => !existsSync(fileURLToPath(new URL(path, root))))).toEqual([]);
});

test('compose builds stages that exist', () => {
  const stages = instructions.flatMap((line) => / AS (\w+)$/.exec(line)?.[1] ?? []);
  for (const { build } of Object.values(compose.services)) {
    expect(stages).toContain(build.target);
    expect(build).toMatchObject({ context: '../..', dockerfile: 'packaging/container/Dockerfile' });
  }
});

test('the capabilities are those of the systemd unit', () => {
  const unit = [...read('packaging/systemd/berth.service').matchAll(/^CapabilityBoundingSet=(.*)$/gm)]
    .flatMap(([, names = '']) => names.split(' '))
    .map((name) => name.replace(/^CAP_/, ''));
  for (const { cap_add: added } of Object.values(compose.services)) expect([...added].sort()).toEqual(unit.sort());
});

test('both containers see the same files at the same paths', () => {
  const shared = (service: Service) =>
    service.volumes.filter((volume) => !volume.includes('berth.yaml')).map((volume) => volume.split(':')[1]);
  expect(shared(compose.services.lbagent)).toEqual(shared(compose.services.berth));
});

test('the settings of both recipes are settings of Berth, and the same', () => {
  const file = fileURLToPath(new URL('packaging/container/berth.yaml', root));
  expect(loadAgentSettings({ file, environment: {} })).toMatchObject({ tcp: '127.0.0.1:9180' });
  const map = objects.find(({ kind }) => kind === 'ConfigMap');
  expect(parse(map?.data?.['berth.yaml'] ?? '')).toEqual(parse(here('berth.yaml')));
});

test('every volume of the DaemonSet is declared and used', () => {
  const pod = objects.find(({ kind }) => kind === 'DaemonSet')?.spec?.template.spec;
  const used = pod?.containers.flatMap(({ volumeMounts }) => volumeMounts.map(({ name }) => name));
  expect(used?.sort()).toEqual(pod?.volumes.map(({ name }) => name).sort());
});
