/**
 * One replay of the incident, from an empty host to the counts. Runs as a child of main.mjs inside fresh network, pid
 * and mount namespaces; reports by IPC: `{ say }`, `{ state }`, and at the end `{ result }`.
 */
import { writeFileSync } from 'node:fs';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { berthPreflight, berthReload } from './berth.mjs';
import { FRESH_PORT, OUTER, openLab } from './lab.mjs';
import { lbagentReload } from './lbagent.mjs';
import { ask, heard, must } from './run.mjs';

const SAMPLE_MS = 25;
const BASELINE_MS = 4000;

/** @typedef {{ how: 'lbagent' | 'berth', directory: string, listeners: number, rate: number, held: number, watchSeconds: number, haproxy: string }} Replay */

const say = (/** @type {string} */ text) => process.send?.({ say: text });

async function replay(/** @type {Replay} */ options) {
  const lab = await openLab(options);
  lab.publish('before');
  await must(
    [...lab.inside, lab.haproxy, '-D', '-p', lab.pidFile, '-C', lab.current, '-f', lab.current],
    lab.log('haproxy-first'),
  );
  say(`HAProxy ${lab.pid()} serves ${lab.ports.length} listeners on ${OUTER}`);
  const conflict = await lab.seedConflict();
  say(`its own connection sits on the port of the next listener: ${conflict.replace(/\s+/g, ' ')}`);
  await lab.holdMore(options.held - 1);

  const watch = lab.watcher();
  let began = Infinity;
  watch.on('message', (/** @type {any} */ message) => {
    if ('up' in message) process.send?.({ state: { ...message, seconds: (message.at - began) / 1000 } });
  });
  watch.send({ address: OUTER, ports: lab.ports, fresh: FRESH_PORT, everyMs: SAMPLE_MS });
  await ask(lab.clients, { do: 'start', address: OUTER, ports: lab.ports, rate: options.rate });
  say(`${options.rate} new connections a second, ${options.held} long ones`);
  await sleep(BASELINE_MS);

  lab.publish('after');
  if (options.how === 'berth') await berthPreflight(lab, say);
  say(`a user creates ${OUTER}:${FRESH_PORT}`);
  began = monotonic();
  const done = options.how === 'lbagent' ? await lbagentReload(lab, say) : await berthReload(lab, say);
  const reloadSeconds = (monotonic() - began) / 1000;
  say(
    `${done.served ? 'reported as served' : 'reported as failed'}, ${reloadSeconds.toFixed(2)} s after it began; watching for ${options.watchSeconds} s more`,
  );
  await sleep(options.watchSeconds * 1000);

  watch.send({ stop: true });
  const { summary } = await heard(watch, (message) => message.summary);
  const clients = await ask(lab.clients, { do: 'stop' });
  const { served } = await ask(lab.clients, { do: 'probe', address: OUTER, port: FRESH_PORT });
  const [seeded] = clients.held;
  const result = {
    how: options.how,
    listeners: lab.ports.length,
    watched: { seconds: summary.seconds, samples: summary.samples, everyMs: SAMPLE_MS },
    reload: { reportedServed: done.served, seconds: reloadSeconds, steps: done.steps },
    down: { listenerSeconds: summary.listenerSeconds, worst: summary.worst, atEnd: lab.ports.length - summary.up },
    connections: {
      ...clients.short,
      held: clients.held.length,
      heldLost: clients.held.filter((/** @type {{ alive: boolean }} */ one) => !one.alive).length,
    },
    fresh: {
      port: FRESH_PORT,
      served,
      afterSeconds: summary.freshAt === null ? null : (summary.freshAt - began) / 1000,
    },
    seeded: { source: seeded.source, alive: seeded.alive, why: seeded.why },
    conflict,
  };
  writeFileSync(`${options.directory}/result.json`, `${JSON.stringify(result, null, 2)}\n`);
  process.send?.({ result });
}

const monotonic = () => Number(process.hrtime.bigint()) / 1e6;

process.once('message', (/** @type {Replay} */ options) => {
  replay(options).then(
    () => process.exit(0),
    (/** @type {Error} */ error) => {
      process.send?.({ error: error.message }, () => process.exit(1));
    },
  );
});
process.once('disconnect', () => process.exit());
