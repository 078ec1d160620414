/** The parts in the order in which they run: the shorter and surer ones first, so that a slow machine loses the least. */
import { burst, change, preflight, restart } from './agent.mjs';
import { rest } from './agent-rest.mjs';
import { connections, generations, listeners } from './curves.mjs';
import { conflict } from './conflict.mjs';
import { dropIn } from './drop-in.mjs';
import { probe, tables } from './kernel.mjs';
import { peers } from './peers.mjs';
import { read, reload } from './reload.mjs';

/**
 * @typedef {object} Part
 * @property {(bench: import('../measure.mjs').Bench) => Promise<void>} run
 * @property {string} file
 * @property {number} rounds
 * @property {number} seconds after which no further round begins; after twice as many, and a bit, it is ended
 */

/** @type {Record<string, Part>} */
export const PARTS = {
  probe: { run: probe, file: 'kernel', rounds: 7, seconds: 30 },
  tables: { run: tables, file: 'kernel', rounds: 7, seconds: 25 },
  read: { run: read, file: 'reload', rounds: 7, seconds: 10 },
  reload: { run: reload, file: 'reload', rounds: 7, seconds: 30 },
  conflict: { run: conflict, file: 'conflict', rounds: 3, seconds: 25 },
  peers: { run: peers, file: 'peers', rounds: 5, seconds: 30 },
  preflight: { run: preflight, file: 'agent', rounds: 25, seconds: 10 },
  restart: { run: restart, file: 'agent', rounds: 5, seconds: 20 },
  change: { run: change, file: 'agent', rounds: 5, seconds: 30 },
  generations: { run: generations, file: 'curves', rounds: 3, seconds: 20 },
  listeners: { run: listeners, file: 'curves', rounds: 3, seconds: 45 },
  connections: { run: connections, file: 'curves', rounds: 3, seconds: 45 },
  rest: { run: rest, file: 'agent-rest', rounds: 1, seconds: 155 },
  burst: { run: burst, file: 'agent', rounds: 1, seconds: 15 },
  dropIn: { run: dropIn, file: 'drop-in', rounds: 3, seconds: 30 },
};
