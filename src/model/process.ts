/** One life of a process: a pid alone may be recycled. */
export function identity({ pid, startTicks }: { readonly pid: number; readonly startTicks: string }): string {
  return `${pid}:${startTicks}`;
}
