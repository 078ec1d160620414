/** What differs between two generations: the configuration's files line by line, what they refer to, the listeners. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { StagedFiles } from './context.js';
import { errnoOf, readStaged } from './files.js';
import { readListeners, stagedFiles, type Generation, type ListenerRecord } from './generations.js';
import type { DiffReport } from './reports.js';
import { unifiedDiff } from './text-diff.js';

/** Errors: BERTH_STATE_DIR where a generation's own files are damaged; a file that is missing in the mirror reads as absent. */
export async function diffGenerations(from: Generation, to: Generation): Promise<DiffReport> {
  const configuration = new Set([...from.manifest.files, ...to.manifest.files]);
  const [old, now] = await Promise.all([stagedFiles(from), stagedFiles(to)]);
  const files: DiffReport['files'][number][] = [];
  for (const file of configuration) {
    const [before, after] = [textOf(old, file), textOf(now, file)];
    if (before !== after)
      files.push({ file, change: changeOf(before, after), patch: unifiedDiff(file, before, after) });
  }
  const [before, after] = await Promise.all([referencedFiles(from), referencedFiles(to)]);
  for (const file of [...new Set([...before, ...after])].sort()) {
    if (configuration.has(file)) continue;
    const [first, second] = await Promise.all([digestOf(from, file), digestOf(to, file)]);
    if (first?.digest === second?.digest) continue;
    const size = (of: typeof first): string => (of === undefined ? 'absent' : `${of.bytes} bytes`);
    const patch = `Referenced file ${file}: ${size(first)} -> ${size(second)}\n`;
    files.push({ file, change: changeOf(first, second), patch });
  }
  return {
    from: from.number,
    to: to.number,
    files,
    listeners: diffListeners(await readListeners(from), await readListeners(to)),
  };
}

function changeOf(before: unknown, after: unknown): 'added' | 'removed' | 'changed' {
  return before === undefined ? 'added' : after === undefined ? 'removed' : 'changed';
}

function diffListeners(from: readonly ListenerRecord[], to: readonly ListenerRecord[]): DiffReport['listeners'] {
  const [before, after] = [sectionsByEndpoint(from), sectionsByEndpoint(to)];
  return {
    added: [...after.keys()].filter((endpoint) => !before.has(endpoint)),
    removed: [...before.keys()].filter((endpoint) => !after.has(endpoint)),
    changed: [...before].flatMap(([endpoint, section]) => {
      const now = after.get(endpoint);
      return now === undefined || now === section ? [] : [{ endpoint, from: section, to: now }];
    }),
  };
}

function sectionsByEndpoint(listeners: readonly ListenerRecord[]): Map<string, string> {
  const sections = new Map<string, string>();
  for (const { endpoint, section } of listeners) {
    const known = sections.get(endpoint);
    sections.set(endpoint, known === undefined ? section : `${known}, ${section}`);
  }
  return sections;
}

function textOf(staged: StagedFiles, file: string): string | undefined {
  try {
    return readStaged(staged, file).toString('utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** All regular files that the generation's references stand for, by the user's paths. */
async function referencedFiles(generation: Generation): Promise<string[]> {
  const found = await Promise.all(generation.manifest.references.map((path) => filesBelow(generation, path)));
  return found.flat();
}

async function filesBelow(generation: Generation, path: string): Promise<string[]> {
  const stats = await ifThere(lstat(generation.staged(path)));
  if (stats?.isFile()) return [path];
  if (!stats?.isDirectory()) return [];
  const names = await readdir(generation.staged(path));
  return (await Promise.all(names.map((name) => filesBelow(generation, join(path, name))))).flat();
}

async function digestOf(generation: Generation, file: string): Promise<{ digest: string; bytes: number } | undefined> {
  const hash = createHash('sha256');
  let bytes = 0;
  const read = async (): Promise<{ digest: string; bytes: number }> => {
    for await (const chunk of createReadStream(generation.staged(file)) as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
    }
    return { digest: hash.digest('hex'), bytes };
  };
  return ifThere(read());
}

async function ifThere<T>(result: Promise<T>): Promise<T | undefined> {
  try {
    return await result;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
