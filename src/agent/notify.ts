/**
 * What the service manager is told (sd_notify(3)): when the agent is ready, what it does, that it lives. A watchdog
 * message goes out only while every instance is reconciled in time, so that an agent that hangs is started anew; HAProxy
 * does not notice.
 */
import type { Agent } from './contract.js';

export interface Notifier {
  /** The settings are read anew; {@link ready} ends that. */
  reloading(): void;
  ready(): void;
  /** The last word; nothing is sent afterwards. */
  stopping(): void;
}

export interface NotifyOptions {
  /** Sends one message to the service manager; false where there is none. */
  readonly notify: (message: string) => boolean;
  /** WATCHDOG_USEC and WATCHDOG_PID are read from it (sd_watchdog_enabled(3)). */
  readonly environment?: NodeJS.ProcessEnv;
  readonly pid?: number;
}

export function startNotifier(agent: Agent, { notify, environment = {}, pid }: NotifyOptions): Notifier {
  let said = '';
  const status = () => {
    const text = statusText(agent);
    if (text === said) return;
    said = text;
    notify(`STATUS=${text}`);
  };
  const beat = () => {
    if (agent.health().live) notify('WATCHDOG=1');
    status();
  };
  const timer = setInterval(beat, beatMs(agent, environment, pid)).unref();
  const unsubscribe = agent.subscribe(({ type }) => {
    if (type === 'reload-ended' || type === 'reload-failed' || type === 'haproxy-died') status();
  });
  return {
    // CLOCK_MONOTONIC, which is what hrtime reads on Linux; Type=notify-reload asks for it (systemd 253).
    reloading: () => void notify(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`),
    ready: () => {
      said = statusText(agent);
      notify(`READY=1\nSTATUS=${said}`);
    },
    stopping: () => {
      clearInterval(timer);
      unsubscribe();
      notify('STOPPING=1\nSTATUS=Finishing or undoing what is under way; HAProxy goes on serving');
    },
  };
}

/** The smallest heartbeat, and never less often than half of what the service manager waits for. */
function beatMs(agent: Agent, environment: NodeJS.ProcessEnv, pid = process.pid): number {
  const heartbeats = [...agent.instances.values()].map(({ settings }) => settings.reconcile.heartbeatMs);
  const { WATCHDOG_USEC: micros, WATCHDOG_PID: whose } = environment;
  const asked = micros !== undefined && (whose === undefined || Number(whose) === pid) ? Number(micros) / 2000 : NaN;
  return Math.max(1, Math.min(...heartbeats, asked > 0 ? asked : Infinity, 60_000));
}

/** One line of `systemctl status`: `2000 listeners served by generation 17; web: 1 quarantined`. */
export function statusText(agent: Agent): string {
  return [...agent.instances.values()]
    .map(({ name, state }) => {
      const { phase, doing, generation, listeners, lastReload } = state;
      const facts = [
        generation === undefined
          ? 'nothing served yet'
          : `${listeners.served} listeners served by generation ${generation}`,
        ...(listeners.missing > 0 ? [`${listeners.missing} missing`] : []),
        ...(listeners.quarantined > 0 ? [`${listeners.quarantined} quarantined`] : []),
        ...(lastReload?.outcome === 'failed' ? [`last reload failed (${lastReload.error?.code ?? 'unknown'})`] : []),
        ...(phase === 'stopped' || phase === 'failed' ? [phase] : []),
        ...(doing === undefined ? [] : [doing]),
      ];
      const whose = agent.instances.size > 1 ? `${name}: ` : '';
      return `${whose}${facts.join(', ')}`.replace(/\s+/g, ' ');
    })
    .join('; ');
}
