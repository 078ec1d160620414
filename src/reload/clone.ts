/** The mirror of an earlier generation, once more: what a rollback serves. */
import { constants } from 'node:fs';
import { cp, lstat, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BUNDLE_NAME } from './bundle.js';

export interface Copied {
  readonly fileCount: number;
  readonly bytes: number;
  /** Files and directories of the copy, absolute. */
  readonly written: readonly string[];
  readonly directories: readonly string[];
}

/**
 * @param from `root` of a generation, which never changes; its symlinks are relative and stay as they are
 * @param to does not exist yet
 * @param rewritten new content by absolute path below the root
 */
export async function cloneMirror(
  from: string,
  to: string,
  rewritten: ReadonlyMap<string, string | Buffer>,
): Promise<Copied> {
  await cp(from, to, {
    recursive: true,
    verbatimSymlinks: true,
    errorOnExist: true,
    force: false,
    mode: constants.COPYFILE_FICLONE,
  });
  for (const [path, content] of rewritten) await writeFile(join(to, path), content);
  const copied = { fileCount: 0, bytes: 0, written: [] as string[], directories: [to] };
  for (const entry of await readdir(to, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isDirectory()) copied.directories.push(path);
    if (!entry.isFile()) continue;
    // Joined anew from its files, which may have been rewritten.
    if (entry.name === BUNDLE_NAME) await rm(path);
    else {
      copied.written.push(path);
      copied.fileCount++;
      copied.bytes += (await lstat(path)).size;
    }
  }
  return copied;
}
