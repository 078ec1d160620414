/** Steps × faults: which cells there are, which of them are run, how each is held against what must be, and the figure. */
import { createHash } from 'node:crypto';
import { expect } from 'vitest';
import { type Part, form, recordFigure } from '../figures.js';
import { haproxyBinaries } from '../haproxy.js';
import { expectInOrder, descriptors } from './aftermath.js';
import { type Call, type Hook, keyOf } from './calls.js';
import { type Change, type Kind, type Mode, type Outcome, Scene } from './scene.js';

/** Which cells are run, where not all are. */
const SEED = process.env['BERTH_TRUST_SEED'] ?? '1';

/** One fault at one call of one kind of reload. */
export interface Cell {
  readonly kind: Kind;
  readonly step: Call;
  readonly fault: Fault;
}

export interface Fault {
  /** Heads a column: `ENOSPC from then on`, `kill -9 of the old HAProxy`. */
  readonly name: string;
  /** Is it worth a case at this call. */
  readonly strikes: (step: Call, kind: Kind, mode: Mode) => boolean;
  /** What happens at the call; undefined where it cannot happen there after all, and the case does not count. */
  readonly begin: (scene: Scene, change: Change) => FaultRun;
}

export interface FaultRun {
  /** At the step, and at each call behind it. @param first at the step itself */
  readonly strike: (call: Call, first: boolean) => ReturnType<Hook>;
  /** After the reload has ended. */
  readonly end?: () => void;
  /** It had nobody to hit. */
  readonly missed?: () => boolean;
  /** It may have ended the HAProxy that serves. */
  readonly orphaned?: (step: Call) => boolean;
  /** Runs the reload itself, where it is not to run in this process. */
  readonly run?: (step: Call) => Promise<Outcome>;
  /** What the reload's outcome must be. */
  readonly expect?: (outcome: Outcome) => string | undefined;
}

export interface Matrix {
  readonly part: Part;
  readonly name: string;
  readonly promise: string;
  readonly mode: Mode;
  readonly kinds: readonly Kind[];
  readonly faults: readonly Fault[];
  /** Cells to run, of all HAProxies together; a sample of all, each run with one of them. */
  readonly cases: number;
  /** Cells that have failed once, `FAULT at STEP`: they are run in every form, before the sample. */
  readonly found?: readonly string[];
  /** The steps, where they are not the calls that Berth's code makes. */
  readonly steps?: (scene: Scene, kind: Kind) => Promise<Call[]>;
  /** Of each step as many calls of the same name as these. */
  readonly repeats?: number;
}

interface Row {
  cases: number;
  failures: number;
}

/** Run it, record the figure, and fail where any case has failed. */
export async function runMatrix(matrix: Matrix): Promise<void> {
  const rows = new Map<string, Map<string, Row>>();
  const failures: string[] = [];
  const versions: string[] = [];
  const all = haproxyBinaries();
  // One is enough for the short form: the oldest for a mode, the newest for the other.
  const binaries = form === 'full' ? all : all.slice(...(matrix.mode === 'standalone' ? [-1] : [0, 1]));
  let steps = 0;
  let cases = 0;
  for (const [at, binary] of binaries.entries()) {
    let scene = await Scene.open(matrix.mode, binary);
    try {
      versions.push(await scene.fullVersion());
      const cells: Cell[] = [];
      for (const kind of matrix.kinds) {
        const found = firstOnes(await (matrix.steps ?? ownSteps)(scene, kind), matrix.repeats ?? 1);
        if (at === 0) steps += found.length;
        for (const step of found)
          for (const fault of matrix.faults)
            if (fault.strikes(step, kind, matrix.mode)) cells.push({ kind, step, fault });
      }
      const isFound = ({ step, fault }: Cell) => matrix.found?.includes(`${fault.name} at ${keyOf(step)}`) === true;
      const sample = shuffled(cells.filter((cell) => !isFound(cell)));
      const share = [...cells.filter(isFound), ...sample].filter((_, index) => index % binaries.length === at);
      const most = process.env['BERTH_TRUST_ONLY'] === undefined ? matrix.cases / binaries.length : Infinity;
      for (const cell of share.slice(0, Math.ceil(most))) {
        const name = `HAProxy ${binary.version}, ${matrix.mode}, ${cell.kind}: ${cell.fault.name} at "${keyOf(cell.step)}"`;
        if (!name.includes(process.env['BERTH_TRUST_ONLY'] ?? '')) continue;
        const why = await runCell(scene, cell);
        if (why === undefined) continue;
        cases++;
        const row = rowOf(rows, cell);
        row.cases++;
        if (why === '') continue;
        row.failures++;
        failures.push(`${name}: ${why}`);
        console.log(`failed: ${name}: ${why}`);
        await scene.close();
        scene = await Scene.open(matrix.mode, binary);
      }
    } finally {
      await scene.close();
    }
  }
  recordFigure({
    part: matrix.part,
    name: `${matrix.name}, ${matrix.mode}`,
    promise: matrix.promise,
    figure: `${cases} cases at ${steps} calls, ${failures.length} failures`,
    kept: failures.length === 0,
    haproxy: versions,
    table: tableOf(matrix, rows),
  });
  console.log(
    `${matrix.name}, ${matrix.mode}, ${form}, seed ${SEED}: ${cases} cases at ${steps} calls, ${failures.length} failures`,
  );
  expect(failures).toEqual([]);
  expect(cases).toBeGreaterThan(0);
}

/** @returns undefined where the fault hit nobody, '' where all is well, else what is wrong */
async function runCell(scene: Scene, { kind, step, fault }: Cell): Promise<string | undefined> {
  const change = await scene.prepare(kind);
  const before = descriptors(scene);
  const run = fault.begin(scene, change);
  let struck = false;
  const hook: Hook = (call) => {
    const first = !struck && keyOf(call) === keyOf(step);
    struck ||= first;
    return struck ? run.strike(call, first) : undefined;
  };
  let outcome: Outcome | undefined;
  try {
    outcome = await (run.run?.(step) ?? scene.run(change, hook));
    run.end?.();
    const orphaned = run.orphaned?.(step) ?? false;
    const wrong = run.expect?.(outcome);
    const { serves } = await expectInOrder(scene, change, outcome, { orphaned, before });
    await scene.finish(change, serves === 'new' ? change.next : serves === 'old' ? change.old : []);
    if (run.missed?.() ?? (run.run === undefined && !struck)) return undefined;
    return wrong ?? '';
  } catch (error) {
    run.end?.();
    const told = outcome?.error?.message ?? (outcome?.report ? `it was reported as ${outcome.report.outcome}` : '');
    return `${error instanceof Error ? error.message : String(error)}; ${told}`;
  }
}

const ownSteps = (scene: Scene, kind: Kind): Promise<Call[]> => scene.steps(kind);

/** The first calls of each name in each phase: the rest of a loop does the same again. */
function firstOnes(calls: readonly Call[], repeats: number): Call[] {
  return calls.filter(({ nth }) => nth <= repeats);
}

/** A sample without a pattern of its own, and the same in each run with the same seed. */
function shuffled(cells: readonly Cell[]): Cell[] {
  const place = ({ kind, step, fault }: Cell) =>
    createHash('sha1')
      .update(`${SEED} ${kind} ${keyOf(step)} ${fault.name}`)
      .digest('hex');
  return cells
    .map((cell) => ({ cell, place: place(cell) }))
    .sort((one, other) => (one.place < other.place ? -1 : 1))
    .map(({ cell }) => cell);
}

function rowOf(rows: Map<string, Map<string, Row>>, { step, fault, kind }: Cell): Row {
  const phase = `${kind === 'first' ? 'first start: ' : ''}${step.phase}`;
  const cells = rows.get(phase) ?? new Map<string, Row>();
  rows.set(phase, cells);
  const row = cells.get(fault.name) ?? { cases: 0, failures: 0 };
  cells.set(fault.name, row);
  return row;
}

function tableOf({ faults, name, mode }: Matrix, rows: ReadonlyMap<string, ReadonlyMap<string, Row>>) {
  return {
    title: `${name}, ${mode}: cases/failures`,
    columns: ['step', ...faults.map((fault) => fault.name)],
    rows: [...rows].map(([phase, cells]) => [
      phase,
      ...faults.map((fault) => {
        const row = cells.get(fault.name);
        return row ? `${row.cases}/${row.failures}` : '–';
      }),
    ]),
  };
}
