/** A reload of which every call is watched, in this process or in one that is going to die of it. */
import { openHost } from '../../../src/host.js';
import { native } from '../../../src/kernel/addon.js';
import type { ReloadRequest } from '../../../src/reload/context.js';
import { Journal } from '../../../src/reload/journal.js';
import { reload } from '../../../src/reload/reload.js';
import type { ReloadReport } from '../../../src/reload/reports.js';
import { type Hook, watchCalls } from './calls.js';

export interface Watched {
  /** Files below it are watched. */
  readonly root: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly request: ReloadRequest;
}

/** Rejects as the reload does. */
export async function watchedReload({ root, settings, request }: Watched, hook: Hook): Promise<ReloadReport> {
  const watch = await watchCalls(root, native(), hook);
  try {
    const host = await openHost({
      settings,
      environment: { PATH: process.env['PATH'] },
      observer: (event) => {
        if (event.type === 'phase') watch.phase(event.state === 'begin' ? event.name : `after ${event.name}`);
      },
    });
    try {
      const context = await host.writing();
      const failpoint = (name: string) =>
        watch.record(name.startsWith('before:') ? name.slice('before:'.length) : undefined);
      return await reload(
        { ...context, openJournal: () => Journal.open(context.state.journal, { failpoint }) },
        request,
      );
    } finally {
      watch.end();
      await host.close();
    }
  } finally {
    watch.end();
  }
}
