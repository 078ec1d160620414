import { describe, expect, it } from 'vitest';
import type { SecureStep } from '../../src/model/plan.js';
import { refuseStarved } from '../../src/reload/unsolved.js';
import { bind } from '../support/binds.js';

const step = (errno: string): SecureStep => ({
  bind: bind('127.0.0.1:8000'),
  verdict: { kind: 'unusable', errno, syscall: 'bind' } as SecureStep['verdict'],
  reason: `127.0.0.1:8000 cannot be bound: ${errno}`,
  rungs: [],
});

describe('a listener that cannot be secured', () => {
  it.each(['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS'])('is not left out for %s, a want of our own', (errno) => {
    expect(() => refuseStarved([step('EADDRNOTAVAIL'), step(errno)])).toThrow(
      expect.objectContaining({ code: 'BERTH_UNSERVABLE', message: expect.stringContaining(errno) as string }),
    );
  });

  it('may be left out for what is the address’ own fault', () => {
    expect(() => refuseStarved([step('EADDRNOTAVAIL')])).not.toThrow();
  });
});
