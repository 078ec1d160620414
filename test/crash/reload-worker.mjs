// One reload in a process of its own, ended by SIGKILL at a record of the journal: before it is written, or after.
// argv: directory of the transpiled sources, JSON of { failpoint, settings, request }
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [directory, json] = process.argv.slice(2);
const { failpoint, settings, request } = JSON.parse(json);
const load = (module) => import(pathToFileURL(join(directory, `${module}.js`)).href);
const { openHost } = await load('host');
const { reload } = await load('reload/reload');
const { Journal } = await load('reload/journal');

const host = await openHost({ settings });
const context = await host.writing();
const killAt = (name) => name === failpoint && process.kill(process.pid, 'SIGKILL');
const openJournal = () => Journal.open(context.state.journal, { failpoint: killAt });
await reload({ ...context, openJournal }, request);
await host.close();
