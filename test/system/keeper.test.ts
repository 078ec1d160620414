/** Listeners that survive HAProxy: the agent holds its sockets and starts it again. */
import { afterEach, describe, expect, it } from 'vitest';
import { startAgent, type RunningAgent } from '../../src/agent/agent.js';
import type { AgentEvent } from '../../src/agent/contract.js';
import { openLog } from '../../src/agent/log.js';
import { cannotRun, configuration, haproxyBinaries, Lab } from '../support/haproxy.js';

const why = cannotRun();

describe.skipIf(why !== undefined).each(haproxyBinaries())('keeper with HAProxy $version', ({ path }) => {
  const open: { agent?: RunningAgent; lab?: Lab } = {};
  afterEach(async () => {
    await open.agent?.stop();
    await open.lab?.close();
  });

  it('a killed HAProxy is started again with the very sockets it had', async () => {
    const lab = (open.lab = await Lab.open());
    const file = lab.write('haproxy.cfg', configuration(['127.0.0.1:8001', '127.0.0.1:8002', '127.0.0.1:8003']));
    const events: AgentEvent[] = [];
    const lines: string[] = [];
    const running = (open.agent = await startAgent({
      flags: {
        stateDir: lab.path('state'),
        netns: lab.netns,
        sources: [file],
        haproxy: { binary: path, pidFile: lab.path('haproxy.pid') },
        agent: { socket: lab.path('agent.sock') },
      },
      environment: { PATH: process.env['PATH'] },
      version: '0.0.0',
      log: openLog({ level: 'info', destination: { write: (line) => void lines.push(line) } }),
    }));
    running.agent.subscribe((event) => void events.push(event));
    const instance = running.agent.instances.get('default');
    console.log(lines.join(''));
    console.log(JSON.stringify(instance?.state));
    const pid = instance?.state.haproxy?.pid ?? 0;
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => events.map(({ type }) => type), { timeout: 5000 }).toContain('haproxy-restarted');
    console.log(JSON.stringify(events));
    console.log(JSON.stringify(instance?.state));
  });
});
