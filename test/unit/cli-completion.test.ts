import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VERB_NAMES } from '../../src/cli/program.js';
import { run } from '../../src/cli/run.js';
import * as sample from './cli-samples.js';

const directory = mkdtempSync(join(tmpdir(), 'berth-completion-'));
afterAll(() => rmSync(directory, { recursive: true }));

async function script(shell: string): Promise<string> {
  const host = sample.testHost();
  expect(await run(['completion', shell], host)).toBe(0);
  expect(host.opened).toEqual([]);
  return host.out();
}

describe('bash', () => {
  const file = join(directory, 'berth.bash');
  beforeAll(async () => writeFileSync(file, await script('bash')));

  /** Candidates for the last of these words, as readline would ask for them. */
  function complete(...words: string[]): string[] {
    // Without -e: compopt fails where no completion is going on, which is here.
    const program = `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _berth; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const text = execFileSync('bash', ['-uc', program, 'bash', file, ...words], { encoding: 'utf8' });
    return text.split('\n').filter((line) => line !== '');
  }

  it('verbs', () => {
    expect(complete('berth', '')).toEqual([...VERB_NAMES, 'help']);
    expect(complete('berth', 're')).toEqual(['reload', 'reserve', 'release', 'reservations']);
    expect(complete('berth', '--json', 'pl')).toEqual(['plan']);
    expect(complete('berth', 'help', 'do')).toEqual(['doctor']);
  });

  it('options of the verb and of all verbs', () => {
    expect(complete('berth', 'reload', '--dr')).toEqual(['--dry-run']);
    expect(complete('berth', 'history', '--dr')).toEqual([]);
    expect(complete('berth', 'history', '--st')).toEqual(['--state-dir']);
    expect(complete('berth', 'reload', '--no')).toEqual(['--no-agent', '--no-share', '--no-reserve']);
  });

  it('values, after a space and after =', () => {
    expect(complete('berth', 'reload', '--on-unsolved', '')).toEqual(['quarantine', 'abort']);
    expect(complete('berth', 'reload', '--on-unsolved', '=', 'a')).toEqual(['abort']);
    expect(complete('berth', 'reload', '--on-unsolved', '=')).toEqual(['quarantine', 'abort']);
    expect(complete('berth', '--mode', 'm')).toEqual(['master-worker']);
    expect(complete('berth', 'completion', '')).toEqual(['bash', 'zsh', 'fish']);
  });

  it('leaves files to the shell', () => {
    expect(complete('berth', 'reload', '')).toEqual([]);
    expect(complete('berth', 'reload', '--pid-file', '')).toEqual([]);
  });

  it('is quiet and leaves no helper behind', () => {
    const text = execFileSync(
      'bash',
      ['-uc', 'source "$1"; COMP_WORDS=(berth x); COMP_CWORD=1; _berth; declare -F operand || echo none', 'bash', file],
      { encoding: 'utf8' },
    );
    expect(text).toBe('none\n');
  });
});

describe.each(['zsh', 'fish'])('%s', (shell) => {
  it('names every verb and every choice', async () => {
    const text = await script(shell);
    for (const verb of VERB_NAMES) expect(text).toContain(verb);
    expect(text).toContain('quarantine abort');
    expect(text).toContain('state-dir');
  });
});
