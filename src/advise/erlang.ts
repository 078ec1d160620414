/**
 * Erlang's loss formula (A. K. Erlang, 1917): of `servers` places that customers come to at random, `load` of them at a time
 * on average, and stay in for any time with a mean, the share of customers who find none. Only the mean of the times counts
 * (insensitivity; L. Takács, 1969), which is why advise asks for no more. Here a place is a local port, a customer a
 * connection to one destination.
 */

/** B(0, load), B(1, load), … of these numbers of servers, ascending; one pass over all of them. */
export function losses(load: number, servers: readonly number[]): number[] {
  const found: number[] = [];
  let blocked = 1;
  let n = 0;
  for (const wanted of servers) {
    for (; n < wanted; n++) blocked = (load * blocked) / (n + 1 + load * blocked);
    found.push(load > 0 ? blocked : wanted > 0 ? 0 : 1);
  }
  return found;
}

export function loss(load: number, servers: number): number {
  return losses(load, [servers])[0] ?? 1;
}

/** The largest load that loses at most `share` of its customers, to a thousandth of itself. */
export function largestLoad(servers: number, share: number): number {
  if (servers <= 0) return 0;
  let [low, high] = [0, 2 * servers + 1];
  while (high - low > low / 1000 + 1e-9) {
    const middle = (low + high) / 2;
    if (loss(middle, servers) <= share) low = middle;
    else high = middle;
  }
  return low;
}

/** The fewest servers with which this load loses at most `share` of its customers. */
export function fewestServers(load: number, share: number): number {
  if (load <= 0) return 0;
  let blocked = 1;
  let n = 0;
  while (blocked > share) {
    blocked = (load * blocked) / (n + 1 + load * blocked);
    n++;
  }
  return n;
}
