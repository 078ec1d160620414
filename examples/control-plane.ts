/**
 * Ask before you accept: a control plane offers an address and a range of ports, and takes the first that is free and
 * that no outgoing connection can be given.
 *
 *   node control-plane.js 169.254.0.101 58000-58100
 */
import { preflight } from 'berthd';

const [address = '127.0.0.1', ports = '8000-8100'] = process.argv.slice(2);
const { listeners } = await preflight([`tcp:${address}:${ports}`]);
const chosen =
  listeners.find(({ verdict, exposed }) => verdict.kind === 'free' && !exposed) ??
  listeners.find(({ verdict }) => verdict.kind === 'free');
if (chosen) console.log(chosen.name);
else {
  for (const { sentence } of listeners) console.error(sentence);
  process.exitCode = 1;
}
