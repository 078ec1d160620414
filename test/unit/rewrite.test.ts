import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readListeners } from '../../src/haproxy/binds.js';
import { readConfiguration } from '../../src/haproxy/config.js';
import { harden, hardenText } from '../../src/haproxy/harden.js';
import type { Bind } from '../../src/model/bind.js';
import { whyNeverTaken } from '../../src/reload/match.js';
import { rewrites } from '../../src/reload/rewrite.js';
import { put, temporaryDirectory } from '../support/state.js';

const LATER = { major: 2, minor: 6, text: '2.6.12' };

/** The text as HAProxy gets it. */
function rewritten(text: string, { without = [] as number[], source = false, version = LATER } = {}): string {
  const file = put(join(temporaryDirectory(), 'a.cfg'), text);
  const configuration = readConfiguration([file], { environment: { VIP: 'fd00::9' }, version });
  const listeners = readListeners(configuration);
  const gone = listeners.binds.filter(({ endpoint }) => endpoint.kind === 'inet' && without.includes(endpoint.port));
  const added = source ? harden(configuration) : [];
  const hardened = new Map(source ? [[file, (before: string) => hardenText(before, added)]] : []);
  return rewrites({ listeners, hardened }, gone, (name) => name).get(file)?.(text) ?? text;
}

const ofLine = (line: string, version = LATER): string =>
  rewritten(`listen a\n${line}\n`, { version }).split('\n')[1] ?? '';

describe('what Berth changes in its copy', () => {
  it.each([
    ['  bind [fd00::1]:80', '  bind [fd00::1]:80 v6only'],
    ['\tbind\tfd00::1:80,[fd00::2]:80-82\tssl crt x\r', '\tbind\tfd00::1:80,[fd00::2]:80-82 v6only\tssl crt x\r'],
    ['  bind quic6@[::1]:443 ssl crt x', '  bind quic6@[::1]:443 v6only ssl crt x'],
    ['  bind [fd00::1]:80 v4v6', '  bind [fd00::1]:80 v6only v4v6'],
  ])('%j gets `v6only`, which the kernel gives such a socket anyway', (line, expected) => {
    expect(ofLine(line)).toBe(expected);
  });

  it.each([
    ['IPv4', '  bind 10.0.0.1:80'],
    ['all of IPv6, which would lose IPv4', '  bind :::80'],
    ['a mapped address, which bind(2) refuses with it', '  bind [::ffff:10.0.0.1]:80'],
    ['a list with another kind of address', '  bind [fd00::1]:80,10.0.0.1:80'],
    ['a list with one that only HAProxy knows', '  bind [fd00::1]:80,fd@3'],
    ['a line that says it', '  bind [fd00::1]:80 v6only'],
    ['a line with quotes, variables or comments', '  bind "[${VIP}]:80" name x # y'],
  ])('%s stays as it is: %j', (_, line) => {
    expect(ofLine(line)).toBe(line);
  });

  it('only the binds that get the word count as taken over, and HAProxy 2.2 needs none', () => {
    const bindOf = (line: string, version = LATER): Bind => {
      const file = put(join(temporaryDirectory(), 'a.cfg'), `listen a\n${line}\n`);
      return readListeners(readConfiguration([file], { environment: {}, version })).binds[0]!;
    };
    expect(whyNeverTaken(bindOf('  bind [fd00::1]:80'), LATER)).toBeUndefined();
    expect(whyNeverTaken(bindOf('  bind [fd00::1]:80 # note'), LATER)).toMatch(/v6only/);
    const old = { major: 2, minor: 2, text: '2.2.9' };
    expect(ofLine('  bind [fd00::1]:80', old)).toBe('  bind [fd00::1]:80');
    expect(whyNeverTaken(bindOf('  bind [fd00::1]:80', old), old)).toBeUndefined();
  });

  it('leaves out the right line of a file that `harden: source` adds lines to', () => {
    // The places are those of the user's file: with the added lines in first, the line above was made a comment.
    const text = 'defaults\n  mode tcp\nlisten a\n  bind :80\n  bind :81\n  bind [fd00::1]:82\n';
    expect(rewritten(text, { without: [81], source: true })).toBe(
      'defaults\n  source 0.0.0.0\n  mode tcp\nlisten a\n  bind :80\n  # berth: quarantined: bind :81\n  bind [fd00::1]:82 v6only\n',
    );
  });

  it('keeps every byte that it does not change', () => {
    expect(rewritten('listen a\n  # \u00ff\u0080\n  bind [fd00::1]:80\n')).toBe(
      'listen a\n  # \u00ff\u0080\n  bind [fd00::1]:80 v6only\n',
    );
    expect(rewritten('listen a\n  bind [fd00::1]:80,[fd00::1]:81\n', { without: [80] })).toBe(
      'listen a\n  bind [fd00::1]:81 v6only # berth: quarantined: [fd00::1]:80\n',
    );
  });
});
