/** Configurations damaged in their bytes: those of the corpus, and made-up ones. */
import fc from 'fast-check';
import type { HAProxyVersion } from '../../src/haproxy/config.js';
import { CORPUS } from '../haproxy/differential-corpus.js';
import { mutationsOf } from '../support/mutate.js';
import { Grammar, type Files } from './fuzz-grammar.js';

/** What is put into a file somewhere: bytes that mean something to somebody. */
const TOKENS: readonly string[] = [
  ...['\0', '\r', '\r\n', '\n', '\xef\xbb\xbf', '\xff', '\xc3', '"', "'", '\\', '\\x', '\\x4', '\\x00', '$', '${', '}'],
  ...['[*]', ',', '-', ':', '@', '.if 1\n', '.else\n', '.endif\n', '.elif 0\n', '#', ' ', '\t', '\v', '\f', '[', ']'],
  ...['.if 0\n', '$.LINE', '${.FILE}', '$NOPE', '"$NOPE"', '""', "''", '*', '!', '(', ')', '&&', '||', '65535', '0'],
  ...[
    '\nglobal\n',
    '\ndefaults\n',
    '\nlisten x\n',
    '  bind :26000\n',
    '  disabled\n',
    'unix@',
    'fd@3',
    'abns@',
    '\x1b',
  ],
  ...['a'.repeat(3000), ' a'.repeat(70), '.if 1\n'.repeat(120), '('.repeat(1100), '9'.repeat(400), '\\'.repeat(999)],
  ...[
    `.if ${'!'.repeat(9000)}1\n.endif\n`,
    `  bind ${':27000,'.repeat(700)}\n`,
    ' '.repeat(70_000),
    '$LIST'.repeat(99),
  ],
];

/** Damage falls mostly behind the lines that all cases have in common. */
const LAST_OF_HEAD = 'timeout server 1s\n';

/** Damage to the corpus, to what is made up, and one half of something joined to the other of something else. */
export function mutated(version: HAProxyVersion): fc.Arbitrary<Files> {
  const number = version.major * 100 + version.minor;
  const asNumber = (text: string): number => Number(text.split('.')[0]) * 100 + Number(text.split('.')[1]);
  const texts = CORPUS.flatMap(({ config, since = '2.2', until = '9.9', setup }) =>
    config === undefined || setup !== undefined || asNumber(since) > number || asNumber(until) < number ? [] : [config],
  );
  const known = fc.constantFrom(...texts).map((text) => Buffer.from(text, 'latin1'));
  const other = new Grammar(version, false).files().map((files) => files['one.cfg'] ?? Buffer.alloc(0));
  const spliced = fc
    .tuple(known, known, fc.nat(), fc.nat())
    .map(([a, b, i, j]) => Buffer.concat([a.subarray(0, i % a.length), b.subarray(j % b.length)]));
  return fc
    .oneof(
      { weight: 3, arbitrary: mutationsOf(known, TOKENS, LAST_OF_HEAD) },
      { weight: 2, arbitrary: mutationsOf(other, TOKENS, LAST_OF_HEAD) },
      { weight: 1, arbitrary: spliced },
    )
    .map((bytes) => ({ 'one.cfg': bytes }));
}
