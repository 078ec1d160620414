/** Completion scripts, written from the command tree: static text, so that pressing Tab never starts Node. */
import type { Argument, Command, Option } from 'commander';

export type Shell = 'bash' | 'zsh' | 'fish';

/** What stands after an option, or as an argument of a verb. */
type Value =
  | { readonly kind: 'none' | 'text' | 'file' | 'directory' }
  | { readonly kind: 'choice'; readonly words: readonly string[] };

interface CompletedOption {
  /** `-C`, `--directory` */
  readonly names: readonly string[];
  readonly text: string;
  readonly value: Value;
  readonly repeated: boolean;
}

interface CompletedVerb {
  readonly name: string;
  readonly text: string;
  readonly options: readonly CompletedOption[];
  readonly operand: Value;
}

interface Tree {
  readonly globals: readonly CompletedOption[];
  readonly verbs: readonly CompletedVerb[];
}

export function completionScript(shell: Shell, program: Command): string {
  const tree = treeOf(program);
  return { bash, zsh, fish }[shell](tree);
}

function treeOf(program: Command): Tree {
  const verbs = program.commands.map((command) => ({
    name: command.name(),
    text: command.summary(),
    options: command.options.map(completedOption),
    operand: operandOf(command.registeredArguments),
  }));
  const names = verbs.map(({ name }) => name);
  const help = { name: 'help', text: 'print the help of a verb', options: [], operand: choice(names) };
  const helpOption = { names: ['-h', '--help'], text: 'print help', value: { kind: 'none' } as const, repeated: false };
  return { globals: [...program.options.map(completedOption), helpOption], verbs: [...verbs, help] };
}

function completedOption(option: Option): CompletedOption {
  const names = [option.short, option.long].filter((name) => name !== undefined);
  const value = option.argChoices ? choice(option.argChoices) : valueNamed(/<(.*)>/.exec(option.flags)?.[1]);
  return { names, text: option.description, value, repeated: option.long === '--set' };
}

function operandOf(operands: readonly Argument[]): Value {
  const [first] = operands;
  if (first?.argChoices) return choice(first.argChoices);
  return ['config', 'target'].includes(first?.name() ?? '') ? { kind: 'file' } : { kind: 'none' };
}

function choice(words: readonly string[]): Value {
  return { kind: 'choice', words };
}

/** By the name that the help gives the value. */
function valueNamed(name: string | undefined): Value {
  if (name === undefined) return { kind: 'none' };
  if (name === 'dir') return { kind: 'directory' };
  return { kind: ['file', 'path', 'bin', 'path|pid'].includes(name) ? 'file' : 'text' };
}

function bash({ globals, verbs }: Tree): string {
  const everyOption = new Map<string, CompletedOption>();
  for (const option of [...globals, ...verbs.flatMap((verb) => verb.options)]) {
    if (option.value.kind !== 'none') everyOption.set(option.names.join('|'), option);
  }
  const values = [...everyOption].map(([names, { value }]) => `    ${names}) ${bashValue(value)}; return ;;`);
  const cases = verbs.map(({ name, options, operand }) => {
    const flags = options.flatMap(({ names }) => names).join(' ');
    return `    ${name}) flags+=' ${flags}'; operand() { ${bashValue(operand)}; } ;;`;
  });
  return `# bash completion of berth, made by: berth completion bash
_berth() {
  local current previous verb='' flags word
  current=\${COMP_WORDS[COMP_CWORD]}
  previous=\${COMP_WORDS[COMP_CWORD - 1]}
  # readline gives --mode=auto as three words
  if [[ $current == = ]]; then current=''
  elif [[ $previous == = ]]; then previous=\${COMP_WORDS[COMP_CWORD - 2]}; fi
  COMPREPLY=()
  case $previous in
${values.join('\n')}
  esac
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in
    ${verbs.map(({ name }) => name).join('|')}) verb=$word; break ;;
    esac
  done
  flags='${globals.flatMap(({ names }) => names).join(' ')}'
  operand() { ${bashValue(choice(verbs.map(({ name }) => name)))}; }
  case $verb in
${cases.join('\n')}
  esac
  if [[ $current == -* ]]; then _berth_words "$flags"; else operand; fi
  unset -f operand
}
_berth_words() {
  compopt +o default 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current")
}
complete -o default -F _berth berth
`;
}

/** No candidates and the option "default" leave file names to readline, which knows about ~ and quotes. */
function bashValue(value: Value): string {
  switch (value.kind) {
    case 'choice':
      return `_berth_words '${value.words.join(' ')}'`;
    case 'directory':
      return 'compopt +o default -o dirnames 2>/dev/null';
    case 'file':
      return ':';
    default:
      return 'compopt +o default 2>/dev/null';
  }
}

function zsh({ globals, verbs }: Tree): string {
  const specs = (options: readonly CompletedOption[], indent: string) => options.map((one) => indent + zshOption(one));
  const cases = verbs.map(({ name, options, operand }) =>
    [
      `        ${name})`,
      '          _arguments $globals \\',
      ...specs(options, '            ').map((line) => `${line} \\`),
      `            ${quoted(`*:argument:${zshValue(operand)}`)} ;;`,
    ].join('\n'),
  );
  return `#compdef berth
# zsh completion of berth, made by: berth completion zsh
_berth() {
  local state line
  local -a globals verbs
  globals=(
${specs(globals, '    ').join('\n')}
  )
  verbs=(
${verbs.map(({ name, text }) => `    ${quoted(`${name}:${text}`)}`).join('\n')}
  )
  _arguments -C $globals '1:verb:->verb' '*::argument:->argument'
  case $state in
    verb) _describe -t verbs verb verbs ;;
    argument)
      case $line[1] in
${cases.join('\n')}
      esac ;;
  esac
}
if [[ $funcstack[1] == _berth ]]; then _berth "$@"; else compdef _berth berth; fi
`;
}

function zshOption({ names, text, value, repeated }: CompletedOption): string {
  const explained = `[${text.replace(/[[\]:\\]/g, '\\$&')}]`;
  const argument = value.kind === 'none' ? '' : `:value:${zshValue(value)}`;
  // A long option also takes its value after "=", a short one after a space.
  const spec = (name: string) => `${name}${name.startsWith('--') && argument !== '' ? '=' : ''}`;
  if (repeated) return quoted(`*${spec(names[0] ?? '')}${explained}${argument}`);
  const excluded = names.length > 1 ? quoted(`(${names.join(' ')})`) : '';
  return names.length > 1
    ? `${excluded}{${names.map(spec).join(',')}}${quoted(explained + argument)}`
    : quoted(spec(names[0] ?? '') + explained + argument);
}

function zshValue(value: Value): string {
  switch (value.kind) {
    case 'choice':
      return `(${value.words.join(' ')})`;
    case 'directory':
      return '_files -/';
    case 'file':
      return '_files';
    default:
      return ' ';
  }
}

function fish({ globals, verbs }: Tree): string {
  const line = (condition: string, { names, text, value }: CompletedOption) => {
    const flags = names.map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
    return `complete -c berth${condition} ${flags.join(' ')}${fishValue(value)} -d ${quoted(text)}`;
  };
  const lines = verbs.flatMap(({ name, text, options, operand }) => {
    const here = ` -n '__fish_seen_subcommand_from ${name}'`;
    return [
      `complete -c berth -n __fish_use_subcommand -a ${name} -d ${quoted(text)}`,
      ...options.map((option) => line(here, option)),
      ...(operand.kind === 'file' ? [`complete -c berth${here} -F`] : []),
      ...(operand.kind === 'choice' ? [`complete -c berth${here} -a '${operand.words.join(' ')}'`] : []),
    ];
  });
  return `# fish completion of berth, made by: berth completion fish
complete -c berth -f
${globals.map((option) => line('', option)).join('\n')}
${lines.join('\n')}
`;
}

function fishValue(value: Value): string {
  switch (value.kind) {
    case 'none':
      return '';
    case 'choice':
      return ` -x -a '${value.words.join(' ')}'`;
    case 'directory':
      return " -x -a '(__fish_complete_directories)'";
    case 'file':
      return ' -r -F';
    default:
      return ' -x';
  }
}

/** fish and zsh in single quotes alike, but for the quote itself: closed, escaped, opened again. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
