/** ASan keeps what is freed, to see who still uses it: memory grows by design, so there no number of bytes is looked at. */
export const sanitized = (process.env['LD_PRELOAD'] ?? '').includes('asan');
