import { BerthError, type ErrorCode } from '../errors.js';
import type { SourcePlace } from '../model/bind.js';

/** A line may be as long as a file. */
const LONGEST_MESSAGE = 1000;

/** An error of the configuration, its message beginning with `FILE:LINE: `. */
export function configError(code: ErrorCode, place: SourcePlace, message: string, advice?: string): BerthError {
  const said = message.length > LONGEST_MESSAGE ? `${message.slice(0, LONGEST_MESSAGE)}...` : message;
  return new BerthError(code, `${place.file}:${place.line}: ${said}`, {
    step: 'read',
    details: { file: place.file, line: place.line },
    ...(advice === undefined ? {} : { advice }),
  });
}

export function syntaxError(place: SourcePlace, message: string): BerthError {
  return configError('BERTH_CONFIG_SYNTAX', place, message);
}
