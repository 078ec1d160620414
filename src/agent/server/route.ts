/** What a route is, and the two ways of writing one down. */
import type { z } from 'zod';
import type { Answers } from '../../client/answers.js';
import type { ReloadEvent } from '../../reload/reports.js';
import type { Agent, Instance } from '../contract.js';
import type { Caller, Need } from './access.js';
import { noQuery } from './requests.js';

/** One request that was understood and permitted. */
export interface Call<Q = unknown, B = unknown> {
  readonly agent: Agent;
  readonly instance: Instance;
  readonly caller: Caller;
  readonly query: Q;
  readonly body: B;
  readonly observer: (event: ReloadEvent) => void;
}

interface Shape<Q extends z.ZodObject, B extends z.ZodObject | undefined> {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  readonly needs: Need;
  readonly summary: string;
  readonly query: Q;
  readonly body: B;
  /** Of one instance (`?instance=`), or of the agent. */
  readonly of: 'instance' | 'agent';
  readonly answer: keyof Answers;
  /** `run`: takes time, tells its progress as server-sent events where they are asked for, knows idempotency keys. */
  readonly kind?: 'run';
  /** A POST that changes nothing, so that the loopback TCP listener has it too. */
  readonly readOnly?: true;
  readonly run: (call: Call<z.output<Q>, B extends z.ZodObject ? z.output<B> : undefined>) => Promise<unknown>;
}

export type Route = Omit<Shape<z.ZodObject, z.ZodObject | undefined>, 'run'> & {
  readonly run: (call: Call) => Promise<unknown>;
};

export function get<Q extends z.ZodObject>(
  path: string,
  summary: string,
  answer: keyof Answers,
  query: Q,
  run: Shape<Q, undefined>['run'],
  over: Partial<Pick<Route, 'needs' | 'of'>> = {},
): Route {
  const route = { method: 'GET' as const, path, needs: 'read' as const, of: 'instance' as const, summary, answer };
  return { ...route, query, body: undefined, run: run as Route['run'], ...over };
}

export function change<B extends z.ZodObject>(
  path: string,
  summary: string,
  answer: keyof Answers,
  body: B,
  run: Shape<z.ZodObject, B>['run'],
  over: Partial<Pick<Route, 'method' | 'needs' | 'of' | 'kind' | 'readOnly'>> = {},
): Route {
  const route = { method: 'POST' as const, path, needs: 'act' as const, of: 'instance' as const, summary, answer };
  return { ...route, query: noQuery, body, run: run as Route['run'], ...over };
}
