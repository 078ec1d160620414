/**
 * A gate before a deploy: exit status 0 only if a reload of this configuration would serve every listener.
 *
 *   node gate.js /etc/haproxy/haproxy.cfg
 */
import { preflight } from 'berthd';

const report = await preflight(process.argv.slice(2));
for (const { servable, sentence, place } of report.listeners) {
  if (!servable) console.error(`${place ? `${place.file}:${place.line}: ` : ''}${sentence}`);
}
for (const { first, second, reason } of report.conflicts) {
  console.error(`${first.place.file}:${first.place.line} and ${second.place.file}:${second.place.line}: ${reason}`);
}
for (const message of report.check?.ok === false ? report.check.messages : []) console.error(message);
process.exitCode = report.ok ? 0 : 1;
