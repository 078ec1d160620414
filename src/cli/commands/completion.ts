import { Argument } from 'commander';
import { completionScript, type Shell } from '../completion.js';
import { EXIT_OK } from '../exits.js';
import { outcome, type Verb } from '../verb.js';

export const completion: Verb = {
  name: 'completion',
  summary: 'print a completion script for a shell',
  description: 'Prints a script that completes verbs, options and their values in bash, zsh or fish.',
  changes: 'Nothing.',
  examples: [
    ['source <(berth completion bash)', 'For this bash.'],
    ['berth completion bash > /etc/bash_completion.d/berth', 'For every bash.'],
    ['berth completion zsh > "${fpath[1]}/_berth"', 'For zsh.'],
    ['berth completion fish > ~/.config/fish/completions/berth.fish', 'For fish.'],
  ],
  exits: [[0, 'Printed.']],
  declare: (command) => {
    command.addArgument(new Argument('<shell>', 'the shell').choices(['bash', 'zsh', 'fish']));
  },
  run: async ({ operands, tree }) => {
    const shell = operands[0] as Shell;
    const script = completionScript(shell, await tree());
    return outcome('completion', { shell, script }, EXIT_OK, () => [script.trimEnd()]);
  },
};
