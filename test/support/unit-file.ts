/** packaging/systemd/berth.service as systemd reads it (systemd.syntax(7)), as far as it uses that. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from './haproxy.js';

export const unitPath = join(repository, 'packaging/systemd/berth.service');

/** Every assignment in its order: `[section, key, value]`. */
export function unitFile(path = unitPath): (readonly [section: string, key: string, value: string])[] {
  let section = '';
  return readFileSync(path, 'utf8')
    .split('\n')
    .flatMap((line) => {
      if (/^\s*([#;]|$)/.test(line)) return [];
      const [, heading] = /^\[(\w+)\]$/.exec(line) ?? [];
      if (heading !== undefined) {
        section = heading;
        return [];
      }
      const [, key, value] = /^(\w+)=(.*)$/.exec(line) ?? [];
      if (key === undefined || value === undefined) throw new Error(`not a line of a unit: ${line}`);
      return [[section, key, value] as const];
    });
}

/** The words of a key that may stand several times: `CapabilityBoundingSet`. */
export function wordsOf(key: string, unit = unitFile()): string[] {
  return unit.flatMap(([, name, value]) => (name === key ? value.split(/\s+/).filter(Boolean) : []));
}
