/** The long part of `berth VERB --help`: what it changes, examples, exit statuses. */
import { EXIT_STATUSES } from './exits.js';
import type { Verb } from './verb.js';

const WIDTH = 80;

export function verbHelp(verb: Verb): string {
  const blocks = [
    section('Changes:', wrap(verb.changes, '  ')),
    section(
      'Examples:',
      verb.examples.flatMap(([command, meaning]) => [`  ${command}`, ...wrap(meaning, '      ')]),
    ),
    section('Exit status:', statuses([...verb.exits])),
    'The whole table of exit statuses stands in berth --help.',
  ];
  return `\n${blocks.join('\n\n')}\n`;
}

export function programHelp(): string {
  const blocks = [
    section(
      'Settings:',
      wrap(
        'Every setting has a default. A settings file (--settings, else /etc/berth/berth.yaml) goes over it, the ' +
          'environment (BERTH_…) over the file, options over the environment, and --set over the named options. ' +
          'docs/settings.md lists the settings.',
        '  ',
      ),
    ),
    section('Exit status:', statuses(EXIT_STATUSES)),
    section('Examples:', [
      '  berth preflight /etc/haproxy/haproxy.cfg',
      '  berth reload /etc/haproxy/haproxy.cfg --pid-file /run/haproxy.pid',
      '  berth help reload',
    ]),
  ];
  return `\n${blocks.join('\n\n')}\n`;
}

function section(title: string, lines: readonly string[]): string {
  return [title, ...lines].join('\n');
}

function statuses(table: Verb['exits']): string[] {
  return table.flatMap(([status, meaning]) => {
    const [first = '', ...rest] = wrap(meaning, ' '.repeat(7));
    return [`  ${String(status).padEnd(3)}  ${first.trimStart()}`, ...rest];
  });
}

/** Fills paragraphs to 80 columns. */
export function wrap(text: string, indent: string): string[] {
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(' ')) {
    if (line.length > indent.length && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = indent;
    }
    line += line.length > indent.length ? ` ${word}` : word;
  }
  return [...lines, line];
}
