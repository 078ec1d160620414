import type { AgentRunReport } from '../envelope.js';
import { paragraphs } from './common.js';
import { table, type Style } from '../style.js';

export function renderAgent({ instances, endedBy }: AgentRunReport, style: Style): string[] {
  // Its log has said all there is to say.
  if (endedBy !== undefined) return [];
  return paragraphs(...instances.map((instance) => instanceLines(instance, style)));
}

function instanceLines({ name, sources, settings }: AgentRunReport['instances'][number], style: Style): string[] {
  const { colour } = style;
  const shown = settings.filter(({ origin }) => style.all || origin !== 'default');
  const rows = shown.map(({ key, value, where }) => [key, valueText(value), colour.dim(where)]);
  const hidden = settings.length - shown.length;
  return [
    colour.bold(name),
    ...(sources.length === 0 ? ['  watches nothing: `sources` is empty; it reloads when it is asked to'] : []),
    ...sources.map(({ path, found }) =>
      found === 'nothing'
        ? `  ${colour.yellow('watches')} ${path}, which does not exist yet`
        : `  watches ${path} (${found})`,
    ),
    ...table(rows, '  '),
    ...(hidden > 0 ? [colour.dim(`  ${hidden} settings have their defaults (--all shows them)`)] : []),
  ];
}

function valueText(value: unknown): string {
  return value === null ? 'none' : typeof value === 'string' ? value : JSON.stringify(value);
}
