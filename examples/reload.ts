/**
 * Reload with progress, and roll back where the new listeners do not please.
 *
 *   node reload.js STATE_DIR CONFIG…
 */
import { BerthError, openBerth } from 'berthd';

const [stateDir = '/var/lib/berth', ...sources] = process.argv.slice(2);
const berth = await openBerth({
  settings: { stateDir },
  observer: (event) => {
    if (event.type === 'phase' && event.state === 'end') console.log(`${event.name} ${(event.ms ?? 0).toFixed(0)} ms`);
  },
});
try {
  const report = await berth.reload(sources);
  console.log(
    `generation ${report.generation}: ${report.listeners.served} listeners served by haproxy[${report.haproxy.pid}]`,
  );
  for (const { sentence } of report.quarantined) console.log(`left out: ${sentence}`);
  if (report.outcome === 'served-in-part' && report.previous !== undefined) await berth.rollback(report.previous);
} catch (error) {
  if (!(error instanceof BerthError)) throw error;
  console.error(`${error.code} at ${error.step}: ${error.message}. ${error.advice}`);
  process.exitCode = error.exitStatus;
} finally {
  await berth.close();
}
