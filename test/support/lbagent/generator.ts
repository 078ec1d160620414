/** Random generations of an lbagent host, the same ones for the same seed. */
import { createHash } from 'node:crypto';
import { randomOf } from '../random.js';

export type ListenerMode = 'tcp' | 'http' | 'https';

export interface Listener {
  /** UUID, as lbagent names the section. */
  readonly id: string;
  readonly balancer: string;
  readonly mode: ListenerMode;
  readonly port: number;
  /** Certificates, by id. */
  readonly certificates: readonly string[];
  /** Of its access list; undefined: none. */
  readonly acl?: string;
}

export interface GeneratorOptions {
  readonly seed: number;
  /** Address of every listener. */
  readonly address: string;
  /** `address:port` of the one backend server. */
  readonly server: string;
  readonly statsSocket: string;
  /** Who may connect, for the access lists. */
  readonly clients: string;
  /** A PEM file with certificate and key. */
  readonly pem: string;
  /** Listeners at the start, and about so many all the while. */
  readonly listeners: number;
  /** Listeners come in this range of ports, both ends included. */
  readonly ports: readonly [number, number];
}

/** What one generation is: its listeners, and the files that lbagent renders of them. */
export interface RenderedGeneration {
  readonly listeners: readonly Listener[];
  readonly files: ReadonlyMap<string, string>;
}

const BALANCERS = 6;
const CERTIFICATES = 4;

export class Generator {
  readonly #options: GeneratorOptions;
  readonly #random: () => number;
  #listeners: Listener[] = [];
  #made = 0;

  constructor(options: GeneratorOptions) {
    this.#options = options;
    this.#random = randomOf(options.seed);
    while (this.#listeners.length < options.listeners) this.#add();
  }

  /** Numbers from 0 to below `limit`, from the seed. */
  pick(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  /** A port of the range that no listener has. */
  freePort(): number {
    const [first, last] = this.#options.ports;
    for (;;) {
      const port = first + this.pick(last - first + 1);
      if (!this.#listeners.some((listener) => listener.port === port)) return port;
    }
  }

  /**
   * The next generation: up to three listeners added, removed and moved to another port each, access lists changed.
   * @param wanted ports that listeners are added on besides
   */
  next(wanted: readonly number[] = []): RenderedGeneration {
    for (let left = this.pick(4); left > 0 && this.#listeners.length > this.#options.listeners / 2; left -= 1) {
      this.#listeners.splice(this.pick(this.#listeners.length), 1);
    }
    for (let left = this.pick(3); left > 0; left -= 1) {
      const at = this.pick(this.#listeners.length);
      const moved = this.#listeners[at];
      if (moved) this.#listeners[at] = { ...moved, port: this.freePort() };
    }
    const room = this.#options.listeners * 1.5 - this.#listeners.length;
    for (let left = Math.min(this.pick(4), room); left > 0; left -= 1) this.#add();
    for (const port of wanted) this.#add(port);
    return this.render();
  }

  /** The generation as it is now. */
  render(): RenderedGeneration {
    const files = new Map<string, string>([
      ['00-haproxy.cfg', this.#global()],
      ['01-haproxy.cfg', 'global\n  crt-base certs\n\n'],
      ['gobetween.json', '{"servers":{}}\n'],
      ['keepalived.conf', 'global_defs {\n}\n'],
      ['telegraf.conf', '[agent]\n  interval = "10s"\n'],
    ]);
    for (let at = 0; at < CERTIFICATES; at += 1) files.set(`certs/${uuid(`certificate ${at}`)}.pem`, this.#options.pem);
    const listeners = [...this.#listeners];
    for (const balancer of new Set(listeners.map((listener) => listener.balancer))) {
      const own = listeners.filter((listener) => listener.balancer === balancer);
      files.set(`${balancer}.cfg`, own.map((listener) => this.#section(listener)).join('\n'));
      for (const { acl } of own) if (acl !== undefined) files.set(`acl-${acl}`, this.#accessList());
    }
    return { listeners, files };
  }

  #add(port = this.freePort()): void {
    this.#made += 1;
    const mode = (['tcp', 'tcp', 'http', 'https'] as const)[this.pick(4)] ?? 'tcp';
    const id = uuid(`${this.#options.seed} listener ${this.#made}`);
    this.#listeners.push({
      id,
      balancer: uuid(`balancer ${this.pick(BALANCERS)}`),
      mode,
      port,
      certificates: mode === 'https' ? [uuid(`certificate ${this.pick(CERTIFICATES)}`)] : [],
      ...(this.pick(3) === 0 ? { acl: uuid(`acl of ${id}`) } : {}),
    });
  }

  /** lbagent's own has `maxconn 20480`; not every host that tests run on allows for so many descriptors. */
  #global(): string {
    return `global
  maxconn 2048
  stats socket ${this.#options.statsSocket} expose-fd listeners

defaults
  timeout connect 10s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h

listen stats
  mode http
  bind :778
  stats enable
  stats uri /

`;
  }

  #section({ id, mode, port, certificates, acl }: Listener): string {
    const crt = certificates.map((name) => ` crt ${name}.pem`).join('');
    const tls = mode === 'https' ? ` ssl${crt} alpn h2,http/1.1` : '';
    const via = mode === 'tcp' ? 'tcp' : 'http';
    const rule = acl === undefined ? '' : `  tcp-request connection reject unless { src -f acl-${acl} }\n`;
    return `listen ${id}
  bind ${this.#options.address}:${port}${tls}
  mode ${via}
${rule}  default_backend backends_listener-${id}

backend backends_listener-${id}
  mode ${via}
  balance roundrobin
  server ${uuid(`server of ${id}`)} ${this.#options.server} weight 1
`;
  }

  /** Those who may, and some others, different ones in each generation. */
  #accessList(): string {
    const others = Array.from({ length: 1 + this.pick(5) }, () => `10.${this.pick(256)}.${this.pick(256)}.0/24`);
    return `${[this.#options.clients, ...others].join('\n')}\n`;
  }
}

function uuid(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-');
}
