/** The files of an earlier generation, once more: what a rollback serves. */
import { constants } from 'node:fs';
import { cp, lstat, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { BUNDLE_NAME } from './bundle.js';
import type { StagedFiles } from './context.js';
import type { Copied } from './copy.js';
import { readStaged } from './files.js';
import { rewriteBytes, type Rewrite } from './rewrite.js';

export interface Clone {
  /** Of the files that were asked for, by path. */
  readonly contents: ReadonlyMap<string, Buffer>;
  /** Write those by themselves that stood in a bundle and do not any more. @param joined paths that stand in one now */
  finish(joined: ReadonlySet<string>): Promise<Copied>;
}

/**
 * @param staged of a generation: never changes; its symlinks are relative and stay as they are
 * @param to does not exist yet; gets everything but bundles
 * @param rewritten by the user's path
 * @param wanted whose contents to return
 */
export async function cloneMirror(
  staged: StagedFiles,
  to: string,
  rewritten: ReadonlyMap<string, Rewrite>,
  wanted: readonly string[],
): Promise<Clone> {
  await cp(staged.root, to, {
    recursive: true,
    verbatimSymlinks: true,
    errorOnExist: true,
    force: false,
    mode: constants.COPYFILE_FICLONE,
    filter: (path) => !basename(path).startsWith(BUNDLE_NAME),
  });
  const now = new Map(staged.joined);
  for (const [file, rewrite] of rewritten) now.set(file, rewriteBytes(readStaged(staged, file), rewrite));
  const contents = new Map<string, Buffer>();
  for (const file of wanted) contents.set(file, now.get(file) ?? (await readFile(join(staged.root, file))));
  return {
    contents,
    finish: async (joined) => {
      for (const [path, content] of now)
        if (!joined.has(path)) await writeFile(join(to, path), content, { mode: 0o600 });
      return describe(to, joined, contents);
    },
  };
}

async function describe(
  root: string,
  joined: ReadonlySet<string>,
  contents: ReadonlyMap<string, Buffer>,
): Promise<Copied> {
  const copied = { fileCount: joined.size, bytes: 0, written: [] as string[], directories: [root] };
  for (const path of joined) copied.bytes += contents.get(path)?.length ?? 0;
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isDirectory()) copied.directories.push(path);
    // Told of by their files.
    if (!entry.isFile() || entry.name.startsWith(BUNDLE_NAME)) continue;
    copied.written.push(path);
    copied.fileCount++;
    copied.bytes += (await lstat(path)).size;
  }
  return copied;
}
