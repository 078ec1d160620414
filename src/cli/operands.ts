/** Arguments that several verbs take. */
import { BerthError } from '../errors.js';

/** @throws BERTH_USAGE where the word is no number from 1. */
export function generationNumber(word: string): number {
  if (!/^[1-9]\d{0,14}$/.test(word)) {
    throw new BerthError('BERTH_USAGE', `'${word}' is no generation number`, {
      step: 'arguments',
      advice: 'berth history lists the generations kept',
    });
  }
  return Number(word);
}
