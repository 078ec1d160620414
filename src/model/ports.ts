/** A set of ports 1..65535 in the kernel's list form (`80,443,8000-8010`). Pure. */
export interface PortSet {
  /** Sorted, disjoint, not adjacent; both ends included. */
  readonly ranges: readonly (readonly [first: number, last: number])[];
}
