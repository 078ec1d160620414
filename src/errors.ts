/**
 * Every error that leaves Berth is a {@link BerthError}: a stable `code`, the `step` that failed, a message that says
 * what happened, to what, and what to do next, and the cause with its errno and system call.
 * {@link ERROR_TABLE} is the one table of codes; `docs/errors.md` mirrors it and a test holds the two together.
 */
import { ERROR_TABLE, type ErrorCode } from './errors/table.js';

export { ERROR_TABLE, type ErrorCode, type ErrorKind } from './errors/table.js';

/** A failed system call: `code` is the errno's name (`EADDRINUSE`), `errno` its positive number. */
export interface SystemCause {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  readonly path?: string;
}

export interface BerthErrorOptions {
  /** The step of the sentence that failed: `read`, `plan`, `probe`, `stage`, `check`, `reserve`, `secure`, `hand-over`, … */
  readonly step: string;
  readonly cause?: unknown;
  /** What to do next, where the table's own advice is too general. */
  readonly advice?: string;
  /** Plain data for `--json` and the API: files and lines, listeners, holders. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Match on `code`, not on `instanceof`: two copies of the package can be loaded side by side. */
export class BerthError extends Error {
  readonly code: ErrorCode;
  readonly step: string;
  readonly advice: string;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: BerthErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'BerthError';
    this.code = code;
    this.step = options.step;
    this.advice = options.advice ?? ERROR_TABLE[code].advice;
    this.details = options.details ?? {};
  }

  get exitStatus(): number {
    return ERROR_TABLE[this.code].exit;
  }

  get httpStatus(): number {
    return ERROR_TABLE[this.code].http;
  }

  /** errno and system call of the cause, where there is one. */
  get system(): SystemCause | undefined {
    return systemCause(this.cause);
  }

  toJSON(): Record<string, unknown> {
    const system = this.system;
    return {
      code: this.code,
      step: this.step,
      message: this.message,
      advice: this.advice,
      ...(Object.keys(this.details).length > 0 ? { details: this.details } : {}),
      ...(system ? { cause: system } : {}),
    };
  }
}

/** errno and system call of any error of Node's or of the addon's; undefined where it carries none. */
export function systemCause(error: unknown): SystemCause | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, errno, syscall, path } = error as NodeJS.ErrnoException;
  if (typeof code !== 'string' || typeof errno !== 'number') return undefined;
  return { code, errno: Math.abs(errno), syscall: syscall ?? '', ...(path === undefined ? {} : { path }) };
}

/** Any thrown value as a {@link BerthError}: Berth's own pass through, all else but a want of descriptors is a defect of ours. */
export function toBerthError(error: unknown, step: string): BerthError {
  if (error instanceof BerthError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const errno = systemCause(error)?.code;
  if (errno === 'EMFILE' || errno === 'ENFILE') {
    return new BerthError('BERTH_NO_DESCRIPTORS', message, { step, cause: error });
  }
  return new BerthError('BERTH_INTERNAL', message, { step, cause: error });
}
