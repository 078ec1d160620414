/** fast-check for tests that do not name a seed: new cases each time, but for CI, where a run judges the change alone. */
import fc from 'fast-check';
import { SEED } from './figures.js';

if (process.env['CI'] === 'true') fc.configureGlobal({ seed: SEED });

export default fc;
