/** What the model is asked about: one host, its listeners, its outgoing connections. Given, measured, or some of each. */
import { z } from 'zod';
import { BerthError } from '../errors.js';
import { parsePorts } from '../model/ports.js';
import { parsePlaces } from './places.js';

const port = z.int().min(1).max(65_535);
const amount = z.number().min(0).max(1e9);
const share = z.number().min(0).max(1);

/** Text that `parse` takes. */
const list = (parse: (text: string) => unknown, what: string) =>
  z.string().refine((text) => {
    try {
      parse(text);
      return true;
    } catch {
      return false;
    }
  }, what);
const ports = list(parsePorts, 'must be a list of ports, for example 80,443,8000-8010');

const classes = z
  .array(z.strictObject({ count: z.int().min(1), share }))
  .min(1)
  .refine(
    (all) => Math.abs(all.reduce((sum, one) => sum + one.share, 0) - 1) < 1e-6,
    'the shares must make 1 together',
  );

export const inputsSchema = z.strictObject({
  range: z
    .strictObject({ first: port, last: port })
    .refine(({ first, last }) => first <= last, 'must not run backwards')
    .default({ first: 32_768, last: 60_999 })
    .describe('net.ipv4.ip_local_port_range'),
  reserved: ports.default('').describe('net.ipv4.ip_local_reserved_ports, but for the listeners'),
  listeners: z.int().min(0).max(65_535).default(2000).describe('Listener ports that there are'),
  ports: list(parsePlaces, 'must be ports and ranges of ports, each with =WEIGHT or none, or lbagent')
    .default('lbagent')
    .describe('Where the ports of listeners are: 30000-39999, 80=1,443=3,8000-8999=6; lbagent: anywhere'),
  present: ports.optional().describe('The very ports of the listeners, where they are known'),
  foreign: ports.default('').describe("Ports that other programs' listeners have"),
  rate: amount.default(100).describe("Outgoing connections a second from the listeners' address"),
  lifetime: amount.default(10).describe('Mean seconds that they live'),
  lifetimes: z.enum(['exponential', 'fixed']).default('exponential').describe('How the lifetimes are distributed'),
  timeWait: share.default(1).describe('Share of them that ends in TIME_WAIT on this side'),
  timeWaitReuse: z.boolean().default(false).describe('net.ipv4.tcp_tw_reuse is 1'),
  destinations: z
    .union([z.int().min(1).max(1_000_000), classes])
    .default(10)
    .describe('Servers (address and port) that they go to: how many, or classes of them with their shares'),
  binding: z
    .enum(['connect', 'bind'])
    .default('connect')
    .describe('connect: the kernel chooses the port in connect(2); bind: in a bind(2) with port 0 before it'),
  own: share.default(1).describe("Share of them that is HAProxy's own"),
  lead: amount.default(0).describe('Seconds from the reservation of a port to the reload that binds it'),
  creations: amount.default(20).describe('New listeners a day'),
  hosts: z.int().min(1).max(100_000).default(1).describe('Hosts like this one'),
});

/** Ports as the kernel lists them; times in seconds; shares from 0 to 1. docs/advise.md says what each means. */
export interface Inputs {
  readonly range: { readonly first: number; readonly last: number };
  readonly reserved: string;
  readonly listeners: number;
  readonly ports: string;
  readonly present?: string;
  readonly foreign: string;
  readonly rate: number;
  readonly lifetime: number;
  readonly lifetimes: 'exponential' | 'fixed';
  readonly timeWait: number;
  readonly timeWaitReuse: boolean;
  /** A number: all alike. */
  readonly destinations: number | readonly { readonly count: number; readonly share: number }[];
  readonly binding: 'connect' | 'bind';
  readonly own: number;
  readonly lead: number;
  readonly creations: number;
  readonly hosts: number;
}

/** What is not given has its default. */
export type GivenInputs = Partial<Inputs>;

/** @throws BERTH_USAGE naming each value that is wrong */
export function readInputs(given: unknown): Inputs {
  const read = inputsSchema.safeParse(given);
  if (read.success) {
    const { present, ...rest } = read.data;
    return present === undefined ? rest : { ...rest, present };
  }
  const wrong = read.error.issues.map(({ path, message }) => `${path.join('.') || 'inputs'}: ${message}`);
  throw new BerthError('BERTH_USAGE', `advise cannot work with what was given: ${wrong.join('; ')}`, {
    step: 'advise',
    advice: 'docs/advise.md lists what can be given',
  });
}
