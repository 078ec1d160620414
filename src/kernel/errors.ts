/** Failed system calls as Berth's errors. */
import { BerthError, systemCause, type ErrorCode } from '../errors.js';

const BY_ERRNO: Readonly<Record<string, ErrorCode>> = {
  EPERM: 'BERTH_PERMISSION',
  EACCES: 'BERTH_PERMISSION',
  EROFS: 'BERTH_PERMISSION',
  EMFILE: 'BERTH_NO_DESCRIPTORS',
  ENFILE: 'BERTH_NO_DESCRIPTORS',
  ETIMEDOUT: 'BERTH_TIMEOUT',
};

/**
 * @param doing what failed, to what: `Cannot read the socket tables`
 * @param advice what to do next, by errno's name, where the table's own advice is too general
 * @param otherwise the code for an errno that has none of its own
 */
export function kernelError(
  error: unknown,
  step: string,
  doing: string,
  advice: Readonly<Record<string, string>> = {},
  otherwise: ErrorCode = 'BERTH_KERNEL',
): BerthError {
  if (error instanceof BerthError) return error;
  const cause = systemCause(error);
  const why = cause
    ? `${cause.syscall} failed with ${cause.code}`
    : error instanceof Error
      ? error.message
      : String(error);
  const next = cause ? advice[cause.code] : undefined;
  return new BerthError((cause && BY_ERRNO[cause.code]) ?? otherwise, `${doing}: ${why}`, {
    step,
    cause: error,
    ...(next === undefined ? {} : { advice: next }),
  });
}
