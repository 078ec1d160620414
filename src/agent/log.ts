/** The log: one JSON object a line, or what a terminal makes of it. */
import pino from 'pino';
import type { Settings } from '../settings.js';
import type { Agent } from './contract.js';
import { lineOf, type LogLevel } from './log-lines.js';
import { openSink, type Sink } from './log-sink.js';

export type Level = Settings['agent']['logLevel'];

/** From the most to the least. */
export const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const satisfies readonly Level[];

export interface LogOptions {
  readonly level: Level;
  /** A descriptor, or whoever takes the lines, newline included. */
  readonly destination: number | (Pick<Sink, 'write'> & Partial<Sink>);
  /** How a line looks; JSON where absent. It gets what the JSON would hold: `time`, `level`, `message` and the fields. */
  readonly format?: (record: LogRecord) => string;
}

/** One line of the log as data. `event` is the type of an AgentEvent, `instance` whose it is. */
export interface LogRecord {
  /** ISO. */
  readonly time: string;
  readonly level: LogLevel;
  readonly message: string;
  readonly instance?: string;
  readonly event?: string;
  readonly [field: string]: unknown;
}

export interface Log {
  readonly level: Level;
  setLevel(level: Level): void;
  /** One step to more lines or to fewer; the level that holds then. */
  step(direction: 'more' | 'fewer'): Level;
  write(level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** What still waits goes out, as far as it can within a second; call it last. */
  close(): Promise<void>;
}

export function openLog({ level, destination, format }: LogOptions): Log {
  const shape = format
    ? (json: string) => `${format(JSON.parse(json) as LogRecord)}\n`
    : (json: string) => harmless(json);
  const sink: Pick<Sink, 'write'> & Partial<Sink> =
    typeof destination === 'number' ? openSink(destination, (lines) => shape(lostLine(lines))) : destination;
  const logger = pino(
    {
      level,
      base: null,
      messageKey: 'message',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (json: string) => sink.write(shape(json)) },
  );
  const setLevel = (to: Level) => {
    logger.level = to;
  };
  return {
    get level() {
      return logger.level as Level;
    },
    setLevel,
    step: (direction) => {
      const at = LEVELS.indexOf(logger.level as Level) + (direction === 'more' ? -1 : 1);
      setLevel(LEVELS[Math.min(Math.max(at, 0), LEVELS.length - 1)] ?? 'info');
      return logger.level as Level;
    },
    write: (at, message, fields = {}) => {
      logger[at](fields, message);
    },
    close: () => sink.close?.() ?? Promise.resolve(),
  };
}

/** Every event of the agent becomes a line. @returns how to stop that */
export function logEvents(agent: Agent, log: Log): () => void {
  return agent.subscribe((event) => {
    const { level, message, fields } = lineOf(event);
    const { instance, type } = event;
    // What is of the agent as a whole has no instance.
    log.write(level, message, { instance: instance === '' ? undefined : instance, event: type, ...fields });
  });
}

function lostLine(lines: number): string {
  const message = `${lines} lines of the log were lost: it could not be written, or was not read fast enough`;
  return `${JSON.stringify({ level: 'warn', time: new Date().toISOString(), message })}\n`;
}

/**
 * DEL, C1 controls (some terminals take U+009B for ESC [) and line separators, which JSON lets stand: escaped, so that a
 * line is a line for every reader, and its own text for every parser.
 */
function harmless(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
