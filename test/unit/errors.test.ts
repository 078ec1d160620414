import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { BerthError, ERROR_TABLE, systemCause, toBerthError, type ErrorCode } from '../../src/errors.js';

describe('docs/errors.md and the table', () => {
  const text = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');
  const rows = text
    .split('\n')
    .map((line) => /^\| `(BERTH_\w+)` \| (\d+) \| (\d+) \| (.+?) \| (.+?) \|$/.exec(line))
    .filter((row) => row !== null)
    .map(([, code, exit, http, summary, advice]) => [
      code,
      { exit: Number(exit), http: Number(http), summary, advice },
    ]);

  it('hold the same codes, statuses and words, in the same order', () => {
    expect(rows).toEqual(Object.entries(ERROR_TABLE).map(([code, kind]) => [code, { ...kind }]));
  });

  it('every code has an exit status and an HTTP status that say: not done', () => {
    for (const [code, { exit, http }] of Object.entries(ERROR_TABLE)) {
      expect(exit, code).toBeGreaterThan(0);
      expect(http, code).toBeGreaterThanOrEqual(400);
    }
  });
});

describe('BerthError', () => {
  const cause = Object.assign(new Error('bind'), { code: 'EADDRINUSE', errno: -98, syscall: 'bind' });

  it('carries statuses, advice and the failed system call', () => {
    const error = new BerthError('BERTH_KERNEL', 'bind failed', { step: 'probe', cause, details: { port: 80 } });
    expect(error.exitStatus).toBe(11);
    expect(error.httpStatus).toBe(500);
    expect(error.system).toEqual({ code: 'EADDRINUSE', errno: 98, syscall: 'bind' });
    expect(JSON.parse(JSON.stringify(error))).toEqual({
      code: 'BERTH_KERNEL',
      step: 'probe',
      message: 'bind failed',
      advice: ERROR_TABLE.BERTH_KERNEL.advice,
      details: { port: 80 },
      cause: { code: 'EADDRINUSE', errno: 98, syscall: 'bind' },
    });
  });

  it('own advice wins over the table, and what is empty is not told', () => {
    const error = new BerthError('BERTH_USAGE', 'no', { step: 'arguments', advice: 'do' });
    expect(error.toJSON()).toEqual({ code: 'BERTH_USAGE', step: 'arguments', message: 'no', advice: 'do' });
  });

  it('toBerthError passes our own through and calls all else a defect', () => {
    const own = new BerthError('BERTH_LOCKED', 'x', { step: 'lock' });
    expect(toBerthError(own, 'y')).toBe(own);
    const foreign = toBerthError(cause, 'probe');
    expect(foreign).toMatchObject({ code: 'BERTH_INTERNAL' satisfies ErrorCode, message: 'bind', cause });
    expect(toBerthError('text', 'probe').message).toBe('text');
  });

  it('systemCause reads only what a system call left', () => {
    expect(systemCause(cause)).toEqual({ code: 'EADDRINUSE', errno: 98, syscall: 'bind' });
    expect(systemCause(new Error('x'))).toBeUndefined();
    expect(systemCause(undefined)).toBeUndefined();
  });
});
