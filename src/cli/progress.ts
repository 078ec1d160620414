/** One line on the terminal that says what a reload is doing; nothing at all where standard error is not a terminal. */
import type { ReloadEvent, ReloadObserver } from '../reload/reports.js';
import type { Sink } from './host.js';
import { printable, type Colours } from './style.js';

export interface Progress {
  readonly observer: ReloadObserver;
  /** Prints a whole line; the progress line, where there is one, comes back below it at the next event. */
  say(text: string): void;
  /** Takes the progress line away. */
  clear(): void;
}

/** Carriage return and "erase to the end of the line" (ECMA-48 EL). */
const ERASE = '\r\u001b[K';

export function progressOn(sink: Sink, colour: Colours): Progress {
  let shown = false;
  const done: string[] = [];
  const clear = () => {
    if (shown) sink.write(ERASE);
    shown = false;
  };
  const say = (text: string) => {
    clear();
    sink.write(`${text}\n`);
  };
  const show = (text: string) => {
    if (!sink.terminal) return;
    // Longer than the line would wrap, and a wrapped line cannot be erased.
    const room = Math.max(10, sink.columns - 1);
    const head = text.slice(0, room);
    let trail = '';
    for (const name of done.toReversed()) {
      if (trail.length + name.length + 3 + head.length > room) break;
      trail = `${name} · ${trail}`;
    }
    sink.write(ERASE + (trail === '' ? '' : colour.dim(trail)) + head);
    shown = true;
  };
  const observer = (raw: ReloadEvent) => {
    const event = printable(raw);
    switch (event.type) {
      case 'phase':
        if (event.state === 'begin') show(`${event.name}…${event.text === undefined ? '' : ` ${event.text}`}`);
        else done.push(event.name);
        break;
      case 'secured':
        if (event.listener.action !== 'guard') show(`${event.listener.action} ${event.listener.name}`);
        break;
      case 'quarantined':
        show(`quarantine ${event.listener.name}`);
        break;
      case 'repair':
      case 'warning':
        show(event.text);
        break;
    }
  };
  return { observer, say, clear };
}
