/**
 * The reload as Cloudpods' lbagent does it (pkg/lbagent, haproxy helper): reload with -sf and -x; where that fails,
 * SIGKILL the running HAProxy, wait up to 3 s for it to vanish, start anew. No check before, no way back.
 */
import { existsSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isHAProxy, kill } from './lab.mjs';
import { run } from './run.mjs';

const VANISH_MS = 3000;
const VANISH_POLL_MS = 10;

/**
 * @param {import('./lab.mjs').Lab} lab
 * @param {(text: string) => void} say
 * @returns {Promise<{ served: boolean, steps: { step: string, status: number, seconds: number, stderr: string }[] }>}
 */
export async function lbagentReload(lab, say) {
  const base = [...lab.inside, lab.haproxy, '-D', '-p', lab.pidFile, '-C', lab.current, '-f', lab.current];
  const steps = [];
  let old = 0;
  try {
    old = lab.pid();
  } catch {
    // No pid file: nothing runs.
  }
  if (old > 0 && !isHAProxy(old)) {
    rmSync(lab.pidFile, { force: true });
    old = 0;
  }
  if (old > 0) {
    const socket = existsSync(lab.statsSocket) ? ['-x', lab.statsSocket] : [];
    say(`haproxy -sf ${old} ${socket.length > 0 ? '-x haproxy.sock' : ''}`.trim());
    const reload = await run([...base, '-sf', String(old), ...socket], lab.log('haproxy-reload'));
    steps.push({ step: 'reload', ...reload });
    if (reload.status === 0) return { served: true, steps };
    say(`the reload failed (exit status ${reload.status}): ${alert(reload.stderr)}`);
    say(`SIGKILL to ${old}`);
    kill(old, 'SIGKILL');
    for (let waited = 0; isHAProxy(old) && waited < VANISH_MS; waited += VANISH_POLL_MS) await sleep(VANISH_POLL_MS);
  }
  const start = await run(base, lab.log('haproxy-start'));
  steps.push({ step: 'start', ...start });
  if (start.status !== 0) say(`the start failed too (exit status ${start.status}): ${alert(start.stderr)}`);
  return { served: start.status === 0, steps };
}

/** What HAProxy says is the matter, without the path of the demo's directory. */
function alert(/** @type {string} */ stderr) {
  const line = stderr.split('\n').find((one) => one.includes('cannot bind')) ?? stderr;
  return line.replace(/^.*?Binding \[.*\/.*?\] /, '');
}
