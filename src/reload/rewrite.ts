/** What Berth changes of the user's text, in its copy alone: addresses left out, `v6only` said, `source` lines added. */
import type { Bind, UnknownBind } from '../model/bind.js';
import type { Reading } from './context.js';
import { withoutBinds } from './quarantine.js';
import { linesWithoutV6only, withV6only } from './v6only.js';

/** One character a byte: a file need not be UTF-8, and what is not touched must not change. */
export type Rewrite = (text: string) => string;

export function rewriteBytes(content: Buffer, rewrite: Rewrite): Buffer {
  return Buffer.from(rewrite(content.toString('latin1')), 'latin1');
}

/**
 * By absolute path. What keeps the numbers of the lines comes first, since the places are those of the user's file.
 * @param leftOut of the reading's binds, the same objects
 */
export function rewrites(
  { listeners, hardened }: Pick<Reading, 'listeners' | 'hardened'>,
  leftOut: readonly Bind[],
  absolute: (file: string) => string,
): Map<string, Rewrite> {
  const changes = new Map<string, Rewrite>();
  const add = (file: string, change: Rewrite): void => {
    const before = changes.get(file);
    changes.set(file, before === undefined ? change : (text) => change(before(text)));
  };
  const [binds, unknown] = [byFile(listeners.binds), byFile(listeners.unknown)];
  for (const [file, gone] of byFile(leftOut)) {
    const own = { binds: binds.get(file) ?? [], unknown: unknown.get(file) ?? [] };
    add(absolute(file), (text) => withoutBinds(own, gone, () => text).get(file) ?? text);
  }
  for (const [file, lines] of linesWithoutV6only(listeners.binds))
    add(absolute(file), (text) => withV6only(text, lines));
  for (const [file, change] of hardened) add(file, change);
  return changes;
}

function byFile<T extends Bind | UnknownBind>(binds: readonly T[]): Map<string, T[]> {
  const files = new Map<string, T[]>();
  for (const bind of binds) {
    const known = files.get(bind.place.file);
    if (known) known.push(bind);
    else files.set(bind.place.file, [bind]);
  }
  return files;
}
