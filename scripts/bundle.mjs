/**
 * The commands in few files: Node takes half a millisecond for each module that it loads, and `berth reload` has 300 of them.
 * Puts the bundled cli/main.js and lbagent/main.js in the place of those that the compiler made; what they share, and what a
 * verb needs alone, goes into command/. All else of the directory stays as it is, for the library.
 *
 * usage: node scripts/bundle.mjs DIST
 */
import { dirname, join, resolve } from 'node:path';
import process from 'node:process';
import { rolldown } from 'rolldown';

/** The packages that each verb needs. The others are the agent's, and are loaded from where they are installed. */
const WITHIN = /^(zod|commander|picocolors)$/;

/** Says of a file which packages are in it. */
function banner(/** @type {import('rolldown').RenderedChunk} */ { moduleIds }) {
  const packages = new Set(moduleIds.flatMap((path) => /node_modules\/([^/]+)\//.exec(path)?.[1] ?? []));
  return packages.size === 0 ? '' : `// Packages within: ${[...packages].join(', ')}`;
}

const dist = resolve(process.argv[2] ?? 'dist');
const bundle = await rolldown({
  input: Object.fromEntries(['cli/main', 'lbagent/main'].map((name) => [name, join(dist, `${name}.js`)])),
  platform: 'node',
  // Comments name each module from here, so that a package is the same wherever it is built.
  cwd: dirname(dist),
  external: (id) => /^[@\w]/.test(id) && !WITHIN.test(id),
});
// As deep as the files that look for others of the package from where they stand.
await bundle.write({ dir: dist, entryFileNames: '[name].js', chunkFileNames: 'command/[name].js', postBanner: banner });
await bundle.close();
