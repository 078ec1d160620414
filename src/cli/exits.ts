/** The exit statuses in words. The codes behind them stand in the one table of errors.ts; a test holds the two together. */
export const EXIT_STATUSES: readonly (readonly [status: number, meaning: string])[] = [
  [0, 'Done; or, for a verb that asks, everything is or can be served.'],
  [2, 'The command line, a setting or a generation number is wrong.'],
  [3, 'Not every listener is or can be served, or the reservation would be too large; the report says which and why.'],
  [4, 'The configuration cannot be read, or is wrong; nothing was changed.'],
  [5, 'A privilege is missing; the message names it.'],
  [6, 'HAProxy: its binary, its process or its socket is missing or unsuitable.'],
  [7, 'Another Berth works on the state directory.'],
  [8, 'The reload failed and was undone; the HAProxy before it goes on serving.'],
  [9, 'The state directory cannot be used.'],
  [10, 'Something took longer than its limit.'],
  [11, 'A system call failed, or no file descriptor is left.'],
  [12, 'The native addon cannot be loaded.'],
  [13, 'The agent broke off, or does not answer as an agent does.'],
  [70, 'A defect of Berth.'],
  [130, 'Interrupted; what was not yet handed over was undone.'],
];

export const EXIT_OK = 0;
/** BERTH_UNSERVABLE's: the report says which listeners and why. */
export const EXIT_NOT_ALL_SERVED = 3;
/** BERTH_CONFIG_REFUSED's and BERTH_CONFIG_CONFLICT's. */
export const EXIT_CONFIGURATION = 4;
