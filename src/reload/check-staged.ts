import { BerthError } from '../errors.js';
import type { Reading, ReloadContext } from './context.js';
import type { HAProxyMessage } from './env.js';
import type { Generation } from './generations.js';

/**
 * `haproxy -c` on exactly the files that will be served.
 * @returns what HAProxy warns of, with the user's own paths
 * @throws BERTH_CONFIG_REFUSED with what HAProxy says and where
 */
export async function checkStaged(
  context: Pick<ReloadContext, 'haproxy'>,
  generation: Generation,
  reading: Reading,
): Promise<HAProxyMessage[]> {
  const { ok, messages } = await context.haproxy.check(generation.command);
  const own = messages.map((message) => inUsersWords(message, generation, reading));
  if (ok) return own;
  const alerts = own.filter(({ level }) => level === 'ALERT');
  const said = (alerts.length > 0 ? alerts : own).map(({ text }) => text);
  throw new BerthError(
    'BERTH_CONFIG_REFUSED',
    `haproxy -c refuses the configuration: ${said.slice(0, 3).join('; ') || 'it gave no reason'}`,
    {
      step: 'check',
      details: { messages: own },
    },
  );
}

function inUsersWords(message: HAProxyMessage, generation: Generation, reading: Reading): HAProxyMessage {
  const { level, file, line } = message;
  const text = generation.toOriginal(message.text);
  if (file === undefined) return { level, text };
  if (line === undefined) return { level, text, file: generation.toOriginal(file) };
  // Together: of a file joined from many it is the line that says which of them is meant.
  const [, users = file, staged = line] = /^(.*):(\d+)$/s.exec(generation.toOriginal(`${file}:${line}`)) ?? [];
  const original = reading.originalLine(users, Number(staged));
  return { level, text: text.replace(`${users}:${staged}`, `${users}:${original}`), file: users, line: original };
}
