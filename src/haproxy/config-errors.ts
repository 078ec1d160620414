import { BerthError, type ErrorCode } from '../errors.js';
import type { SourcePlace } from '../model/bind.js';

/** An error of the configuration, its message beginning with `FILE:LINE: `. */
export function configError(code: ErrorCode, place: SourcePlace, message: string, advice?: string): BerthError {
  return new BerthError(code, `${place.file}:${place.line}: ${message}`, {
    step: 'read',
    details: { file: place.file, line: place.line },
    ...(advice === undefined ? {} : { advice }),
  });
}

export function syntaxError(place: SourcePlace, message: string): BerthError {
  return configError('BERTH_CONFIG_SYNTAX', place, message);
}
