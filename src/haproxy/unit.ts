/** Whether the service manager ended a HAProxy because somebody asked it to. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const LIMIT_MS = 5_000;

/**
 * Is this unit being stopped, or was it, on purpose? systemd tells by `Result` (systemd.service(5)): `success` after a stop,
 * `signal`, `core-dump`, `oom-kill` or `exit-code` after a death. False where there is no systemd to ask.
 * @param unit `haproxy.service`
 */
export async function wasStopped(unit: string, environment: NodeJS.ProcessEnv = process.env): Promise<boolean> {
  if (!unit.endsWith('.service')) return false;
  try {
    const words = ['show', '--property=ActiveState', '--property=Result', '--', unit];
    const { stdout } = await promisify(execFile)('systemctl', words, { timeout: LIMIT_MS, env: environment });
    const state = /^ActiveState=(.*)$/m.exec(stdout)?.[1] ?? '';
    return /^Result=success$/m.test(stdout) && (state === 'deactivating' || state === 'inactive');
  } catch {
    return false;
  }
}
