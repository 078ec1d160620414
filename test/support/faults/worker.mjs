// One reload in a process of its own, which ends itself by SIGKILL at one call.
// argv: directory of the transpiled sources, JSON of { root, settings, request, at: { phase, name, nth } }
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [directory, json] = process.argv.slice(2);
const { root, settings, request, at } = JSON.parse(json);
const load = (module) => import(pathToFileURL(join(directory, `${module}.js`)).href);
const { watchedReload } = await load('test/support/faults/reload');
await watchedReload({ root, settings, request }, ({ phase, name, nth }) => {
  if (phase === at.phase && name === at.name && nth === at.nth) process.kill(process.pid, 'SIGKILL');
});
