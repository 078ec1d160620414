import { BerthError } from '../errors.js';
import type { ReloadContext } from './context.js';
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
): Promise<HAProxyMessage[]> {
  const { ok, messages } = await context.haproxy.check(generation.command);
  const own = messages.map((message) => inUsersWords(message, generation));
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

function inUsersWords(message: HAProxyMessage, { toOriginal }: Generation): HAProxyMessage {
  const { level, text, file, line } = message;
  return {
    level,
    text: toOriginal(text),
    ...(file === undefined ? {} : { file: toOriginal(file) }),
    ...(line === undefined ? {} : { line }),
  };
}
